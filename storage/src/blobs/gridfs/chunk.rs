//! One chunk of a blob as a document.

use bytes::Bytes;
use mongodb::bson::{
    Binary, DateTime, Document, RawDocumentBuf, doc, error::Error, oid::ObjectId, raw::cstr,
    spec::BinarySubtype,
};
use protocol::FileId;

/// Bytes of a chunk; the last of a blob may have fewer. Blobs of another chunk size are read all the same.
pub(super) const SIZE: usize = 1 << 20;

/// By what a chunk is known again: two of one place in one file that agree in this are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint {
    pub(super) n: i32,
    pub(super) len: usize,
    pub(super) crc32c: u32,
}

impl Fingerprint {
    pub(super) fn of(n: i32, parts: &[Bytes]) -> Self {
        let add = |crc32c, part: &Bytes| crc32c::crc32c_append(crc32c, part);
        Self {
            n,
            len: length(parts),
            crc32c: parts.iter().fold(0, add),
        }
    }
}

/// The bytes of all parts.
fn length(parts: &[Bytes]) -> usize {
    parts.iter().map(Bytes::len).sum()
}

/// A chunk in the making: its document (<https://bsonspec.org/spec.html>), to which content is copied as it comes, once. Made by
/// the library it would be copied more than once. Drivers insist on an `ObjectId`; nothing looks a chunk up by it.
pub(super) struct Growing {
    n: i32,
    document: Vec<u8>,
    /// Where the data begin, behind their length and kind.
    start: usize,
    crc32c: u32,
}

const BINARY: u8 = 0x05;
const GENERIC: u8 = 0x00;
const END: u8 = 0x00;

/// More than a chunk's document has beside the data.
const AROUND: usize = 256;

impl Growing {
    /// Chunk `n` of a file, without data yet; there will be `expected` bytes of them.
    pub(super) fn new(file: FileId, n: i32, expected: usize) -> Self {
        let mut head = RawDocumentBuf::new();
        head.append(cstr!("_id"), id(file, n));
        head.append(cstr!("files_id"), file.to_string());
        head.append(cstr!("n"), n);
        let mut document = Vec::with_capacity(AROUND + expected);
        document.extend_from_slice(within(&head));
        document.push(BINARY);
        document.extend_from_slice(b"data\0");
        document.extend_from_slice(&little_endian(0));
        document.push(GENERIC);
        Self {
            n,
            start: document.len(),
            document,
            crc32c: 0,
        }
    }

    /// Bytes of data so far.
    pub(super) fn len(&self) -> usize {
        self.document.len() - self.start
    }

    /// Adds data, as far as a chunk has room for them; answers how many bytes.
    pub(super) fn add(&mut self, data: &[u8]) -> usize {
        let len = data.len().min(SIZE - self.len());
        let data = &data[..len];
        self.crc32c = crc32c::crc32c_append(self.crc32c, data);
        self.document.extend_from_slice(data);
        len
    }

    /// The document, and by what it is known again.
    pub(super) fn finish(mut self) -> Result<(RawDocumentBuf, Fingerprint), Error> {
        let (len, crc32c) = (self.len(), self.crc32c);
        let mut tail = RawDocumentBuf::new();
        tail.append(cstr!("crc32c"), i64::from(crc32c));
        tail.append(cstr!("written"), DateTime::now());
        self.document.extend_from_slice(&within(&tail)[LENGTH..]);
        self.document.push(END);
        let length_at = self.start - 1 - LENGTH;
        self.document[length_at..][..LENGTH].copy_from_slice(&little_endian(len));
        let total = little_endian(self.document.len());
        self.document[..LENGTH].copy_from_slice(&total);
        let n = self.n;
        let document = RawDocumentBuf::from_bytes(self.document)?;
        Ok((document, Fingerprint { n, len, crc32c }))
    }
}

/// Bytes of a length in BSON.
const LENGTH: usize = 4;

