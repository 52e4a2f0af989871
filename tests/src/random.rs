//! Names and secrets that nobody else has.

use std::{fmt::Write, fs::File, io::Read};

/// `bytes` random bytes in hexadecimal.
///
/// # Panics
/// When the system gives none.
#[must_use]
pub fn hex(bytes: usize) -> String {
    let mut random = vec![0; bytes];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut random))
        .expect("the system gives random bytes");
    random.iter().fold(String::new(), |mut text, byte| {
        // Writing to a text can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
