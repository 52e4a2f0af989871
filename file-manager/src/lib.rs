//! Stores finished uploads and shows files: takes sealed uploads from the queue into the blob store, keeps the index of
//! what is stored, answers history and lists, and serves content.
//!
//! - [`run`] takes work from the queue, one file at a time and several side by side, and sweeps up what crashes left.
//! - [`router`] is the internal HTTP of the service; the caller's identity comes in a header.
//! - [`index`] is the port of the index of stored files.

mod backoff;
mod config;
mod consumer;
mod http;
pub mod index;
mod listing;
mod lookup;
mod manager;
mod metric;
#[cfg(test)]
mod sample;
mod sweeper;
mod uploader;

pub use config::Config;
pub use consumer::run;
pub use http::router;
pub use index::OpenError;
pub use manager::FileManager;
pub use sweeper::{SweepError, Swept};
