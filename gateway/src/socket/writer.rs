//! One open upload's way into the chunk cache: batches of chunks are looked at, stored and hashed, in order.

use crate::{
    policy::HEAD_BYTES,
    refusals,
    registry::Held,
    socket::event::{Event, Feed},
    uploads::{Started, Uploads},
};
use protocol::{
    Digest, ErrorCode, Hasher, Refusal, TransferStatus,
    identity::Caller,
    session::server::{CompleteRef, Completed, Input, StreamUse},
    upload::Upload,
};
use std::sync::{Arc, Mutex, PoisonError};
use storage::chunks::{Hold, Piece};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::Instrument;

/// Bytes stored in one go at most: enough to make a write worth its cost, little enough to acknowledge often.
const BATCH_BYTES: usize = 1 << 20;

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
    /// Cancelled once nobody gives orders any more.
    gone: CancellationToken,
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
        let (sender, received) = mpsc::unbounded_channel();
        let gone = CancellationToken::new();
        let hasher = Hasher::new(self.upload.meta.digest_algorithm());
        let mut running = Running {
            writer: self,
            hasher,
            caught_up: false,
            head: Some(Vec::new()),
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
                Order::Store { offset, piece } => {
                    if piece.len() < BATCH_BYTES / 2 {
                        // What is in the socket already joins the batch.
                        tokio::task::yield_now().await;
                    }
                    let (batch, following) = gather(offset, piece, &mut orders);
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
        Ok(())
    }

    /// Stores a batch and says so; answers whether the upload is over.
    async fn store(&mut self, offset: u64, mut batch: Vec<Piece>) -> bool {
        let held = self.writer.hold.held;
        if offset > held {
            // Sent behind a batch that failed: the session has given it up, and the client sends it again.
            return false;
        }
        // A store that failed may have kept the bytes all the same: they are not stored twice.
        skip(&mut batch, held - offset);
        let (answer, over) = match self.try_store(held, batch).await {
            Ok(held) => (Ok(held), false),
            Err(Failure::Passing(refusal)) => (Err(refusal), false),
            Err(Failure::Final(refusal)) => (Err(refusal), true),
        };
        self.answer(Input::Stored(self.writer.of, answer));
        over
    }

    async fn try_store(&mut self, offset: u64, batch: Vec<Piece>) -> Result<u64, Failure> {
        if batch.is_empty() {
            return Ok(offset);
        }
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
        let (appended, hasher) = tokio::join!(appended, hash(self.hasher.clone(), &batch));
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
    async fn look(&mut self, batch: &[Piece]) -> Result<(), Failure> {
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
    first: Piece,
    orders: &mut mpsc::UnboundedReceiver<Order>,
) -> (Vec<Piece>, Option<Order>) {
    let mut bytes = first.len();
    let mut batch = vec![first];
    loop {
        match orders.try_recv() {
            Ok(Order::Store { offset: at, piece })
                if at == offset + bytes as u64 && bytes + piece.len() <= BATCH_BYTES =>
            {
                bytes += piece.len();
                batch.push(piece);
            }
            Ok(other) => return (batch, Some(other)),
            Err(_) => return (batch, None),
        }
    }
}

/// Drops the first bytes of a batch.
fn skip(batch: &mut Vec<Piece>, mut bytes: u64) {
    batch.retain_mut(|part| {
        let skipped = part.len().min(usize::try_from(bytes).unwrap_or(usize::MAX));
        part.skip(skipped);
        bytes -= skipped as u64;
        !part.is_empty()
    });
}

/// Hashes a batch here and now: it takes less time than the disk does, and handing it to another thread would cost the cache's warmth.
async fn hash(mut hasher: Hasher, batch: &[Piece]) -> Hasher {
    for (number, piece) in batch
        .iter()
        .flat_map(|part| part.chunks(HASHED_AT_ONCE))
        .enumerate()
    {
        if number > 0 {
            tokio::task::yield_now().await;
        }
        hasher.update(piece);
    }
    hasher
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn store(offset: u64, len: usize) -> Order {
        Order::Store {
            offset,
            piece: Bytes::from(vec![0; len]).into(),
        }
    }

    #[test]
    fn a_batch_is_what_continues_and_never_larger_than_allowed() {
        let (orders, mut received) = mpsc::unbounded_channel();
        let (half, first) = (BATCH_BYTES / 2, Bytes::from_static(b"first"));
        let after = first.len() as u64;
        for order in [
            store(after, half),
            store(after + half as u64, half),
            store(7, 1),
        ] {
            assert!(orders.send(order).is_ok());
        }
        let (batch, following) = gather(0, first.into(), &mut received);
        assert_eq!(
            batch.iter().map(|part| part.len()).collect::<Vec<_>>(),
            [5, half]
        );
        assert!(
            matches!(following, Some(Order::Store { offset, .. }) if offset == after + half as u64)
        );
        let (batch, following) = gather(0, Bytes::from_static(b"first").into(), &mut received);
        assert_eq!(batch.len(), 1, "what does not continue it is no part of it");
        assert!(matches!(following, Some(Order::Store { offset: 7, .. })));
    }

    #[test]
    fn what_is_held_already_is_skipped() {
        let piece = |bytes: &'static [u8]| Piece::from(Bytes::from_static(bytes));
        let batch = || vec![piece(b"abc"), piece(b"def")];
        for (held, rest) in [
            (0, &["abc", "def"][..]),
            (1, &["bc", "def"]),
            (3, &["def"]),
            (5, &["f"]),
            (6, &[]),
            (9, &[]),
        ] {
            let mut left = batch();
            skip(&mut left, held);
            let crcs = rest.iter().map(|part| piece(part.as_bytes()).crc());
            assert!(left.iter().map(Piece::crc).eq(crcs), "{held}");
            let left: Vec<&[u8]> = left.iter().map(|part| &part[..]).collect();
            let rest: Vec<&[u8]> = rest.iter().map(|part| part.as_bytes()).collect();
            assert_eq!(left, rest, "{held}");
        }
    }
}
