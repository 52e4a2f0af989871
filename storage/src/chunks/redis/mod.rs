//! A chunk cache in Redis, shared by all gateways, uploaders and file-managers.
//!
//! ```text
//! <prefix>:ledger                        what each upload was promised, and all of them together
//! <prefix>:{<upload>}                    the record of an upload: size, held, generation, sealed
//! <prefix>:{<upload>}:<made>:<number>    a block of its bytes, of its whole length from the start
//! <prefix>:{<upload>}:new-<name>:<number>  a block that was sent, and is not yet one of the upload's
//! <prefix>:{<upload>}:<made>:readers     who is reading it, and until when that may be believed
//! ```
//!
//! All keys of an upload are in one slot, and every change of them is one function in the server (`scripts/`): who may write is
//! checked by what writes. The ledger is in a slot of its own: an upload is entered before it is made and crossed out after it
//! is removed, so that whatever breaks off in between is in the list, with nothing held.
//!
//! An upload that is being written expires when nobody writes for [`ChunkOptions::abandoned_after`]; one that is sealed never
//! does. What Redis promises on its own side (append-only file, replicas) is said in `docs/guarantees.md`.

mod address;
mod answer;
mod batch;
mod connection;
mod ledger;
mod link;
mod message;
mod reading;
mod scripts;
mod server;
mod trouble;

use super::{
    CachedUpload, ChunkCache, ChunkError, ChunkOptions, Hold, Piece, SealedContent, Usage,
};
use crate::ByteStream;
use address::Address;
use answer::Answer;
use async_trait::async_trait;
use batch::MAX_BYTES;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use ledger::Ledger;
use link::{Link, Request, Shared};
use message::Message;
use protocol::UploadId;
use redis::{Cmd, Value, cmd, from_redis_value};
use scripts::Function;
use server::Info;
use std::{
    ops::Range,
    sync::Arc,
    time::{Duration, SystemTime},
};
use trouble::Trouble;

/// How long a small question or change may take, a fresh connection included.
const SMALL: Duration = Duration::from_secs(5);

/// How long a call with content may take, behind others on its connection.
const LARGE: Duration = Duration::from_secs(15);

/// Connections for appending. On each, whole batches go one behind the other.
const WRITERS: usize = 8;

/// Connections for reading.
const READERS: usize = 2;

/// Uploads looked at at once for the list.
const LOOKS: usize = 64;

/// A chunk cache in Redis.
pub struct RedisChunks {
    inner: Arc<Inner>,
}

/// Connections to one Redis. What is small never waits behind content, nor behind a replica.
struct Inner {
    prefix: String,
    keep_ms: u64,
    max_bytes: Option<u64>,
    control: Link,
    seals: Link,
    writers: [Link; WRITERS],
    readers: [Link; READERS],
}

/// Why a Redis can't be used, now or ever.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refused(String);

impl RedisChunks {
    /// Opens the cache in the Redis that `url` names: `redis[s]://[[user]:password@]host[:port][/database][?prefix=name]`. Redis
    /// need not be there yet.
    ///
    /// # Errors
    /// When the URL makes no sense, or Redis refuses for good: a wrong password, a database that there is not, a version before
    /// 7, a limit of memory with a policy other than `noeviction`.
    pub async fn open(url: &str, options: &ChunkOptions) -> Result<Self, Refused> {
        let address = Address::parse(url).map_err(Refused)?;
        let shown = address.shown().to_owned();
        let inner = Arc::new(Inner::new(address, options));
        match inner.info().await {
            // What is wrong now may be right later, and is in the log.
            Ok(_) | Err(Trouble::Away(_) | Trouble::Broken(_) | Trouble::Full(_)) => {
                Ok(Self { inner })
            }
            Err(trouble @ (Trouble::Unknown | Trouble::Other(_))) => {
                tracing::warn!(redis = shown, reason = %trouble, "the chunk cache can't be used yet");
                Ok(Self { inner })
            }
            Err(Trouble::Denied(reason)) => Err(Refused(format!("{shown}: {reason}"))),
        }
    }
}

impl Inner {
    fn new(address: Address, options: &ChunkOptions) -> Self {
        let prefix = address.prefix.clone();
        let shared = Arc::new(Shared::new(address));
        let link = || Link::new(&shared);
        let keep_ms = u64::try_from(options.abandoned_after.as_millis()).unwrap_or(u64::MAX);
        Self {
            prefix,
            keep_ms: keep_ms.clamp(1, MAX_BYTES),
            max_bytes: options.max_bytes,
            control: link(),
            seals: link(),
            writers: std::array::from_fn(|_| link()),
            readers: std::array::from_fn(|_| link()),
        }
    }

