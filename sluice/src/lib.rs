//! The wiring of Sluice: settings, and the server that is put together from them. No logic of its own.

mod role;
pub mod server;
pub mod settings;
mod start_error;
mod stores;

pub use role::Role;
pub use server::Server;
pub use settings::Settings;
pub use start_error::StartError;
pub use stores::{Stores, make_private};
