//! Decorators that make any adapter of a port fail to order. Only tests use them.

mod blobs;
mod chunks;
mod script;

pub use blobs::{BlobCall, FaultyBlobs};
pub use chunks::{ChunkCall, FaultyChunks};
pub use script::{Gate, Script};
