//! Contents of files: random, the same in every run, and everything that is computed of them ahead.

use super::frames::Frames;
use bytes::Bytes;
use protocol::{Digest, DigestAlgorithm, Hasher};
use std::sync::OnceLock;

/// Bytes of different contents in a plan; a larger file is one content.
pub const DIFFERENT_BYTES: usize = 64 << 20;

/// A content. What is derived of it is made once, when it is first asked for.
#[derive(Debug)]
pub struct Body {
    seed: u64,
    len: usize,
    plain: OnceLock<Bytes>,
    digest: OnceLock<Digest>,
    frames: OnceLock<Frames>,
}

impl Body {
    /// The content of this seed.
    #[must_use]
    pub fn new(seed: u64, len: usize) -> Self {
        Self {
            seed,
            len,
            plain: OnceLock::new(),
            digest: OnceLock::new(),
            frames: OnceLock::new(),
        }
    }

    /// Its bytes: what an HTTP request carries.
    pub fn plain(&self) -> &Bytes {
        self.plain
            .get_or_init(|| random(self.seed, self.len).into())
    }

    /// Its SHA-256.
    pub fn digest(&self) -> Digest {
        *self.digest.get_or_init(|| digest(self.plain()))
    }

    /// Its chunks as WebSocket frames.
    pub fn frames(&self) -> &Frames {
        self.frames.get_or_init(|| Frames::new(self.plain()))
    }
}

/// The SHA-256 of these bytes.
#[must_use]
pub fn digest(bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::new(DigestAlgorithm::Sha256);
    hasher.update(bytes);
    hasher.finish()
}

/// Bytes that no server can make smaller, quickly: xorshift64* (Vigna, 2014).
fn random(seed: u64, len: usize) -> Vec<u8> {
    let mut state = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        let word = state.wrapping_mul(0x2545_f491_4f6c_dd1d);
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}
