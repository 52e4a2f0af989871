//! The two ends of a session as state machines without sockets or clocks: `handle(input, now) → outputs`.
//!
//! [`server`] owns order, window, resume, takeover and close rules of a gateway's side; [`client`] decides what a sender
//! sends next. Drivers move bytes; tests step both in virtual time.

pub mod client;
pub mod server;
