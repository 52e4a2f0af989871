//! Reading a range of an upload, block by block, also while it is removed.

use super::{
    Inner,
    answer::Answer,
    scripts::{BLOCK, Function},
    trouble::Trouble,
};
use crate::{ByteStream, chunks::ChunkError};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use protocol::UploadId;
use redis::{cmd, from_redis_value};
use std::{
    io,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Blocks asked for before they are needed, the one that is needed included.
const AHEAD: usize = 8;

/// For how long an upload that is removed waits for a reader that asks for nothing.
pub(super) const LEASE: Duration = Duration::from_secs(60);

/// How often a reader says that it goes on.
const RENEWAL: Duration = Duration::from_secs(20);

/// A reader at work.
struct Reading {
    inner: Arc<Inner>,
    upload: UploadId,
    record: String,
    /// When the upload was made, which its blocks are named by.
    born: u64,
    name: u64,
    range: Range<u64>,
    renewed: Mutex<Instant>,
}

/// Opens a range that the record of the upload says is held.
pub(super) async fn read(
    inner: &Arc<Inner>,
    upload: UploadId,
    range: Range<u64>,
) -> Result<ByteStream, ChunkError> {
    let record = inner.record(upload);
    let name = rand::random();
    let mut call = Function::Read.call(&record, (4, 80));
    call.arg(range.start)
        .arg(range.end)
        .arg(name)
        .arg(millis(LEASE));
    let answer = inner.control(call).await?;
    let (born, _) = Answer::parse(answer)?.about(upload)?;
    if range.is_empty() {
        return Ok(stream::empty().boxed());
    }
    let reading = Arc::new(Reading {
        inner: Arc::clone(inner),
        upload,
        record,
        born,
        name,
        range: range.clone(),
        renewed: Mutex::new(Instant::now()),
    });
    let last = Arc::clone(&reading);
    let blocks = range.start / BLOCK..range.end.div_ceil(BLOCK);
    let pieces = stream::iter(blocks)
        .map(move |number| Arc::clone(&reading).fetch(number))
        .buffered(AHEAD);
    let end = stream::once(async move { last.end().await }).filter_map(async |()| None);
    Ok(pieces.map_err(io::Error::from).chain(end).boxed())
}

/// Why a piece is not to be had.
enum Missing {
    Trouble(Trouble),
    Gone(UploadId),
}

impl From<Missing> for io::Error {
    fn from(missing: Missing) -> Self {
        match missing {
            Missing::Trouble(trouble) => trouble.into(),
            Missing::Gone(upload) => Self::new(
                io::ErrorKind::NotFound,
                format!("the chunk cache no longer holds upload {upload}"),
            ),
        }
    }
}

impl Reading {
    /// What the range has of a block.
    async fn fetch(self: Arc<Self>, number: u64) -> Result<Bytes, Missing> {
        self.renew(number).await.map_err(Missing::Trouble)?;
        let begin = number * BLOCK;
        let from = self.range.start.max(begin) - begin;
        let until = (self.range.end - begin).min(BLOCK);
        let mut get = cmd("GETRANGE");
        let key = format!("{}:{}:{number}", self.record, self.born);
        get.arg(key).arg(from).arg(until - 1);
        let answer = self.inner.fetch(self.name, get).await;
        let bytes = answer.and_then(|value| Ok(from_redis_value::<Bytes>(value)?));
        let bytes = bytes.map_err(Missing::Trouble)?;
        if bytes.len() as u64 == until - from {
            Ok(bytes)
        } else {
            Err(Missing::Gone(self.upload))
        }
    }

    /// Says that it goes on from a block, if that was not said lately.
    async fn renew(&self, number: u64) -> Result<(), Trouble> {
        {
            let mut renewed = self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
            if renewed.elapsed() < RENEWAL {
                return Ok(());
            }
            *renewed = Instant::now();
        }
        self.lease(LEASE, number.saturating_sub(AHEAD as u64)).await
    }

    async fn end(&self) {
        // Otherwise it is seen to be over a little later.
        let _ = self.lease(Duration::ZERO, 0).await;
    }

    async fn lease(&self, keep: Duration, first: u64) -> Result<(), Trouble> {
        let mut call = Function::Lease.call(&self.record, (5, 100));
        call.arg(self.born).arg(self.name).arg(millis(keep));
        call.arg(first).arg((self.range.end - 1) / BLOCK);
        self.inner.control(call).await.map(drop)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
