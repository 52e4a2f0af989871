//! The product from end to end: one binary of tests, a module for each promise.

mod cli;
mod http;
mod kill;
mod notifications;
mod power_cut;
mod retries;
mod session;
mod socket_errors;
mod stock_clients;