    fn record(&self, upload: UploadId) -> String {
        format!("{}:{{{upload}}}", self.prefix)
    }

    fn ledger(&self) -> Ledger<'_> {
        Ledger(self)
    }

    /// A small call.
    async fn control(&self, call: Cmd) -> Result<Value, Trouble> {
        self.control.call(call, SMALL).await
    }

    /// Two small calls, one behind the other.
    async fn control_both(&self, calls: (Cmd, Cmd)) -> Result<(Value, Value), Trouble> {
        let mut both = Message::from(calls.0);
        both.add(&calls.1);
        let mut reply = self.control.call_twice(both, SMALL).await?;
        let second = reply.last();
        Ok((reply.last(), second))
    }

    /// A call that answers content.
    async fn fetch(&self, reader: u64, call: Cmd) -> Result<Value, Trouble> {
        // The remainder is small.
        let number = usize::try_from(reader % READERS as u64).unwrap_or(0);
        self.readers[number].call(call, LARGE).await
    }

    /// The connection for what is appended to an upload.
    fn writer(&self, upload: UploadId) -> &Link {
        // The end of an id is random.
        let number = usize::try_from(upload.0.as_u128() % WRITERS as u128).unwrap_or(0);
        &self.writers[number]
    }

    /// How Redis is now; it is [`Trouble::Denied`] that it evicts.
    async fn info(&self) -> Result<Info, Trouble> {
        judge(self.control(Info::question()).await?)
    }

    /// Holds an upload; one that is not there is made if its size is given.
    fn hold(&self, upload: UploadId, size: Option<u64>) -> Cmd {
        let mut call = Function::Hold.call(&self.record(upload), (2, 40));
        call.arg(self.keep_ms);
        match size {
            Some(size) => call.arg(size),
            None => call.arg(""),
        };
        call
    }

    fn remove(&self, upload: UploadId) -> Cmd {
        let mut call = Function::Remove.call(&self.record(upload), (1, 20));
        call.arg(u64::try_from(reading::LEASE.as_millis()).unwrap_or(0));
        call
    }

    async fn stat(&self, upload: UploadId) -> Result<CachedUpload, ChunkError> {
        let mut look = cmd("HMGET");
        look.arg(self.record(upload))
            .arg(&["held", "sealed", "touched"]);
        let answer = self.control(look).await?;
        let found: (Option<u64>, Option<u64>, Option<u64>) =
            from_redis_value(answer).map_err(Trouble::from)?;
        let (Some(held), sealed, Some(touched)) = found else {
            return Err(ChunkError::NotFound(upload));
        };
        Ok(CachedUpload {
            upload,
            held,
            sealed: sealed.is_some(),
            touched: time(touched),
        })
    }
}

fn judge(info: Value) -> Result<Info, Trouble> {
    let text: String = from_redis_value(info)?;
    let info = Info::parse(&text);
    match info.eviction() {
        Some(reason) => Err(Trouble::Denied(reason)),
        None => Ok(info),
    }
}

/// The answer to [`Inner::hold`].
fn held(answer: Value, upload: UploadId) -> Result<Hold, ChunkError> {
    let (generation, held) = Answer::parse(answer)?.about(upload)?;
    Ok(Hold { generation, held })
}

/// The time that is so many microseconds after the epoch.
fn time(micros: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_micros(micros)
}

#[async_trait]
impl ChunkCache for RedisChunks {
    async fn open(&self, upload: UploadId, size: u64) -> Result<Hold, ChunkError> {
        let inner = &self.inner;
        let look = (inner.hold(upload, None), Info::question());
        let (there, info) = inner.control_both(look).await?;
        match held(there, upload) {
            Err(ChunkError::NotFound(_)) => {}
            there => return there,
        }
        let limit = judge(info)?.capacity().unwrap_or(MAX_BYTES);
        let limit = limit.min(inner.max_bytes.unwrap_or(MAX_BYTES));
        let ledger = inner.ledger();
        let reserve = ledger.reserve(upload, size, limit)?;
        let reserved = inner.control(reserve.clone()).await?;
        Ledger::reserved(reserved, upload, size)?;
        let (made, reserved) = inner
            .control_both((inner.hold(upload, Some(size)), reserve))
            .await?;
        let hold = held(made, upload)?;
        // Someone who removes it at the same time may have crossed it out in between.
        match Ledger::reserved(reserved, upload, size) {
            Err(full @ ChunkError::Busy(_)) => {
                inner.control(inner.remove(upload)).await?;
                Err(full)
            }
            other => other.map(|()| hold),
        }
    }

