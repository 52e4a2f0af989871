//! Any sequence of calls on a cache does what a simple model in memory does.

use bytes::Bytes;
use proptest::{collection::vec, prelude::*};
use protocol::UploadId;
use std::sync::Arc;
use storage::{
    chunks::{ChunkCache, ChunkError, Hold},
    conformance::{collect, pattern},
};

const UPLOADS: usize = 3;

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Open(usize),
    Resume(usize),
    /// Parts of these lengths, by the newest hold or by one this many generations older.
    Append {
        upload: usize,
        parts: Vec<usize>,
        age: u64,
    },
    Seal {
        upload: usize,
        age: u64,
    },
    Remove(usize),
    Reopen,
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    vec(step(), 1..60)
}

fn step() -> impl Strategy<Value = Step> {
    let upload = 0..UPLOADS;
    // Mostly by the newest holder.
    let age = || prop_oneof![6 => Just(0u64), 1 => 1..3u64];
    let len = prop_oneof![0..3usize, 0..5_000usize, 60_000..70_000usize];
    prop_oneof![
        3 => upload.clone().prop_map(Step::Open),
        2 => upload.clone().prop_map(Step::Resume),
        12 => (upload.clone(), vec(len, 0..4), age())
            .prop_map(|(upload, parts, age)| Step::Append { upload, parts, age }),
        3 => (upload.clone(), age()).prop_map(|(upload, age)| Step::Seal { upload, age }),
        1 => upload.prop_map(Step::Remove),
        2 => Just(Step::Reopen),
    ]
}

/// One upload in memory.
struct Model {
    id: UploadId,
    bytes: Vec<u8>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Absent,
    Open {
        held: usize,
        generation: Option<u64>,
    },
    Sealed,
}

/// What a call comes to, as far as a caller can tell.
#[derive(Debug, PartialEq)]
enum Outcome {
    Done(usize),
    NotFound,
    Superseded,
    Sealed,
    OutOfOrder(usize),
}

fn size(number: u64) -> usize {
    usize::try_from(number).expect("it is in memory")
}

fn outcome(result: Result<u64, ChunkError>) -> Outcome {
    match result {
        Ok(held) => Outcome::Done(size(held)),
        Err(ChunkError::NotFound(_)) => Outcome::NotFound,
        Err(ChunkError::Superseded { .. }) => Outcome::Superseded,
        Err(ChunkError::Sealed(_)) => Outcome::Sealed,
        Err(ChunkError::OutOfOrder { expected }) => Outcome::OutOfOrder(size(expected)),
        Err(other) => panic!("{other}"),
    }
}

impl Model {
    fn held(&self) -> usize {
        match self.state {
            State::Absent => 0,
            State::Open { held, .. } => held,
            State::Sealed => self.bytes.len(),
        }
    }

    /// A generation `age` older than the newest; whether that is the newest.
    fn generation(&self, age: u64) -> (u64, bool) {
        match self.state {
            State::Open {
                generation: Some(newest),
                ..
            } => (newest.wrapping_sub(age), age == 0),
            _ => (1, false),
        }
    }

    fn hold(&mut self, result: Result<Hold, ChunkError>, makes: bool) {
        let expected = match self.state {
            State::Absent if !makes => Outcome::NotFound,
            State::Sealed => Outcome::Sealed,
            _ => Outcome::Done(self.held()),
        };
        if let Ok(hold) = &result {
            if let State::Open {
                generation: Some(before),
                ..
            } = self.state
            {
                assert!(hold.generation > before);
            }
            self.state = State::Open {
                held: self.held(),
                generation: Some(hold.generation),
            };
        }
        assert_eq!(outcome(result.map(|hold| hold.held)), expected);
    }

    fn refusal(&self, is_newest: bool) -> Option<Outcome> {
        match self.state {
            State::Absent => Some(Outcome::NotFound),
            State::Sealed => Some(Outcome::Sealed),
            State::Open { .. } if !is_newest => Some(Outcome::Superseded),
            State::Open { .. } => None,
        }
    }

