//! The product from end to end: one binary of tests, a module for each promise.

mod socket_errors;
mod cli;
mod stock_clients;
