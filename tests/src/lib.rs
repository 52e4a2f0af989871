//! What the end-to-end tests stand on: servers to run against, accounts, raw sockets, and waiting for conditions.

pub mod account;
pub mod case;
pub mod cli;
pub mod content;
pub mod embedded;
pub mod faulty_cache;
pub mod process;
pub mod raw;
pub mod small_disk;
pub mod socket;
pub mod wait;
pub mod wiretap;

pub use account::{Account, PASSWORD};
pub use cli::Cli;
pub use embedded::Embedded;
pub use faulty_cache::FaultyCache;
pub use process::Server;
pub use raw::Raw;
pub use socket::Socket;
pub use wait::until;
