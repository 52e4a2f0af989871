//! One session's ear: what the session has heard of each topic. The fan-out sends through it without the session's driver, which
//! only reads what was missed.

use super::{Cursor, Hint};
use crate::socket::{
    event::{Event, Feed},
    outlet::Offer,
};
use protocol::{
    Topic,
    upload::{LogHead, LogPage},
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One session's ear.
pub(crate) struct Ear {
    state: Mutex<State>,
    /// Bytes that may wait for a slow reader.
    bound: usize,
    feed: Feed,
}

struct State {
    topics: Vec<Listening>,
    /// Where it sends; nothing once the session is over: whoever still holds the ear then shall not keep the socket open.
    outlet: Option<Arc<dyn Offer>>,
    /// Whether the driver was told of a gap.
    told: bool,
}

/// A topic that a session listens to.
struct Listening {
    log: Arc<str>,
    /// The ear's place among those that hear this log.
    slot: usize,
    heard: Heard,
}

enum Heard {
    /// What was heard last before the client was told that the topic is heard.
    Early(Option<Hint>),
    /// From now on notifications are sent.
    From(Cursor),
}

/// A stretch of a log that a session needs to read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) topic: Topic,
    pub(crate) log: Arc<str>,
    /// The number after which it begins.
    pub(crate) after: u64,
}

impl Ear {
    /// An ear of the session that sends through `outlet`, of whose bytes at most `bound` shall wait, and is told of gaps by
    /// `feed`.
    pub(super) fn new(outlet: Arc<dyn Offer>, bound: usize, feed: Feed) -> Self {
        Self {
            state: Mutex::new(State {
                topics: Vec::new(),
                outlet: Some(outlet),
                told: false,
            }),
            bound,
            feed,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the place that the ear has among those that hear a log, which [`forget`](Self::forget) answers.
    pub(super) fn remember(&self, log: &Arc<str>, slot: usize) {
        let mut state = self.lock();
        // Of thousands of sessions each has one or two topics.
        state.topics.reserve_exact(1);
        state.topics.push(Listening {
            log: log.clone(),
            slot,
            heard: Heard::Early(None),
        });
    }

    /// Whether it can begin to listen to a log: not when it does already, nor when the session is over.
    pub(super) fn can_listen_to(&self, log: &str) -> bool {
        let mut state = self.lock();
        state.outlet.is_some() && state.find(log).is_none()
    }

    /// Forgets a log.
    pub(super) fn forget(&self, log: &str) -> Option<usize> {
        let mut state = self.lock();
        let index = state.topics.iter().position(|topic| *topic.log == *log)?;
        Some(state.topics.swap_remove(index).slot)
    }

    /// Forgets everything for good; answers the logs and the places there.
    pub(super) fn forget_all(&self) -> Vec<(Arc<str>, usize)> {
        let mut state = self.lock();
        let topics = std::mem::take(&mut state.topics);
        let outlet = state.outlet.take();
        drop(state);
        // Perhaps the socket with it, which takes a while.
        drop(outlet);
        topics
            .into_iter()
            .map(|topic| (topic.log, topic.slot))
            .collect()
    }

    /// Takes a hint: sends the notification if it is the next one, or has the driver know of the gap.
    pub(super) fn hear(&self, hint: &Hint) {
        let mut state = self.lock();
        let State { topics, outlet, .. } = &mut *state;
        let (Some(listening), Some(outlet)) = (find(topics, &hint.log), outlet) else {
            return;
        };
        let is_behind = match &mut listening.heard {
            Heard::From(cursor) => {
                cursor.hear(hint, |frame| outlet.offer(frame, self.bound));
                cursor.is_behind()
            }
            Heard::Early(early) => {
                let is_news =
                    |early: &Hint| early.epoch != hint.epoch || early.offset < hint.offset;
                if early.as_ref().is_none_or(is_news) {
                    *early = Some(Hint {
                        frames: None,
                        ..hint.clone()
                    });
                }
                false
            }
        };
        if is_behind && !state.told {
            state.told = true;
            // A session that is gone needs nothing any more.
            let _ = self.feed.send(Event::Behind);
        }
    }

    /// Whether the session would learn from this head that it has missed something.
    pub(super) fn lacks(&self, head: &LogHead) -> bool {
        let mut state = self.lock();
        state
            .find(&head.log)
            .is_some_and(|listening| match &listening.heard {
                Heard::From(cursor) => cursor.lacks(head),
                Heard::Early(_) => true,
            })
    }

    /// Begins to send: the client was told that the topic is heard. Whoever subscribes once more begins anew.
    pub(crate) fn begin(&self, mut cursor: Cursor) {
        let mut state = self.lock();
        // Unsubscribed meanwhile, it has nothing to send.
        let Some(listening) = state.find(&cursor.log) else {
            return;
        };
        match &listening.heard {
            Heard::Early(None) => {}
            Heard::Early(Some(early)) => cursor.hear(early, |_| false),
            Heard::From(before) => cursor.catch_up_with(before),
        }
        listening.heard = Heard::From(cursor);
    }

    /// What must be read of the logs now; the driver reads it.
    pub(crate) fn gaps(&self) -> Vec<Gap> {
        let mut state = self.lock();
        let gaps = state.topics.iter_mut().filter_map(|listening| {
            let Heard::From(cursor) = &mut listening.heard else {
                return None;
            };
            let after = cursor.start_reading()?;
            Some(Gap {
                topic: cursor.topic,
                log: listening.log.clone(),
                after,
            })
        });
        gaps.collect()
    }

    /// The driver has heard that there is a gap: from now on it is told of the next.
    pub(crate) fn heeded(&self) {
        self.lock().told = false;
    }

    /// Takes what was read of a log, and queues it.
    pub(crate) fn read(&self, log: &str, page: LogPage) {
        let mut state = self.lock();
        let State { topics, outlet, .. } = &mut *state;
        let (Some(listening), Some(outlet)) = (find(topics, log), outlet) else {
            return;
        };
        if let Heard::From(cursor) = &mut listening.heard {
            // Under the lock, so that nothing newer overtakes it.
            for frame in cursor.read(page) {
                outlet.queue(frame);
            }
        }
    }

    /// A log can't be read now: it is not asked again at once.
    pub(crate) fn reading_failed(&self, log: &str) {
        let mut state = self.lock();
        if let Some(Heard::From(cursor)) = state.find(log).map(|listening| &mut listening.heard) {
            cursor.reading_failed();
        }
    }
}

impl State {
    fn find(&mut self, log: &str) -> Option<&mut Listening> {
        find(&mut self.topics, log)
    }
}

fn find<'a>(topics: &'a mut [Listening], log: &str) -> Option<&'a mut Listening> {
    topics.iter_mut().find(|topic| *topic.log == *log)
}