    async fn resume(&self, upload: UploadId) -> Result<Hold, ChunkError> {
        let hold = self.inner.hold(upload, None);
        held(self.inner.control(hold).await?, upload)
    }

    async fn append(
        &self,
        upload: UploadId,
        generation: u64,
        offset: u64,
        parts: Vec<Piece>,
    ) -> Result<u64, ChunkError> {
        let record = self.inner.record(upload);
        let parts: Vec<Bytes> = parts.into_iter().map(Piece::into_bytes).collect();
        let after = batch::end(offset, &parts);
        let call = batch::append(&record, generation, offset, parts, self.inner.keep_ms);
        let writer = self.inner.writer(upload);
        let mut reply = writer.call_twice(call, LARGE).await?;
        match Answer::parse(reply.last())? {
            // By the holder alone, so it was this very call, whose answer was lost.
            Answer::OutOfOrder(held) if reply.is_repetition && Some(held) == after => Ok(held),
            answer => Ok(answer.about(upload)?.0),
        }
    }

    async fn seal(&self, upload: UploadId, generation: u64) -> Result<(), ChunkError> {
        let mut command = Function::Seal.call(&self.inner.record(upload), (1, 20));
        command.arg(generation);
        let request = Request::replicated(command);
        let answer = self.inner.seals.call(request, SMALL).await?;
        Answer::parse(answer)?.about(upload)?;
        Ok(())
    }

    async fn sealed(&self, upload: UploadId) -> Result<SealedContent, ChunkError> {
        match self.inner.stat(upload).await? {
            CachedUpload { sealed: true, .. } => Ok(SealedContent::Remote),
            _ => Err(ChunkError::NotFound(upload)),
        }
    }

    async fn stat(&self, upload: UploadId) -> Result<CachedUpload, ChunkError> {
        self.inner.stat(upload).await
    }

    async fn read(&self, upload: UploadId, range: Range<u64>) -> Result<ByteStream, ChunkError> {
        reading::read(&self.inner, upload, range).await
    }

    async fn remove(&self, upload: UploadId) -> Result<(), ChunkError> {
        let ledger = self.inner.ledger();
        // The entry as it is before the upload goes.
        let calls = (ledger.entry(upload), self.inner.remove(upload));
        let (entry, _) = self.inner.control_both(calls).await?;
        let entry: Option<String> = from_redis_value(entry).map_err(Trouble::from)?;
        if let Some(entry) = entry {
            ledger.release(upload, &entry).await?;
        }
        Ok(())
    }

    async fn list(&self) -> Result<Vec<CachedUpload>, ChunkError> {
        let (uploads, _) = self.inner.ledger().uploads().await?;
        let look =
            async |(upload, touched): (UploadId, SystemTime)| match self.inner.stat(upload).await {
                // Entered and not made yet, or removed and not yet crossed out.
                Err(ChunkError::NotFound(_)) => Ok(CachedUpload {
                    upload,
                    held: 0,
                    sealed: false,
                    touched,
                }),
                found => found,
            };
        stream::iter(uploads)
            .map(look)
            .buffer_unordered(LOOKS)
            .try_collect()
            .await
    }

    async fn usage(&self) -> Result<Usage, ChunkError> {
        let info = self.inner.info().await?;
        let (uploads, total) = self.inner.ledger().uploads().await?;
        let look = async |(upload, _)| match self.inner.stat(upload).await {
            Err(ChunkError::NotFound(_)) => Ok(0),
            found => found.map(|found| found.held),
        };
        let held = stream::iter(uploads)
            .map(look)
            .buffer_unordered(LOOKS)
            .try_fold(0, async |sum, held| Ok(sum + held))
            .await?;
        let reserved = total.saturating_sub(held);
        let limits = [
            self.inner.max_bytes.map(|max| max.saturating_sub(total)),
            info.capacity()
                .map(|capacity| capacity.saturating_sub(total)),
            info.free().map(|free| free.saturating_sub(reserved)),
        ];
        let available = limits.into_iter().flatten().min();
        Ok(Usage {
            held,
            reserved,
            available: available.unwrap_or_else(|| MAX_BYTES.saturating_sub(total)),
        })
    }
}
