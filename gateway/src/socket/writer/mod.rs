//! One open upload's way into the chunk cache: chunks are looked at and hashed as they come, and stored in batches, in order.

mod batches;

use crate::{
    policy::HEAD_BYTES,
    refusals,
    registry::Held as Place,
    socket::event::Feed,
    uploads::{Started, Uploads},
};
use batches::{Held, Ready};
use futures::future::BoxFuture;
use protocol::{
    Digest, ErrorCode, Hasher, Refusal, TransferStatus,
    identity::Caller,
    session::server::{CompleteRef, Completed, Input, StreamUse},
    upload::Upload,
};
use std::sync::{Arc, Mutex, PoisonError};
use storage::chunks::{ChunkError, Hold, Piece};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::Instrument;

/// Bytes hashed before other tasks have their turn.
const HASHED_AT_ONCE: usize = 256 << 10;

/// What a session tells a writer.
pub(crate) enum Order {
    /// Store a chunk.
    Store { offset: u64, piece: Piece },
    /// All chunks are stored: make the upload a file.
    Complete {
        of: CompleteRef,
        digest: Option<Digest>,
    },
}

/// Tells a writer what to do; dropping it ends the writer after what it is doing, and at once where that only reads.
pub(crate) struct Orders {
    sender: mpsc::UnboundedSender<Order>,
    _gone: DropGuard,
}

impl Orders {
    /// Passes an order on; a writer that has ended has said why.
    pub(crate) fn give(&self, order: Order) {
        let _ = self.sender.send(order);
    }
}

/// An upload's writer, from its start to its end.
pub(crate) struct Writer {
    pub(crate) uploads: Arc<Uploads>,
    pub(crate) caller: Caller,
    pub(crate) upload: Upload,
    pub(crate) hold: Hold,
    /// Keeps the upload's place among the holders.
    pub(crate) held: Place,
    pub(crate) of: StreamUse,
    pub(crate) feed: Feed,
}

/// A writer at work.
struct Running {
    writer: Writer,
    /// What the cache takes.
    ready: Arc<Ready>,
    /// Has seen all that came in order: what is held, what is being stored and what waits.
    received: Hasher,
    /// Where what came in order ends.
    end: u64,
    /// Whether the hashers have seen what an earlier stream has left.
    caught_up: bool,
    /// The beginning of the file, while it is still of interest.
    head: Option<Vec<u8>>,
    /// The cache at work on what is ready.
    storing: Option<Storing>,
    /// Cancelled once nobody gives orders any more.
    gone: CancellationToken,
}

/// Ends when nothing is ready, or with what the cache refuses.
type Storing = BoxFuture<'static, Result<u64, ChunkError>>;

/// Why a batch was not stored.
enum Failure {
    /// The upload goes on from what is held.
    Passing(Refusal),
    /// The upload is over.
    Final(Refusal),
}

impl Failure {
    fn into_refusal(self) -> Refusal {
        match self {
            Self::Passing(refusal) | Self::Final(refusal) => refusal,
        }
    }
}

impl Writer {
    /// Starts the writer; it runs until its orders end or the upload does.
    pub(crate) fn spawn(self) -> Orders {
        let (sender, received) = mpsc::unbounded_channel();
        let gone = CancellationToken::new();
        let hasher = Hasher::new(self.upload.meta.digest_algorithm());
        let held = Held {
            end: 0,
            seen: hasher.clone(),
        };
        let mut running = Running {
            ready: Arc::new(Ready::new(self.of, self.feed.clone(), held)),
            writer: self,
            received: hasher,
            end: 0,
            caught_up: false,
            head: Some(Vec::new()),
            storing: None,
            gone: gone.clone(),
        };
        tokio::spawn(async move { running.run(received).await }.in_current_span());
        Orders {
            sender,
            _gone: gone.drop_guard(),
        }
    }
}

impl Running {
    /// Takes chunks while others are being stored: each is hashed as it comes, while it is warm.
    async fn run(&mut self, mut orders: mpsc::UnboundedReceiver<Order>) {
        if let Err(refusal) = self.catch_up().await {
            tracing::debug!(%refusal, "what is held can't be read now; trying again with the next order");
        }
        let mut last = false;
        loop {
            self.store();
            if last && self.storing.is_none() {
                return;
            }
            let over = tokio::select! {
                biased;
                answer = answer(&mut self.storing) => self.stored(answer).await,
                order = orders.recv(), if !last => match order {
                    Some(Order::Store { offset, piece }) => self.receive(offset, piece).await,
                    Some(Order::Complete { of, digest }) => self.complete(of, digest).await,
                    None => {
                        last = true;
                        false
                    }
                }
            };
            if over {
                return;
            }
        }
    }

