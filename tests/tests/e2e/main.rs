//! The product from end to end: one binary of tests, a module for each promise.
//!
//! The tests run over both forms of the server, see [`tests::Mode`]. Those in `embedded` and `distributed` make sense for one
//! form only, and are left out by these names when a run is about the other.

mod cli;
mod distributed;
mod embedded;
mod http;
mod kill;
mod notifications;
mod session;
mod socket_errors;
mod stock_clients;
