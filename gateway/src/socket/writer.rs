//! One open upload's way into the chunk cache: batches of chunks are looked at, stored and hashed, in order.

use crate::{
    blocking,
    policy::HEAD_BYTES,
    refusals,
    registry::Held,
    socket::event::{Event, Feed},
    uploads::{Started, Uploads},
};
use bytes::Bytes;
use protocol::{
    Digest, ErrorCode, Hasher, Refusal, TransferStatus,
    identity::Caller,
    session::server::{CompleteRef, Completed, Input, StreamUse},
    upload::Upload,
};
use std::sync::{Arc, Mutex, PoisonError};
use storage::chunks::Hold;
use tokio::sync::mpsc;
use tracing::Instrument;

/// Bytes stored in one go at most: enough to make a write worth its cost, little enough to acknowledge often.
const BATCH_BYTES: usize = 1 << 20;

/// Below this, hashing is done at once: handing it to another thread would cost more.
const HASH_INLINE_BYTES: usize = 16 << 10;

/// What a session tells a writer.
pub(crate) enum Order {
    /// Store a chunk.
    Store { offset: u64, payload: Bytes },
    /// All chunks are stored: make the upload a file.
    Complete {
        of: CompleteRef,
        digest: Option<Digest>,
    },
}

/// Tells a writer what to do; dropping it ends the writer after what it is doing.
pub(crate) type Orders = mpsc::UnboundedSender<Order>;

/// An upload's writer, from its start to its end.
pub(crate) struct Writer {
    pub(crate) uploads: Arc<Uploads>,
    pub(crate) caller: Caller,
    pub(crate) upload: Upload,
    pub(crate) hold: Hold,
    /// Keeps the upload's place among the holders.
    pub(crate) held: Held,
    pub(crate) of: StreamUse,
    pub(crate) feed: Feed,
}

/// A writer at work: with the digest so far, and the file's beginning while it is still of interest.
struct Running {
    writer: Writer,
    hasher: Hasher,
    /// Whether the hasher has seen all that is held.
    caught_up: bool,
    head: Option<Vec<u8>>,
}

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
        let (orders, received) = mpsc::unbounded_channel();
        let hasher = Hasher::new(self.upload.meta.digest_algorithm());
        let mut running = Running {
            writer: self,
            hasher,
            caught_up: false,
            head: Some(Vec::new()),
        };
        tokio::spawn(async move { running.run(received).await }.in_current_span());
        orders
    }
}

impl Running {
    async fn run(&mut self, mut orders: mpsc::UnboundedReceiver<Order>) {
        let mut next = None;
        if let Err(refusal) = self.catch_up().await {
            tracing::debug!(%refusal, "what is held can't be read now; trying again with the next order");
        }
        loop {
            let order = match next.take() {
                Some(order) => order,
                None => match orders.recv().await {
                    Some(order) => order,
                    None => return,
                },
            };
            let over = match order {
                Order::Complete { of, digest } => self.complete(of, digest).await,
                Order::Store { offset, payload } => {
                    let (batch, following) = gather(offset, payload, &mut orders);
                    next = following;
                    self.store(offset, batch).await
                }
            };
            if over {
                return;
            }
        }
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
        let hasher = Hasher::new(upload.meta.digest_algorithm());
        self.hasher = match hold.held {
            0 => hasher,
            held => uploads.rehash(upload.upload_id, held, hasher, look).await?,
        };
        self.head = Some(std::mem::take(
            &mut *head.lock().unwrap_or_else(PoisonError::into_inner),
        ));
        self.caught_up = true;
        Ok(())
    }

    /// Stores a batch and says so; answers whether the upload is over.
    async fn store(&mut self, offset: u64, batch: Vec<Bytes>) -> bool {
        if offset != self.writer.hold.held {
            // Sent behind a batch that failed: the session has given it up, and the client sends it again.
            return false;
        }
        let (answer, over) = match self.try_store(offset, batch).await {
            Ok(held) => (Ok(held), false),
            Err(Failure::Passing(refusal)) => (Err(refusal), false),
            Err(Failure::Final(refusal)) => (Err(refusal), true),
        };
        self.answer(Input::Stored(self.writer.of, answer));
        over
    }

    async fn try_store(&mut self, offset: u64, batch: Vec<Bytes>) -> Result<u64, Failure> {
        if let Err(refusal) = self.catch_up().await {
            return Err(self.judge(refusal).await);
        }
        self.look(&batch).await?;
        let Writer {
            uploads,
            upload,
            hold,
            ..
        } = &self.writer;
        let appended =
            uploads
                .cache
                .append(upload.upload_id, hold.generation, offset, batch.clone());
        // Hashing and storing go on at the same time; the hasher is kept only if the bytes were.
        let (appended, hasher) = tokio::join!(appended, hash(self.hasher.clone(), batch));
        match appended.map_err(refusals::from_chunks) {
            Ok(held) => {
                self.writer.hold.held = held;
                self.hasher = hasher;
                Ok(held)
            }
            Err(refusal) => Err(self.judge(refusal).await),
        }
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
        Failure::Passing(refusal.expecting(hold.held))
    }

    /// Looks at the beginning of the file as far as it is known. What must not be stored ends the upload.
    async fn look(&mut self, batch: &[Bytes]) -> Result<(), Failure> {
        let Some(head) = &mut self.head else {
            return Ok(());
        };
        // After a failed batch the head has bytes that were not stored.
        head.truncate(usize::try_from(self.writer.hold.held).unwrap_or(HEAD_BYTES));
        for part in batch {
            let room = HEAD_BYTES.saturating_sub(head.len());
            head.extend_from_slice(&part[..part.len().min(room)]);
        }
        let Writer {
            uploads,
            caller,
            upload,
            ..
        } = &self.writer;
        if let Err(refusal) = uploads.policy.check_head(head) {
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
        if self.writer.hold.held >= HEAD_BYTES as u64 {
            self.head = None;
        }
        Ok(())
    }

    /// Makes the upload a file and says so; answers whether it is over.
    async fn complete(&mut self, of: CompleteRef, announced: Option<Digest>) -> bool {
        let answer = self.try_complete(announced).await;
        let over = answer
            .as_ref()
            .map_or_else(|refusal| refusal.code.ends_upload(), |_| true);
        self.answer(Input::Completed(of, answer.map(Box::new)));
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
        let digest = self.hasher.clone().finish();
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

    fn answer(&self, input: Input) {
        // The session may be gone; then nobody needs the answer.
        let _ = self.writer.feed.send(Event::Input(input));
    }
}

/// Takes the chunks that wait already and continue the first one, as far as they make one batch; also answers the order behind
/// them, if it was taken from the queue.
fn gather(
    offset: u64,
    first: Bytes,
    orders: &mut mpsc::UnboundedReceiver<Order>,
) -> (Vec<Bytes>, Option<Order>) {
    let mut bytes = first.len();
    let mut batch = vec![first];
    while bytes < BATCH_BYTES {
        match orders.try_recv() {
            Ok(Order::Store {
                offset: at,
                payload,
            }) if at == offset + bytes as u64 => {
                bytes += payload.len();
                batch.push(payload);
            }
            Ok(other) => return (batch, Some(other)),
            Err(_) => break,
        }
    }
    (batch, None)
}

async fn hash(mut hasher: Hasher, batch: Vec<Bytes>) -> Hasher {
    let small = batch.iter().map(Bytes::len).sum::<usize>() <= HASH_INLINE_BYTES;
    let update = move || {
        batch.iter().for_each(|part| hasher.update(part));
        hasher
    };
    if small {
        update()
    } else {
        blocking::run(update).await
    }
}
