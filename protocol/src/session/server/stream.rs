//! One stream of chunks: order, go-back-N, and what is in flight.

use super::{CompleteRef, Opened, StreamUse};
use crate::{
    Digest,
    error::{ErrorCode, Refusal},
    frame::Chunk,
    ids::UploadId,
    message::RequestId,
};
use std::{collections::VecDeque, time::Duration};

/// How long the client is not told of what is stored, at most. The contract allows 50 ms.
const ACK_DELAY: Duration = Duration::from_millis(40);

/// A stream of a session.
pub(super) struct Stream {
    pub(super) of: StreamUse,
    pub(super) state: State,
}

pub(super) enum State {
    /// The driver is opening the upload; what the client pipelined waits here.
    Starting(Waiting),
    /// Bytes are coming.
    Open(Open),
    /// Nothing more is taken; late chunks and requests get their answer.
    Over(Over),
}

/// What came before the driver's answer, in order.
#[derive(Default)]
pub(super) struct Waiting {
    pub(super) request: RequestId,
    pub(super) chunks: VecDeque<Chunk>,
    pub(super) bytes: u64,
    pub(super) then: Vec<Then>,
}

/// A request that waits for the upload to be open.
pub(super) enum Then {
    Complete(RequestId, Option<Digest>),
    Abort(RequestId),
}

/// An upload whose bytes are coming.
pub(super) struct Open {
    pub(super) upload_id: UploadId,
    pub(super) size: u64,
    /// Where the next chunk must begin.
    pub(super) expected: u64,
    /// Every byte before it is in the cache.
    pub(super) stored: u64,
    /// What the client was last told of that.
    acked: u64,
    /// When the client is told of what is stored beyond that, at the latest, on the monotonic clock.
    ack_by: Option<Duration>,
    /// Where each chunk in flight ends.
    ends: VecDeque<u64>,
    /// After an error, chunks beyond `expected` are dropped silently until one at `expected` comes.
    going_back: bool,
    /// The request that waits for the last bytes to be stored.
    pub(super) completing: Option<(RequestId, Option<Digest>)>,
    /// Whether the driver was asked to complete the upload and has not answered yet.
    pub(super) submitted: bool,
}

/// A stream that takes nothing more.
pub(super) struct Over {
    pub(super) upload_id: Option<UploadId>,
    /// What requests are refused with; none if the upload became a file of this size.
    pub(super) end: Result<u64, Refusal>,
}

/// What becomes of a chunk.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It continues the upload.
    Store(Chunk),
    /// It was stored before: tell where the upload stands.
    AckAgain(UploadId, u64),
    /// It is not what should come; the upload goes on.
    Refuse(UploadId, Refusal),
    /// It ends the upload.
    End(UploadId, Refusal),
    /// It is dropped without a word.
    Drop,
}

impl Stream {
    pub(super) fn starting(of: StreamUse, request: RequestId) -> Self {
        Self {
            of,
            state: State::Starting(Waiting {
                request,
                ..Waiting::default()
            }),
        }
    }

    pub(super) fn over(
        of: StreamUse,
        upload_id: Option<UploadId>,
        end: Result<u64, Refusal>,
    ) -> Self {
        Self {
            of,
            state: State::Over(Over { upload_id, end }),
        }
    }

    pub(super) fn is_live(&self) -> bool {
        !matches!(self.state, State::Over(_))
    }

    pub(super) fn upload_id(&self) -> Option<UploadId> {
        match &self.state {
            State::Starting(_) => None,
            State::Open(open) => Some(open.upload_id),
            State::Over(over) => over.upload_id,
        }
    }

    pub(super) fn in_flight(&self) -> u64 {
        match &self.state {
            State::Starting(waiting) => waiting.bytes,
            State::Open(open) => open.expected - open.stored,
            State::Over(_) => 0,
        }
    }

    pub(super) fn chunks_in_flight(&self) -> usize {
        match &self.state {
            State::Starting(waiting) => waiting.chunks.len(),
            State::Open(open) => open.ends.len(),
            State::Over(_) => 0,
        }
    }
}