    /// Sets the cache to work, if something is ready and it is not.
    fn store(&mut self) {
        if self.storing.is_some() || self.ready.is_empty() {
            return;
        }
        let (cache, ready) = (self.writer.uploads.cache.clone(), self.ready.clone());
        let (upload, hold) = (self.writer.upload.upload_id, self.writer.hold);
        self.storing = Some(Box::pin(async move {
            cache
                .append_all(upload, hold.generation, hold.held, ready)
                .await
        }));
    }

    /// Hashes what an earlier stream has left, and looks at its beginning.
    async fn catch_up(&mut self) -> Result<(), Refusal> {
        if self.caught_up {
            return Ok(());
        }
        let Writer {
            uploads,
            upload,
            hold,
            ..
        } = &self.writer;
        let head = Arc::new(Mutex::new(Vec::new()));
        let seen = head.clone();
        let look = move |piece: &[u8]| {
            let mut head = seen.lock().unwrap_or_else(PoisonError::into_inner);
            let room = HEAD_BYTES.saturating_sub(head.len());
            head.extend_from_slice(&piece[..piece.len().min(room)]);
        };
        let (hasher, held) = (Hasher::new(upload.meta.digest_algorithm()), hold.held);
        let hasher = match held {
            0 => hasher,
            // Gigabytes may be held: who comes and goes again and again shall not make the server read them each time.
            held => self
                .gone
                .run_until_cancelled(uploads.rehash(upload.upload_id, held, hasher, look))
                .await
                .unwrap_or_else(|| Err(refusals::unavailable("the stream is over")))?,
        };
        self.head = Some(std::mem::take(
            &mut *head.lock().unwrap_or_else(PoisonError::into_inner),
        ));
        self.caught_up = true;
        self.fall_back(Held {
            end: held,
            seen: hasher,
        });
        Ok(())
    }

    /// Goes back to what is held: what came beyond it comes again.
    fn fall_back(&mut self, held: Held) {
        self.writer.hold.held = held.end;
        self.end = held.end;
        self.received = held.seen.clone();
        // A new one: whatever the cache still does with the old one says nothing about this.
        self.ready = Arc::new(Ready::new(self.writer.of, self.writer.feed.clone(), held));
        if let Some(head) = &mut self.head {
            head.truncate(usize::try_from(self.end).unwrap_or(HEAD_BYTES));
        }
    }

    /// Takes a chunk; answers whether the upload is over.
    async fn receive(&mut self, offset: u64, piece: Piece) -> bool {
        match self.try_receive(offset, piece).await {
            Ok(()) => false,
            Err(failure) => self.fail(failure),
        }
    }

    async fn try_receive(&mut self, offset: u64, mut piece: Piece) -> Result<(), Failure> {
        if !self.caught_up
            && let Err(refusal) = self.catch_up().await
        {
            return Err(self.judge(refusal).await);
        }
        if offset > self.end {
            // Sent behind a batch that failed: the session has given it up, and the client sends it again.
            return Ok(());
        }
        // A store that failed may have kept the bytes all the same: they are not stored twice.
        piece.skip(usize::try_from(self.end - offset).unwrap_or(usize::MAX));
        if piece.is_empty() {
            let held = self.ready.held().end;
            self.ready.tell(Input::Stored(self.writer.of, Ok(held)));
            return Ok(());
        }
        self.look(&piece).await?;
        hash(&mut self.received, &piece).await;
        self.end += piece.len() as u64;
        self.ready.push(piece, self.received.clone());
        Ok(())
    }

    /// What became of what was ready; answers whether the upload is over.
    async fn stored(&mut self, answer: Result<u64, ChunkError>) -> bool {
        self.storing = None;
        match answer {
            Ok(held) => {
                self.writer.hold.held = held;
                false
            }
            Err(error) => {
                self.fall_back(self.ready.held());
                let failure = self.judge(refusals::from_chunks(error)).await;
                self.fail(failure)
            }
        }
    }

    /// Says that storing failed; answers whether the upload is over.
    fn fail(&self, failure: Failure) -> bool {
        let over = matches!(failure, Failure::Final(_));
        let refusal = failure.into_refusal();
        self.ready.tell(Input::Stored(self.writer.of, Err(refusal)));
        over
    }

