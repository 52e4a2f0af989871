//! `frames.json` and `frames/*.bin`: binary messages byte by byte, good ones and bad ones.

use super::{path, read, read_json};
use bytes::Bytes;
use protocol::frame::{Chunk, FrameError};
use serde::Deserialize;
use std::{collections::BTreeSet, fs};

#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Vector {
    Good {
        file: String,
        stream: u32,
        offset: u64,
        crc: String,
        payload: String,
    },
    Bad {
        file: String,
        error: String,
    },
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "{text} has half a byte");
    let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hex digits");
    (0..text.len()).step_by(2).map(byte).collect()
}

#[test]
fn good_frames_are_read_and_written_byte_by_byte() {
    let mut count = 0;
    for vector in read_json::<Vec<Vector>>("frames.json") {
        let Vector::Good {
            file,
            stream,
            offset,
            crc,
            payload,
        } = vector
        else {
            continue;
        };
        let crc = u32::from_str_radix(&crc, 16).unwrap();
        let chunk = Chunk {
            stream,
            offset,
            crc,
            payload: unhex(&payload).into(),
        };
        let bytes = Bytes::from(read(&file));
        assert_eq!(Chunk::decode(bytes.clone()), Ok(chunk.clone()), "{file}");
        assert!(chunk.is_intact(), "{file}");
        assert_eq!(chunk.encode(), bytes, "{file}");
        assert_eq!(Chunk::new(stream, offset, chunk.payload).crc, crc, "{file}");
        count += 1;
    }
    assert_eq!(count, 5);
}

#[test]
fn bad_frames_are_refused_for_what_is_wrong() {
    let mut count = 0;
    for vector in read_json::<Vec<Vector>>("frames.json") {
        let Vector::Bad { file, error } = vector else {
            continue;
        };
        let found = match Chunk::decode(read(&file).into()) {
            Err(FrameError::TooShort(_)) => "too-short",
            Err(FrameError::UnknownKind(_)) => "unknown-kind",
            Err(FrameError::ReservedSet) => "reserved-set",
            Err(FrameError::Empty) => "empty",
            Ok(chunk) if !chunk.is_intact() => "checksum-mismatch",
            Ok(_) => "nothing",
        };
        assert_eq!(found, error, "{file}");
        count += 1;
    }
    assert_eq!(count, 10);
}

#[test]
fn every_file_is_listed() {
    let listed: BTreeSet<_> = read_json::<Vec<Vector>>("frames.json")
        .into_iter()
        .map(|vector| match vector {
            Vector::Good { file, .. } | Vector::Bad { file, .. } => file,
        })
        .collect();
    let files = fs::read_dir(path("frames"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(
        files
            .map(|name| format!("frames/{name}"))
            .collect::<BTreeSet<_>>(),
        listed
    );
}
