//! Conversations with a session, line by line: what goes in, and everything that must come out.

mod chunks;
mod connect;
mod endings;
mod life;
mod requests;
mod rig;
mod takeover;
mod uploads;
mod window;
