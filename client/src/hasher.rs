//! File digests, computed piece by piece.

use aws_lc_rs::digest::{Context, SHA256};
use protocol::{Digest, DigestAlgorithm};
use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

/// A digest in the making.
#[derive(Clone)]
pub(crate) enum Hasher {
    Sha256(Context),
    Blake3(Box<blake3::Hasher>),
}

impl Hasher {
    pub(crate) fn new(algorithm: DigestAlgorithm) -> Self {
        match algorithm {
            DigestAlgorithm::Sha256 => Self::Sha256(Context::new(&SHA256)),
            DigestAlgorithm::Blake3 => Self::Blake3(Box::default()),
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(context) => context.update(bytes),
            Self::Blake3(hasher) => drop(hasher.update(bytes)),
        }
    }

    pub(crate) fn digest(&self) -> Digest {
        match self {
            Self::Sha256(context) => {
                let mut bytes = [0; 32];
                bytes.copy_from_slice(context.clone().finish().as_ref());
                Digest::new(DigestAlgorithm::Sha256, bytes)
            }
            Self::Blake3(hasher) => {
                Digest::new(DigestAlgorithm::Blake3, *hasher.finalize().as_bytes())
            }
        }
    }
}

/// The digest of a file on disk. Blocks.
///
/// # Errors
/// If the file can't be read.
pub fn digest_of_file(path: &Path, algorithm: DigestAlgorithm) -> io::Result<Digest> {
    let mut file = File::open(path)?;
    let mut hasher = Hasher::new(algorithm);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.digest()),
            read => hasher.update(&buffer[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers_in_any_number_of_pieces() {
        for (algorithm, of_abc) in [
            (
                DigestAlgorithm::Sha256,
                "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            ),
            (
                DigestAlgorithm::Blake3,
                "blake3:6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85",
            ),
        ] {
            for pieces in [&["abc"][..], &["a", "", "bc"]] {
                let mut hasher = Hasher::new(algorithm);
                pieces
                    .iter()
                    .for_each(|piece| hasher.update(piece.as_bytes()));
                assert_eq!(hasher.digest().to_string(), of_abc);
            }
        }
    }
}
