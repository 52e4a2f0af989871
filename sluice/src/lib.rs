//! The wiring of Sluice: settings, and the server that is put together from them. No logic of its own.

pub mod server;
pub mod settings;

pub use server::{Server, StartError, Stores};
pub use settings::Settings;