impl Open {
    pub(super) fn new(opened: &Opened) -> Self {
        Self {
            upload_id: opened.upload_id,
            size: opened.size,
            expected: opened.offset,
            stored: opened.offset,
            acked: opened.offset,
            ack_by: None,
            ends: VecDeque::new(),
            going_back: false,
            completing: None,
            submitted: false,
        }
    }

    /// Judges a chunk and, if it is to be stored, counts it as in flight.
    pub(super) fn judge(&mut self, chunk: Chunk) -> Verdict {
        let end = chunk.offset.saturating_add(chunk.len());
        if end <= self.expected {
            self.told();
            return Verdict::AckAgain(self.upload_id, self.stored);
        }
        if chunk.offset > self.expected && self.going_back {
            return Verdict::Drop;
        }
        if chunk.offset != self.expected {
            return self.go_back(
                ErrorCode::OffsetMismatch,
                "the chunk does not begin where the upload stands",
            );
        }
        if !chunk.is_intact() {
            return self.go_back(
                ErrorCode::ChecksumMismatch,
                "the payload does not fit its CRC-32C",
            );
        }
        if end > self.size {
            let text = format!(
                "the file was announced with {} bytes; the chunk ends at {end}",
                self.size
            );
            let refusal = Refusal::new(ErrorCode::SizeExceeded, text);
            // What is being made a file can't be taken back for a byte that is not in it.
            return if self.submitted {
                Verdict::Refuse(self.upload_id, refusal)
            } else {
                Verdict::End(self.upload_id, refusal)
            };
        }
        self.going_back = false;
        self.expected = end;
        self.ends.push_back(end);
        Verdict::Store(chunk)
    }

    fn go_back(&mut self, code: ErrorCode, text: &str) -> Verdict {
        self.going_back = true;
        Verdict::Refuse(
            self.upload_id,
            Refusal::new(code, text).expecting(self.expected),
        )
    }

    /// Bytes up to `offset` are stored. Answers how many fewer are in flight.
    pub(super) fn stored(&mut self, offset: u64) -> u64 {
        let offset = offset.clamp(self.stored, self.expected);
        let settled = offset - self.stored;
        self.stored = offset;
        let done = self.ends.partition_point(|end| *end <= offset);
        self.ends.drain(..done);
        settled
    }

    /// What to tell the client now of what is stored: a quarter of a window at once, everything that has come at once, and less
    /// not later than [`ack_by`](Self::ack_by). Then it counts as told.
    pub(super) fn ack(&mut self, window_bytes: u64, now: Duration) -> Option<u64> {
        if self.stored > self.acked && self.stored < self.expected {
            let untold = self.stored - self.acked;
            let by = *self.ack_by.get_or_insert(now + ACK_DELAY);
            if untold < window_bytes / 4 && now < by {
                return None;
            }
        }
        self.told();
        Some(self.stored)
    }

    fn told(&mut self) {
        self.acked = self.stored;
        self.ack_by = None;
    }

    /// When [`ack`](Self::ack) has something to tell that nothing else will bring about.
    pub(super) fn ack_by(&self) -> Option<Duration> {
        self.ack_by
    }

    /// The store failed for now: everything in flight is to be sent again, and more if the store says that it has lost what it
    /// held before. Answers how many bytes were in flight.
    pub(super) fn fall_back(&mut self, held: Option<u64>) -> u64 {
        let lost = self.expected - self.stored;
        self.stored = held.unwrap_or(self.stored).min(self.stored);
        self.told();
        self.expected = self.stored;
        self.ends.clear();
        self.going_back = true;
        lost
    }

    pub(super) fn is_whole(&self) -> bool {
        self.stored == self.size
    }

    pub(super) fn complete_ref(&self, of: StreamUse, id: RequestId) -> CompleteRef {
        CompleteRef {
            id,
            upload_id: self.upload_id,
            stream: Some(of),
        }
    }
}

impl Over {
    /// Late chunks are dropped, but for those of a finished file: their sender is told that it is whole.
    pub(super) fn judge(&self, chunk: &Chunk) -> Verdict {
        match (&self.end, self.upload_id) {
            (Ok(size), Some(upload_id)) if chunk.offset.saturating_add(chunk.len()) <= *size => {
                Verdict::AckAgain(upload_id, *size)
            }
            _ => Verdict::Drop,
        }
    }
}
