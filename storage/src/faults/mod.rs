//! Decorators that make any adapter of a port, or the disk beneath it, fail to order. Only tests use them.

mod blobs;
mod chunks;
mod events;
mod fs;
mod script;

pub use blobs::{BlobCall, FaultyBlobs};
pub use chunks::{ChunkCall, FaultyChunks};
pub use events::{EventCall, FaultyEvents};
pub use fs::{FaultyFs, FsCall};
pub use script::{Gate, Script};
