//! The client side of a session: what a sender sends next.
//!
//! [`Sender`] holds the files that are to be sent and outlives connections. The driver tells it what happens
//! ([`Sender::connected`], [`Sender::handle`], …), asks it what to do ([`Sender::poll_output`]) and hears how the files
//! fare ([`Sender::poll_event`]). Bytes never pass through it: a chunk is named by its offset and length.
//!
//! Rules it keeps:
//! - of one file, at most `window_bytes` are sent and not yet acknowledged;
//! - a file of at most one window is sent with its start and its end in one go, as long as that bet is won: a server that
//!   turns out to hold such bytes already makes the next files wait for their `transfer-started`;
//! - after a new connection every open file is started again with its key and goes on where the server says;
//! - what a server asks to be sent again (`expected`) is sent again, and what it asks to wait for is waited for;
//! - files take turns.

mod replies;
mod transfer;

#[cfg(test)]
mod lossy;
#[cfg(test)]
mod tests;

use crate::{
    digest::Digest,
    error::Refusal,
    ids::{FileId, UploadId, UploadKey},
    message::{
        AbortUpload, ClientMessage, CompleteUpload, Limits, RequestId, Start, StartTransfer,
        StreamId, UploadRef,
    },
    state::TransferStatus,
    upload::FileMeta,
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};
use transfer::{Attached, Step, Transfer};

/// Names a file within one [`Sender`]; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransferId(u64);

/// A file to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The client's name for it, which makes starting it repeatable.
    pub key: UploadKey,
    /// What it is. A digest given here need not be given again by [`Sender::set_digest`].
    pub meta: FileMeta,
}

/// What the driver is to do next.
#[allow(
    clippy::large_enum_variant,
    reason = "one is moved at a time, none is kept: a box would only cost"
)]
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Send this message.
    Message(ClientMessage),
    /// Send this part of the file.
    Chunk(ChunkRef),
    /// The whole file has been asked for once: tell its digest by [`Sender::set_digest`].
    Digest(TransferId),
}

/// A part of a file, to be sent as one chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkRef {
    /// The file.
    pub transfer: TransferId,
    /// Its stream in the present session.
    pub stream: StreamId,
    /// Where the part begins.
    pub offset: u64,
    /// Its length in bytes, at least 1.
    pub len: u64,
}

/// How a file fares.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The server knows the upload; bytes before `offset` need not be sent.
    Started {
        /// The file.
        transfer: TransferId,
        /// The server's name for it.
        upload_id: UploadId,
        /// Bytes that the server holds.
        offset: u64,
    },
    /// Bytes were acknowledged, or are to be sent again.
    Progress {
        /// The file.
        transfer: TransferId,
        /// Bytes sent.
        sent: u64,
        /// Bytes acknowledged.
        acked: u64,
    },
    /// The server can't take the file now; it is tried again by itself.
    Waiting {
        /// The file.
        transfer: TransferId,
        /// What the server said.
        refusal: Refusal,
    },
    /// Nothing more is sent of this file.
    Ended {
        /// The file.
        transfer: TransferId,
        /// How it ended.
        outcome: Outcome,
    },
}

/// How a transfer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server holds the whole file.
    Held(Held),
    /// It is not taken, for good.
    Refused {
        /// Why.
        refusal: Refusal,
        /// Whether that was decided before this sender sent anything of it.
        already: bool,
    },
    /// [`Sender::cancel`] was called.
    Cancelled,
}

/// A file that is at the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The upload that brought it.
    pub upload_id: UploadId,
    /// The file it became; the server may not say so for one that was there before.
    pub file_id: Option<FileId>,
    /// Its digest as the server computed it; likewise.
    pub digest: Option<Digest>,
    /// How it stood: `cached` or later, `upload_failed` included.
    pub status: TransferStatus,
    /// Whether it was there before this sender sent anything of it.
    pub already: bool,
}

/// What was asked of the server, to know its reply by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Start,
    Complete,
}

/// Sends files over a session that may break: see the [module](self).
#[derive(Debug)]
pub struct Sender {
    max_open: u32,
    limits: Option<Limits>,
    draining: bool,
    /// Whether small files are sent without waiting for `transfer-started`.
    pipelining: bool,
    transfers: BTreeMap<TransferId, Transfer>,
    /// Files to be started, first come first served.
    queue: VecDeque<TransferId>,
    /// Files to be started again at a time.
    waiting: BTreeSet<(Duration, TransferId)>,
    /// Files with a stream in this session; the next to take its turn is in front.
    ring: VecDeque<TransferId>,
    streams: BTreeMap<StreamId, TransferId>,
    requests: BTreeMap<RequestId, (TransferId, Asked)>,
    messages: VecDeque<ClientMessage>,
    events: VecDeque<Event>,
    next_transfer: u64,
    next_stream: StreamId,
    next_request: RequestId,
}