    async fn append(&mut self, cache: &dyn ChunkCache, lengths: &[usize], age: u64) {
        let (generation, is_newest) = self.generation(age);
        let start = self.held();
        let total: usize = lengths.iter().sum();
        let fits = start + total <= self.bytes.len();
        let mut at = start;
        let part = |len: &usize| {
            let end = (at + len).min(self.bytes.len());
            let mut part = self.bytes[at.min(end)..end].to_vec();
            part.resize(*len, 0);
            at += len;
            Bytes::from(part).into()
        };
        let parts = lengths.iter().map(part).collect();
        let expected = self.refusal(is_newest);
        let expected = expected.unwrap_or(if fits {
            Outcome::Done(start + total)
        } else {
            Outcome::OutOfOrder(start)
        });
        let result = outcome(cache.append(self.id, generation, start as u64, parts).await);
        assert_eq!(result, expected);
        if let (Outcome::Done(now), State::Open { held, .. }) = (result, &mut self.state) {
            *held = now;
        }
    }

    async fn seal(&mut self, cache: &dyn ChunkCache, age: u64) {
        let (generation, is_newest) = self.generation(age);
        let expected = match self.refusal(is_newest) {
            Some(Outcome::Sealed) => Outcome::Done(0),
            Some(refusal) => refusal,
            None if self.held() < self.bytes.len() => Outcome::OutOfOrder(self.held()),
            None => Outcome::Done(0),
        };
        let result = outcome(cache.seal(self.id, generation).await.map(|()| 0));
        assert_eq!(result, expected);
        if result == Outcome::Done(0) {
            self.state = State::Sealed;
        }
    }

    async fn check(&self, cache: &dyn ChunkCache) {
        match (self.state, cache.stat(self.id).await) {
            (State::Absent, Err(ChunkError::NotFound(_))) => {}
            (state, Ok(stat)) => {
                assert_eq!(stat.sealed, state == State::Sealed);
                assert_eq!(size(stat.held), self.held());
                let read = cache.read(self.id, 0..stat.held).await.expect("it is held");
                assert!(collect(read).await == self.bytes[..self.held()]);
            }
            (state, stat) => panic!("{state:?} is {stat:?}"),
        }
    }
}

/// Takes the steps on an empty cache. `open` opens it anew; `holds_last` is whether a hold outlives that.
pub(crate) async fn run(
    steps: Vec<Step>,
    open: impl AsyncFn() -> Arc<dyn ChunkCache>,
    holds_last: bool,
) {
    let mut cache = open().await;
    let mut models: Vec<_> = [10, 9_000, 200_000]
        .into_iter()
        .map(|len| Model {
            id: UploadId::new(),
            bytes: pattern(len as u64, len),
            state: State::Absent,
        })
        .collect();
    for step in steps {
        match step {
            Step::Open(number) => {
                let model = &mut models[number];
                model.hold(cache.open(model.id, model.bytes.len() as u64).await, true);
            }
            Step::Resume(number) => {
                let model = &mut models[number];
                model.hold(cache.resume(model.id).await, false);
            }
            Step::Append { upload, parts, age } => {
                models[upload].append(&*cache, &parts, age).await;
            }
            Step::Seal { upload, age } => models[upload].seal(&*cache, age).await,
            Step::Remove(number) => {
                cache
                    .remove(models[number].id)
                    .await
                    .expect("it can be removed");
                models[number].state = State::Absent;
            }
            Step::Reopen => {
                drop(cache);
                cache = open().await;
                for model in &mut models {
                    model.state = match model.state {
                        // What nothing is held of is forgotten.
                        State::Open { held: 0, .. } if !holds_last => State::Absent,
                        State::Open { held, generation } => State::Open {
                            held,
                            generation: generation.filter(|_| holds_last),
                        },
                        state => state,
                    };
                }
            }
        }
    }
    let mut counted = (0, 0);
    for model in &models {
        model.check(&*cache).await;
        counted.0 += model.held();
        counted.1 += if model.state == State::Absent {
            0
        } else {
            model.bytes.len()
        };
    }
    let usage = cache.usage().await.expect("it is known");
    assert_eq!(
        (size(usage.held), size(usage.held + usage.reserved)),
        counted
    );
}