/// A document without its end; it begins with its length.
fn within(document: &RawDocumentBuf) -> &[u8] {
    let bytes = document.as_bytes();
    &bytes[..bytes.len() - 1]
}

/// A length as BSON has it. Chunks are far below the largest.
fn little_endian(len: usize) -> [u8; LENGTH] {
    i32::try_from(len).unwrap_or(i32::MAX).to_le_bytes()
}

/// The change that makes a chunk what [`Growing`] makes it, or makes it be there; its place is in the query.
pub(super) fn update(file: FileId, data: Vec<u8>, fingerprint: Fingerprint) -> Document {
    let crc32c = i64::from(fingerprint.crc32c);
    doc! {
        "$set": { "crc32c": crc32c, "written": DateTime::now(), "data": binary(data) },
        "$setOnInsert": { "_id": id(file, fingerprint.n) },
    }
}

fn binary(bytes: Vec<u8>) -> Binary {
    Binary {
        subtype: BinarySubtype::Generic,
        bytes,
    }
}

/// The same for the same chunk of the same file, and different for any other: the file id's second, so that new chunks lie
/// together in the index, then 64 bits mixed from the rest.
fn id(file: FileId, n: i32) -> ObjectId {
    // A file id is a UUID of version 7, which begins with 48 bits of milliseconds.
    let id = file.0.as_u128();
    let seconds = ((id >> 80) / 1000) as u32;
    let [high, low] = [(id >> 64) as u64, id as u64];
    let mixed = mix(mix(mix(high) ^ low) ^ u64::from(n.cast_unsigned()));
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&seconds.to_be_bytes());
    bytes[4..].copy_from_slice(&mixed.to_be_bytes());
    ObjectId::from_bytes(bytes)
}

/// A bijection of 64 bits that spreads every bit over all (the finalizer of SplitMix64, Steele et al. 2014).
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_are_of_the_chunk() {
        let files: Vec<_> = (0..100).map(|_| FileId::new()).collect();
        let ids: HashSet<_> = files
            .iter()
            .flat_map(|file| (0..100).map(|n| id(*file, n)))
            .collect();
        assert_eq!(ids.len(), 10_000);
        assert_eq!(id(files[3], 7), id(files[3], 7));
        let age =
            DateTime::now().timestamp_millis() - id(files[0], 0).timestamp().timestamp_millis();
        assert!((0..60_000).contains(&age), "{age} ms");
    }

    #[test]
    fn a_document_has_what_was_added_as_one_value() {
        let file = FileId::new();
        let mut chunk = Growing::new(file, 7, 3);
        assert_eq!(
            (chunk.add(b"ab"), chunk.add(b""), chunk.add(b"c")),
            (2, 0, 1)
        );
        assert_eq!(chunk.len(), 3);
        let (document, fingerprint) = chunk.finish().expect("it is a document");
        let parts = [Bytes::from_static(b"a"), Bytes::from_static(b"bc")];
        assert_eq!(fingerprint, Fingerprint::of(7, &parts));
        let document = Document::try_from(document).expect("all of it can be read");
        let data = document.get_binary_generic("data").expect("it is there");
        assert_eq!(data, b"abc");
        assert_eq!(document.get_str("files_id").ok(), Some(&*file.to_string()));
        let crc32c = i64::from(crc32c::crc32c(b"abc"));
        assert_eq!(document.get_i64("crc32c").ok(), Some(crc32c));
        assert_eq!((document.get_i32("n").ok(), document.len()), (Some(7), 6));
    }

    #[test]
    fn a_chunk_takes_what_it_has_room_for() {
        let content = vec![1; SIZE - 1];
        let mut chunk = Growing::new(FileId::new(), 0, SIZE);
        assert_eq!(chunk.add(&content), SIZE - 1);
        assert_eq!((chunk.add(&content), chunk.add(&content)), (1, 0));
        let (document, fingerprint) = chunk.finish().expect("it is a document");
        assert_eq!(fingerprint.len, SIZE);
        let around = document.as_bytes().len() - SIZE;
        assert!(around < AROUND, "{around}");
    }
}