impl Sender {
    /// A sender that keeps at most `max_open` files open at once, or fewer if the server says so.
    #[must_use]
    pub fn new(max_open: u32) -> Self {
        Self {
            max_open: max_open.max(1),
            limits: None,
            draining: false,
            pipelining: true,
            transfers: BTreeMap::new(),
            queue: VecDeque::new(),
            waiting: BTreeSet::new(),
            ring: VecDeque::new(),
            streams: BTreeMap::new(),
            requests: BTreeMap::new(),
            messages: VecDeque::new(),
            events: VecDeque::new(),
            next_transfer: 0,
            next_stream: 0,
            next_request: 0,
        }
    }

    /// Adds a file to be sent.
    pub fn add(&mut self, file: Outgoing) -> TransferId {
        let id = TransferId(self.next_transfer);
        self.next_transfer += 1;
        self.transfers.insert(id, Transfer::new(file));
        self.queue.push_back(id);
        id
    }

    /// Gives a file up: the server is told if it may know of it, and the file ends as [`Outcome::Cancelled`].
    pub fn cancel(&mut self, id: TransferId) {
        let Some(transfer) = self.transfers.get(&id) else {
            return;
        };
        let known = match (&transfer.attached, transfer.upload_id) {
            (Some(attached), _) => Some(UploadRef::Stream(attached.stream)),
            (None, Some(upload_id)) if self.limits.is_some() => Some(UploadRef::Upload(upload_id)),
            (None, _) => None,
        };
        if let Some(upload) = known {
            let id = self.next_request_id();
            self.messages
                .push_back(ClientMessage::AbortUpload(AbortUpload { id, upload }));
        }
        self.end(id, Outcome::Cancelled);
    }

    /// Tells a file's digest, once it was asked for by [`Output::Digest`] or earlier.
    pub fn set_digest(&mut self, id: TransferId, digest: Digest) {
        if let Some(transfer) = self.transfers.get_mut(&id) {
            transfer.digest = Some(digest);
        }
    }

    /// A session is open: `connected` came.
    pub fn connected(&mut self, limits: Limits) {
        self.disconnected();
        self.limits = Some(limits);
    }

    /// The session is over. Files go on in the next one.
    pub fn disconnected(&mut self) {
        self.limits = None;
        self.draining = false;
        self.messages.clear();
        self.requests.clear();
        self.streams.clear();
        let mut open: Vec<_> = self.ring.drain(..).collect();
        open.extend(
            std::mem::take(&mut self.waiting)
                .into_iter()
                .map(|(_, id)| id),
        );
        open.sort_unstable();
        for id in open.into_iter().rev() {
            if let Some(transfer) = self.transfers.get_mut(&id) {
                transfer.attached = None;
                transfer.retaken = false;
                self.queue.push_front(id);
            }
        }
    }

    /// The server is going to close: files under way go on, no further ones are started.
    pub fn draining(&mut self) {
        self.draining = true;
    }