    /// What it means for the upload that the cache refused.
    async fn judge(&mut self, refusal: Refusal) -> Failure {
        if !refusal.code.is_retryable() {
            Failure::Final(refusal)
        } else if refusal.expected.is_some() {
            self.recover(refusal).await
        } else {
            Failure::Passing(refusal)
        }
    }

    /// The cache no longer has what it held: the upload has ended meanwhile, or it goes on from what is left.
    async fn recover(&mut self, refusal: Refusal) -> Failure {
        let Writer {
            uploads,
            caller,
            upload,
            ..
        } = &self.writer;
        let held = match uploads.find(caller, upload.upload_id).await {
            Ok(upload) => uploads.hold(upload).await,
            Err(refusal) => Err(refusal),
        };
        let Started { upload, hold } = match held {
            Ok(started) => started,
            Err(refusal) if refusal.code.is_retryable() => return Failure::Passing(refusal),
            Err(refusal) => return Failure::Final(refusal),
        };
        let Some(hold) = hold else {
            let taken_over = || Refusal::bare(ErrorCode::Superseded);
            return Failure::Final(refusals::of_ended(&upload).unwrap_or_else(taken_over));
        };
        tracing::warn!(upload_id = %upload.upload_id, held = hold.held, "the chunk cache has lost bytes; going on from what is left");
        self.writer.hold = hold;
        self.writer.held.renew(hold.generation);
        self.caught_up = false;
        self.storing = None;
        // Nobody has seen the bytes again yet.
        let seen = Hasher::new(self.writer.upload.meta.digest_algorithm());
        self.fall_back(Held {
            end: hold.held,
            seen,
        });
        Failure::Passing(refusal.expecting(hold.held))
    }

    /// Looks at the beginning of the file as far as it is known. What must not be stored ends the upload.
    async fn look(&mut self, piece: &[u8]) -> Result<(), Failure> {
        let Some(head) = &mut self.head else {
            return Ok(());
        };
        let room = HEAD_BYTES.saturating_sub(head.len());
        if room == 0 {
            if self.writer.hold.held >= HEAD_BYTES as u64 {
                self.head = None;
            }
            return Ok(());
        }
        head.extend_from_slice(&piece[..piece.len().min(room)]);
        let Writer {
            uploads,
            caller,
            upload,
            ..
        } = &self.writer;
        if let Err(refusal) = uploads.policy.check_head(head) {
            // It may hold the upload in the cache, whence its bytes are now to be removed.
            self.storing = None;
            uploads
                .end(
                    caller,
                    upload.upload_id,
                    TransferStatus::Rejected,
                    Some(refusal.clone()),
                )
                .await;
            return Err(Failure::Final(refusal));
        }
        Ok(())
    }

    /// Makes the upload a file and says so; answers whether it is over.
    async fn complete(&mut self, of: CompleteRef, announced: Option<Digest>) -> bool {
        // The session has heard that all is held before the cache has said that it is done.
        if let Some(storing) = self.storing.take() {
            let over = self.stored(storing.await).await;
            if over {
                return true;
            }
        }
        let answer = self.try_complete(announced).await;
        let over = answer
            .as_ref()
            .map_or_else(|refusal| refusal.code.ends_upload(), |_| true);
        self.ready.tell(Input::Completed(of, answer.map(Box::new)));
        over
    }

    async fn try_complete(&mut self, announced: Option<Digest>) -> Result<Completed, Refusal> {
        if let Err(refusal) = self.catch_up().await {
            return Err(self.judge(refusal).await.into_refusal());
        }
        let Writer {
            uploads,
            caller,
            upload,
            hold,
            ..
        } = &self.writer;
        let digest = self.received.clone().finish();
        match uploads
            .submit(caller, upload, hold.generation, digest, announced)
            .await
        {
            Err(refusal) if refusal.code == ErrorCode::Incomplete => {
                Err(self.recover(refusal).await.into_refusal())
            }
            answer => answer,
        }
    }
}

/// What became of what was ready, once that is known.
async fn answer(storing: &mut Option<Storing>) -> Result<u64, ChunkError> {
    match storing {
        Some(storing) => storing.await,
        None => std::future::pending().await,
    }
}

/// Hashes a chunk here and now: handing it to another thread would cost the cache's warmth.
async fn hash(hasher: &mut Hasher, chunk: &[u8]) {
    for (number, piece) in chunk.chunks(HASHED_AT_ONCE).enumerate() {
        if number > 0 {
            tokio::task::yield_now().await;
        }
        hasher.update(piece);
    }
}
