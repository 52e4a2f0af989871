//! Who was promised how much room.

use super::{Inner, answer::Answer, batch::MAX_BYTES, scripts::Function, time, trouble::Trouble};
use crate::chunks::ChunkError;
use protocol::UploadId;
use redis::{Cmd, Value, cmd, from_redis_value};
use std::{collections::HashMap, time::SystemTime};

/// The field with all promises together.
const TOTAL: &str = "total";

/// The ledger of a cache: one hash, so that its entries and their sum can't be lost apart.
pub(super) struct Ledger<'a>(pub(super) &'a Inner);

impl Ledger<'_> {
    fn key(&self) -> String {
        format!("{}:ledger", self.0.prefix)
    }

    /// The call that promises `size` bytes to an upload, of `limit` in all. What it was promised before is promised still.
    pub(super) fn reserve(
        &self,
        upload: UploadId,
        size: u64,
        limit: u64,
    ) -> Result<Cmd, ChunkError> {
        if size > limit.min(MAX_BYTES) {
            return Err(ChunkError::TooLarge(format!(
                "the upload needs {size} bytes of {limit} in all: raise max_bytes and the maxmemory of Redis"
            )));
        }
        let mut call = Function::Reserve.call(&self.key(), (3, 80));
        call.arg(upload.to_string()).arg(size).arg(limit);
        Ok(call)
    }

    /// The answer to it.
    pub(super) fn reserved(answer: Value, upload: UploadId, size: u64) -> Result<(), ChunkError> {
        match Answer::parse(answer)? {
            Answer::OutOfOrder(left) => Err(ChunkError::Busy(format!(
                "the upload needs {size} bytes and {left} are left: wait until files are stored, or raise max_bytes and \
                 the maxmemory of Redis"
            ))),
            other => other.about(upload).map(drop),
        }
    }

    /// The call for what the ledger says of an upload.
    pub(super) fn entry(&self, upload: UploadId) -> Cmd {
        let mut get = cmd("HGET");
        get.arg(self.key()).arg(upload.to_string());
        get
    }

    /// Crosses an upload out, unless its entry has changed since.
    pub(super) async fn release(&self, upload: UploadId, entry: &str) -> Result<(), Trouble> {
        let mut call = Function::Release.call(&self.key(), (2, 100));
        call.arg(upload.to_string()).arg(entry);
        self.0.control(call).await.map(drop)
    }

    /// Every upload, with the time of its entry; and the bytes promised to all.
    pub(super) async fn uploads(&self) -> Result<(Vec<(UploadId, SystemTime)>, u64), Trouble> {
        let mut get = cmd("HGETALL");
        get.arg(self.key());
        let mut entries: HashMap<String, String> = from_redis_value(self.0.control(get).await?)?;
        let total = entries.remove(TOTAL).and_then(|total| total.parse().ok());
        let upload = |(upload, entry): (String, String)| {
            let (_, since) = entry.split_once(' ')?;
            Some((upload.parse().ok()?, time(since.parse().ok()?)))
        };
        let uploads = entries.into_iter().filter_map(upload).collect();
        Ok((uploads, total.unwrap_or(0)))
    }
}
