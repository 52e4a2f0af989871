//! The ports through which services keep bytes and pass events, each with its adapters beside it.
//!
//! | port | what it keeps | adapters |
//! |---|---|---|
//! | [`chunks::ChunkCache`] | the bytes of uploads until they are stored | disk, Redis |
//! | [`blobs::BlobStore`] | the bytes of files | disk, GridFS |
//! | [`events::Events`] | work and news between services | local, RabbitMQ |
//!
//! A port is a small set of use-case transactions; a URL picks its adapter: [`open_chunks`], [`open_blobs`],
//! [`open_events`]. The disk adapters stand on [`fs`], a port over the file system.
//!
//! With the feature `testing` come one conformance suite per port that every adapter passes (`conformance`), decorators
//! that make any adapter fail to order (`faults`) and a disk whose power can be cut (`fs::PowerCut`).

pub mod blobs;
mod buffers;
pub mod chunks;
#[cfg(feature = "testing")]
pub mod conformance;
pub mod events;
#[cfg(feature = "testing")]
pub mod faults;
pub mod fs;
pub mod mongo;
mod open;

pub use open::{OpenError, open_blobs, open_chunks, open_events};

use bytes::Bytes;
use futures::stream::BoxStream;

/// Content read from a store, piece by piece.
pub type ByteStream = BoxStream<'static, std::io::Result<Bytes>>;
