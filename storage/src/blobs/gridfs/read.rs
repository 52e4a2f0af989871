//! Reads a range of a blob, chunk by chunk.
//!
//! Each chunk is asked for by its number, so there is no cursor that a slow reader could lose, and a reader goes on when
//! another primary was elected in between.

use super::Entry;
use crate::{
    ByteStream,
    mongo::{LARGE, Trouble, within},
};
use bytes::Bytes;
use futures::{StreamExt, stream};
use mongodb::{
    Collection,
    bson::{RawDocument, RawDocumentBuf, doc},
};
use protocol::FileId;
use std::{io, ops::Range};

/// Bytes of a reader that are on their way or wait for it.
const AHEAD: u64 = 2 << 20;

/// The bytes of `range`, which must be within the blob.
pub(super) fn stream(
    chunks: Collection<RawDocumentBuf>,
    file: FileId,
    entry: &Entry,
    range: Range<u64>,
) -> ByteStream {
    let (size, chunk_size) = (entry.size, entry.chunk_size);
    let numbers = match range.is_empty() {
        true => 0..0,
        false => range.start / chunk_size..range.end.div_ceil(chunk_size),
    };
    let ahead = usize::try_from(AHEAD.div_ceil(chunk_size))
        .unwrap_or(1)
        .clamp(2, 16);
    stream::iter(numbers)
        .map(move |n| {
            let chunks = chunks.clone();
            let start = n * chunk_size;
            let len = chunk_size.min(size - start);
            let part = range.start.saturating_sub(start)..len.min(range.end - start);
            async move { Ok(chunk(&chunks, file, n, len).await?.slice(to_usize(part)?)) }
        })
        .buffered(ahead)
        .boxed()
}

/// Chunk `n`, which has `len` bytes.
async fn chunk(
    chunks: &Collection<RawDocumentBuf>,
    file: FileId,
    n: u64,
    len: u64,
) -> io::Result<Bytes> {
    let number = i64::try_from(n).map_err(io::Error::other)?;
    let query = doc! { "files_id": file.to_string(), "n": number };
    let found = within(
        LARGE,
        chunks
            .find_one(query)
            .projection(doc! { "_id": 0, "data": 1 }),
    );
    let found = found.await.map_err(broken)?;
    let damaged = |what: &str| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("chunk {n} of {file} {what}"),
        )
    };
    let document = Bytes::from(found.ok_or_else(|| damaged("is missing"))?.into_bytes());
    let data = RawDocument::from_bytes(&document)
        .and_then(|document| document.get_binary("data"))
        .map_err(|error| damaged(&error.to_string()))?;
    if data.bytes.len() as u64 != len {
        return Err(damaged(&format!(
            "has {} bytes instead of {len}",
            data.bytes.len()
        )));
    }
    // The rest of the document goes when the content does.
    Ok(document.slice_ref(data.bytes))
}

fn to_usize(part: Range<u64>) -> io::Result<Range<usize>> {
    let bound = |bound| usize::try_from(bound).map_err(io::Error::other);
    Ok(bound(part.start)?..bound(part.end)?)
}

fn broken(trouble: Trouble) -> io::Error {
    let kind = match trouble {
        Trouble::Unreachable(_) => io::ErrorKind::TimedOut,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, trouble)
}
