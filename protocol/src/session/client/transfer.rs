//! One file on its way: what of it is sent, acknowledged and still to do.

use super::Outgoing;
use crate::{
    digest::Digest,
    frame::HEADER_LEN,
    ids::{UploadId, UploadKey},
    message::{Limits, RequestId, StreamId},
    state::TransferStatus,
    upload::FileMeta,
};
use std::time::Duration;

/// A file on its way.
#[derive(Debug)]
pub(super) struct Transfer {
    pub(super) key: UploadKey,
    pub(super) meta: FileMeta,
    pub(super) digest: Option<Digest>,
    digest_asked: bool,
    pub(super) upload_id: Option<UploadId>,
    /// Whether a start was sent before, so that the server may hold something of it.
    pub(super) touched: bool,
    /// Troubles in a row without any progress.
    pub(super) failures: u32,
    /// Whether it was taken back from another stream in this session.
    pub(super) retaken: bool,
    /// Bytes sent: where the next chunk begins.
    pub(super) sent: u64,
    /// Bytes acknowledged.
    pub(super) acked: u64,
    /// Its place in the present session.
    pub(super) attached: Option<Attached>,
}

/// A file's place in one session.
#[derive(Debug)]
pub(super) struct Attached {
    pub(super) stream: StreamId,
    /// Whether `transfer-started` came.
    pub(super) started: bool,
    /// Whether chunks are sent before it comes.
    pub(super) pipelined: bool,
    /// Whether this sender never started the file before.
    pub(super) first: bool,
    /// The payload size that the server recommends, bytes.
    pub(super) chunk_bytes: u64,
    /// The `complete-upload` whose reply is awaited.
    pub(super) complete: Option<RequestId>,
    pub(super) paused_until: Option<Duration>,
    /// How the upload had ended when it was started; the `complete-upload` sent then asks for the details.
    pub(super) ended: Option<TransferStatus>,
}

/// What a file wants to do next.
pub(super) enum Step {
    None,
    Chunk {
        stream: StreamId,
        offset: u64,
        len: u64,
    },
    Digest,
    Complete {
        stream: StreamId,
        digest: Digest,
    },
}

impl Transfer {
    pub(super) fn new(file: Outgoing) -> Self {
        Self {
            key: file.key,
            digest: file.meta.digest,
            meta: file.meta,
            digest_asked: false,
            upload_id: None,
            touched: false,
            failures: 0,
            retaken: false,
            sent: 0,
            acked: 0,
            attached: None,
        }
    }

    pub(super) fn begin(&mut self, attached: Attached) {
        self.attached = Some(attached);
        self.touched = true;
        self.sent = self.acked;
        // Whoever was asked for it may be gone with the connection.
        self.digest_asked = false;
    }

    /// Whether all of it may be sent without an acknowledgement. An empty file has nothing to gain by it.
    pub(super) fn fits_window(&self, limits: &Limits) -> bool {
        (1..=limits.window_bytes).contains(&self.meta.size)
    }

    /// Takes the next step if there is one.
    pub(super) fn step(&mut self, now: Duration, limits: &Limits) -> Step {
        let Some(attached) = &mut self.attached else {
            return Step::None;
        };
        let may_send = attached.started || attached.pipelined;
        if attached.ended.is_some()
            || !may_send
            || attached.paused_until.is_some_and(|time| time > now)
        {
            return Step::None;
        }
        attached.paused_until = None;
        let stream = attached.stream;
        if self.sent < self.meta.size {
            let len = attached.chunk_len(limits).min(self.meta.size - self.sent);
            // A chunk that does not fit waits for acknowledgements: cutting it would make ever smaller ones.
            if self.sent - self.acked + len > limits.window_bytes.max(1) {
                return Step::None;
            }
            let offset = self.sent;
            self.sent += len;
            return Step::Chunk {
                stream,
                offset,
                len,
            };
        }
        match self.digest {
            _ if attached.complete.is_some() => Step::None,
            Some(digest) => Step::Complete { stream, digest },
            None if self.digest_asked => Step::None,
            None => {
                self.digest_asked = true;
                Step::Digest
            }
        }
    }

    /// Every byte before `offset` is held. Returns whether that is news.
    pub(super) fn acknowledge(&mut self, offset: u64) -> bool {
        let offset = offset.min(self.meta.size);
        if offset <= self.acked {
            return false;
        }
        self.acked = offset;
        self.sent = self.sent.max(offset);
        self.failures = 0;
        true
    }

    /// The server is at `offset`, whatever was acknowledged: go on there.
    pub(super) fn go_to(&mut self, offset: u64) {
        let offset = offset.min(self.meta.size);
        if offset > self.acked {
            self.failures = 0;
        }
        self.sent = offset;
        self.acked = offset;
    }
}

impl Attached {
    pub(super) fn new(stream: StreamId, pipelined: bool, first: bool) -> Self {
        Self {
            stream,
            started: false,
            pipelined,
            first,
            chunk_bytes: u64::MAX,
            complete: None,
            paused_until: None,
            ended: None,
        }
    }

    /// The payload size to use: at most half a window, so that one chunk travels while another is acknowledged.
    fn chunk_len(&self, limits: &Limits) -> u64 {
        let message = limits.max_message_bytes.saturating_sub(HEADER_LEN as u64);
        self.chunk_bytes
            .min(limits.max_chunk_bytes)
            .min(message)
            .min(limits.window_bytes / 2)
            .max(1)
    }
}
