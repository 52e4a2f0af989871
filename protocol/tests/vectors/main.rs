//! The golden vectors under `vectors/`, which clients in other languages read too. The files are the truth: a change here
//! that one of them does not survive is a change of the protocol.

mod frames;
mod messages;
mod transcripts;

use std::{fs, path::PathBuf};

/// A file under `vectors/`.
fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("vectors")
        .join(name)
}

fn read(name: &str) -> Vec<u8> {
    fs::read(path(name)).unwrap_or_else(|error| panic!("{name} can't be read: {error}"))
}

fn read_json<T: serde::de::DeserializeOwned>(name: &str) -> T {
    serde_json::from_slice(&read(name))
        .unwrap_or_else(|error| panic!("{name} is not what it should be: {error}"))
}
