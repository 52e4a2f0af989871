//! The product from end to end: one binary of tests, a module for each promise.

mod cli;
mod disk_full;
mod http;
mod kill;
mod memory;
mod notifications;
mod power_cut;
mod retries;
mod session;
mod socket_errors;
mod stock_clients;
