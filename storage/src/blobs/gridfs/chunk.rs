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

/// The document of chunk `n`, into which its parts are copied once. Drivers insist on an `ObjectId`; nothing looks a chunk up by it.
pub(super) fn document(
    file: FileId,
    parts: &[Bytes],
    fingerprint: Fingerprint,
) -> Result<RawDocumentBuf, Error> {
    let mut head = RawDocumentBuf::new();
    head.append(cstr!("_id"), id(file, fingerprint.n));
    head.append(cstr!("files_id"), file.to_string());
    head.append(cstr!("n"), fingerprint.n);
    head.append(cstr!("crc32c"), i64::from(fingerprint.crc32c));
    head.append(cstr!("written"), DateTime::now());
    with_data(&head, parts)
}

/// The document `head` with these parts as its `data`: <https://bsonspec.org/spec.html>. Made by the library it would be copied
/// more than once.
fn with_data(head: &RawDocumentBuf, parts: &[Bytes]) -> Result<RawDocumentBuf, Error> {
    const BINARY: u8 = 0x05;
    const GENERIC: u8 = 0x00;
    const END: u8 = 0x00;
    let head = head.as_bytes();
    let len = length(parts);
    let mut bytes = Vec::with_capacity(head.len() + 16 + len);
    // All but the end of the document, which begins with its length.
    bytes.extend_from_slice(&head[..head.len() - 1]);
    bytes.push(BINARY);
    bytes.extend_from_slice(b"data\0");
    bytes.extend_from_slice(&little_endian(len));
    bytes.push(GENERIC);
    parts.iter().for_each(|part| bytes.extend_from_slice(part));
    bytes.push(END);
    let total = little_endian(bytes.len());
    bytes[..4].copy_from_slice(&total);
    RawDocumentBuf::from_bytes(bytes)
}

/// A length as BSON has it. Chunks are far below the largest.
fn little_endian(len: usize) -> [u8; 4] {
    i32::try_from(len).unwrap_or(i32::MAX).to_le_bytes()
}

/// The change that makes a chunk what [`document`] is, or makes it be there; its place is in the query.
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

/// Content that arrives in pieces of any size, as chunks.
#[derive(Default)]
pub(super) struct Cutter {
    pieces: Vec<Bytes>,
    len: usize,
}

impl Cutter {
    pub(super) fn add(&mut self, piece: Bytes) {
        self.len += piece.len();
        self.pieces.push(piece);
    }

    /// Bytes that wait to be cut.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Takes at most `limit` bytes from the front, in pieces.
    pub(super) fn take(&mut self, limit: usize) -> Vec<Bytes> {
        let mut left = limit.min(self.len);
        self.len -= left;
        let mut taken = Vec::new();
        let mut rest = std::mem::take(&mut self.pieces).into_iter();
        while left > 0 {
            let Some(mut piece) = rest.next() else { break };
            if piece.len() > left {
                let tail = piece.split_off(left);
                self.pieces.push(tail);
            }
            left -= piece.len();
            taken.push(piece);
        }
        self.pieces.extend(rest);
        taken
    }
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
    fn a_document_has_its_parts_as_one_value() {
        let parts = [Bytes::from_static(b"ab"), Bytes::from_static(b"c")];
        let fingerprint = Fingerprint::of(7, &parts);
        assert_eq!(
            (fingerprint.len, fingerprint.crc32c),
            (3, crc32c::crc32c(b"abc"))
        );
        let file = FileId::new();
        let document = document(file, &parts, fingerprint).expect("it is a document");
        let document = Document::try_from(document).expect("all of it can be read");
        let data = document.get_binary_generic("data").expect("it is there");
        assert_eq!(data, b"abc");
        assert_eq!(document.get_str("files_id").ok(), Some(&*file.to_string()));
        assert_eq!((document.get_i32("n").ok(), document.len()), (Some(7), 6));
    }

    #[test]
    fn cuts_at_any_size() {
        let mut cutter = Cutter::default();
        for len in [0, 1, 5, 3, 10, 2] {
            cutter.add(Bytes::from(vec![
                u8::try_from(len).expect("it is small");
                len
            ]));
        }
        let mut cut = Vec::new();
        for limit in [4, 0, 6, 1, 9, 100, 100] {
            let len = cutter.len();
            let taken = cutter.take(limit).concat();
            assert_eq!(taken.len(), limit.min(len));
            cut.extend(taken);
        }
        assert_eq!(cutter.len(), 0);
        assert_eq!(cut.len(), 21);
        assert!(cut.starts_with(&[1, 5, 5, 5, 5, 5, 3]));
    }
}
