//! The client side of Sluice, for programs: sends files over a socket that may break, hears what becomes of them, lists
//! and downloads them.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use client::{Client, FixedToken, ServerUrl, Source, Upload};
//!
//! let server: ServerUrl = "http://127.0.0.1:8080".parse()?;
//! let client = Client::builder(server).tokens(FixedToken::new("…")).connect().await?;
//! let source = Source::file("photo.jpg").await?;
//! let meta = source.meta("photo.jpg");
//! let mut upload = client.upload(Upload::new(source, meta)).await?;
//! println!("stored: {:?}", upload.stored().await?);
//! # Ok(()) }
//! ```
//!
//! What is sent and when is decided by [`protocol::session::client::Sender`]; this crate moves the bytes. It holds no file
//! in memory: parts are read as they are sent, and read again if the server asks for them again.

mod address;
mod backoff;
mod builder;
mod error;
mod events;
mod hasher;
mod http;
mod keys;
mod session;
mod source;
mod tls;
mod tokens;
mod upload;

pub use address::{InvalidServerUrl, ServerUrl};
pub use builder::{Builder, Client, Connection};
pub use error::{Error, UploadError};
pub use events::{Event, Events};
pub use hasher::digest_of_file;
pub use http::{DownloadError, HttpApi};
pub use keys::Keys;
pub use source::Source;
pub use tokens::{FixedToken, GrantTokens, Tokens};
pub use upload::{FileOutcome, Progress, Upload, UploadHandle, UploadState};
