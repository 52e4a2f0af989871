//! Contents of files for tests: the same every time, unlike one another.

use protocol::{Digest, DigestAlgorithm, Hasher};

/// `len` bytes that look random and are fixed by `seed`.
#[must_use]
pub fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        // xorshift64*: quick and good enough that no type is recognised and nothing compresses.
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(len);
    if let Some(first) = bytes.first_mut() {
        // No type that is recognised by its first byte's company.
        *first = 0xff;
    }
    bytes
}

/// The SHA-256 digest of `bytes`.
#[must_use]
pub fn sha256(bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::new(DigestAlgorithm::Sha256);
    hasher.update(bytes);
    hasher.finish()
}