    /// Whether there is nothing left to send.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.transfers.is_empty()
    }

    /// Whether `stream` is in use in this session. A chunk that was asked for earlier and is not is to be dropped.
    #[must_use]
    pub fn is_open(&self, stream: StreamId) -> bool {
        self.streams.contains_key(&stream)
    }

    /// An id for a request of the driver's own, unlike all that this sender uses.
    pub fn next_request_id(&mut self) -> RequestId {
        self.next_request += 1;
        self.next_request
    }

    /// What happened, in order.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// What to do next; nothing until something else happens or [`Sender::next_timeout`] comes.
    ///
    /// `now` is the time since an instant of the driver's choice, the same in all calls.
    pub fn poll_output(&mut self, now: Duration) -> Option<Output> {
        let limits = self.limits?;
        if let Some(message) = self.messages.pop_front() {
            return Some(Output::Message(message));
        }
        self.start_next(now, &limits)
            .or_else(|| self.take_turns(now, &limits))
    }

    /// When to call [`Sender::poll_output`] again, if nothing else happens before.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Duration> {
        let limits = self.limits?;
        let paused = self
            .ring
            .iter()
            .filter_map(|id| self.transfers.get(id)?.attached.as_ref()?.paused_until);
        let waiting = self
            .waiting
            .first()
            .filter(|_| self.has_room(&limits))
            .map(|(time, _)| *time);
        paused.chain(waiting).min()
    }

    /// Whether a further file may be started.
    fn has_room(&self, limits: &Limits) -> bool {
        let room = self.max_open.min(limits.max_open_uploads).max(1);
        !self.draining && self.ring.len() < room as usize
    }

    /// Starts a file if one is due and there is room for it.
    fn start_next(&mut self, now: Duration, limits: &Limits) -> Option<Output> {
        if !self.has_room(limits) {
            return None;
        }
        let due = self
            .waiting
            .first()
            .filter(|(time, _)| *time <= now)
            .copied();
        let id = match due {
            Some(entry) => {
                self.waiting.remove(&entry);
                entry.1
            }
            None => self.queue.pop_front()?,
        };
        let request = self.next_request_id();
        self.next_stream += 1;
        let stream = self.next_stream;
        let transfer = self.transfers.get_mut(&id)?;
        let pipelined = self.pipelining && !transfer.touched && transfer.fits_window(limits);
        let attached = Attached::new(stream, pipelined, !transfer.touched);
        transfer.begin(attached);
        let what = Start::Open {
            key: Some(transfer.key),
            meta: transfer.meta.clone(),
        };
        self.streams.insert(stream, id);
        self.requests.insert(request, (id, Asked::Start));
        self.ring.push_back(id);
        Some(Output::Message(ClientMessage::StartTransfer(
            StartTransfer {
                id: request,
                stream,
                what,
            },
        )))
    }

    /// Lets each open file in turn take one step.
    fn take_turns(&mut self, now: Duration, limits: &Limits) -> Option<Output> {
        for _ in 0..self.ring.len() {
            let id = self.ring.pop_front()?;
            self.ring.push_back(id);
            let Some(transfer) = self.transfers.get_mut(&id) else {
                continue;
            };
            match transfer.step(now, limits) {
                Step::None => {}
                Step::Digest => return Some(Output::Digest(id)),
                Step::Chunk {
                    stream,
                    offset,
                    len,
                } => {
                    let (sent, acked) = (transfer.sent, transfer.acked);
                    self.events.push_back(Event::Progress {
                        transfer: id,
                        sent,
                        acked,
                    });
                    return Some(Output::Chunk(ChunkRef {
                        transfer: id,
                        stream,
                        offset,
                        len,
                    }));
                }
                Step::Complete { stream, digest } => {
                    let upload = UploadRef::Stream(stream);
                    return self
                        .ask_completion(id, upload, Some(digest))
                        .map(Output::Message);
                }
            }
        }
        None
    }

    /// The `complete-upload` of a file, its reply expected from now on.
    fn ask_completion(
        &mut self,
        id: TransferId,
        upload: UploadRef,
        digest: Option<Digest>,
    ) -> Option<ClientMessage> {
        let request = self.next_request_id();
        let attached = self.transfers.get_mut(&id)?.attached.as_mut()?;
        attached.complete = Some(request);
        self.requests.insert(request, (id, Asked::Complete));
        Some(ClientMessage::CompleteUpload(CompleteUpload {
            id: request,
            upload,
            digest,
        }))
    }

    /// Takes a file out of the session, to be started again at `time`.
    fn start_again_at(&mut self, id: TransferId, time: Duration) {
        self.detach(id);
        self.waiting.insert((time, id));
    }

    fn end(&mut self, id: TransferId, outcome: Outcome) {
        if !self.detach(id) {
            self.queue.retain(|queued| *queued != id);
            self.waiting.retain(|(_, waiting)| *waiting != id);
        }
        self.transfers.remove(&id);
        self.events.push_back(Event::Ended {
            transfer: id,
            outcome,
        });
    }

    /// Forgets a file's place in the session, so that late replies about it are ignored. Returns whether it had one.
    fn detach(&mut self, id: TransferId) -> bool {
        let Some(attached) = self
            .transfers
            .get_mut(&id)
            .and_then(|transfer| transfer.attached.take())
        else {
            return false;
        };
        self.streams.remove(&attached.stream);
        self.requests.retain(|_, (transfer, _)| *transfer != id);
        self.ring.retain(|open| *open != id);
        true
    }
}
