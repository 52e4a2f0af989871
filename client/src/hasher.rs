//! The digest of a file on disk.

use protocol::{Digest, DigestAlgorithm, Hasher};
use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

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
            0 => return Ok(hasher.finish()),
            read => hasher.update(&buffer[..read]),
        }
    }
}
