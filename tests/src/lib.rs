//! What the end-to-end tests stand on: servers to run against, accounts, raw sockets, and waiting for conditions.

pub mod account;
pub mod binary;
pub mod case;
pub mod chaos;
pub mod chunk_keys;
pub mod cli;
pub mod cluster;
pub mod content;
pub mod daemon;
pub mod embedded;
pub mod engines;
pub mod faulty_cache;
pub mod mode;
pub mod ports;
pub mod process;
pub mod proxy;
pub mod random;
pub mod raw;
pub mod server;
pub mod small_disk;
pub mod socket;
pub mod stack;
pub mod wait;
pub mod wiretap;

pub use account::{Account, PASSWORD};
pub use cli::Cli;
pub use cluster::{Cluster, Plan};
pub use embedded::Embedded;
pub use faulty_cache::FaultyCache;
pub use mode::Mode;
pub use process::Process;
pub use proxy::{Link, Proxy};
pub use raw::Raw;
pub use server::Server;
pub use socket::Socket;
pub use wait::until;
