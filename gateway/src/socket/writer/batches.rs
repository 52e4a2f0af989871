//! What an upload's writer has ready for the chunk cache, and what of it is held.

use crate::socket::event::{Event, Feed};
use protocol::{
    Hasher,
    session::server::{Input, StreamUse},
};
use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};
use storage::chunks::{Batches, Piece};

/// What is added at once, if it comes in smaller pieces: enough to make a write worth its cost, little enough that the next comes
/// while it is written.
const BATCH_BYTES: usize = 512 << 10;

/// Chunks that are hashed, in order. The cache takes them from here, and the session hears from here what is held.
pub(super) struct Ready {
    of: StreamUse,
    feed: Feed,
    state: Mutex<State>,
}

struct State {
    waiting: VecDeque<Batch>,
    /// Has seen what is held once the batch is that is being added.
    adding: Option<Hasher>,
    held: Held,
}

/// Chunks that are added at once.
struct Batch {
    pieces: Vec<Piece>,
    bytes: usize,
    /// Has seen everything up to the batch's end.
    then: Hasher,
}

/// What is held.
#[derive(Clone)]
pub(super) struct Held {
    /// Where it ends.
    pub(super) end: u64,
    /// Has seen it.
    pub(super) seen: Hasher,
}

impl Ready {
    pub(super) fn new(of: StreamUse, feed: Feed, held: Held) -> Self {
        let state = Mutex::new(State {
            waiting: VecDeque::new(),
            adding: None,
            held,
        });
        Self { of, feed, state }
    }

    /// Adds a chunk; `then` has seen everything up to its end.
    pub(super) fn push(&self, piece: Piece, then: Hasher) {
        let mut state = self.state();
        match state.waiting.back_mut() {
            Some(last) if last.bytes + piece.len() <= BATCH_BYTES => {
                last.bytes += piece.len();
                last.pieces.push(piece);
                last.then = then;
            }
            _ => state.waiting.push_back(Batch {
                bytes: piece.len(),
                pieces: vec![piece],
                then,
            }),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.state().waiting.is_empty()
    }

    pub(super) fn held(&self) -> Held {
        self.state().held.clone()
    }

    /// Tells the session something about the stream.
    pub(super) fn tell(&self, input: Input) {
        // The session may be gone; then nobody needs the answer.
        let _ = self.feed.send(Event::Input(input));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Batches for Ready {
    fn next(&self) -> Option<Vec<Piece>> {
        let mut state = self.state();
        let batch = state.waiting.pop_front()?;
        state.adding = Some(batch.then);
        Some(batch.pieces)
    }

    fn added(&self, end: u64) {
        {
            let mut state = self.state();
            if let Some(seen) = state.adding.take() {
                state.held = Held { end, seen };
            }
        }
        self.tell(Input::Stored(self.of, Ok(end)));
    }
}
