//! A model of a gateway: a session and the work it gives rise to, done in any order and sometimes failing.

use super::{
    RULES, admission,
    cloud::{Cloud, Hold},
    moment,
};
use bytes::Bytes;
use protocol::{
    Digest, ErrorCode, Refusal,
    message::Start,
    session::server::{CompleteRef, Input, Output, Session, StreamUse},
};
use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

/// What the server has to do for a session.
enum Work {
    Authenticate,
    Start(StreamUse, Start),
    Store(StreamUse, u64, Bytes),
    Complete(CompleteRef, Option<Digest>),
}

/// A gateway's session and its work.
pub(crate) struct Gateway {
    pub(crate) session: Session,
    work: Vec<Work>,
    holds: HashMap<StreamUse, Hold>,
}

/// What travels to the client.
pub(crate) enum Down {
    Message(String),
    Close,
}

impl Gateway {
    pub(crate) fn new(now: Duration) -> Self {
        Self {
            session: Session::new(RULES, moment(now)),
            work: Vec::new(),
            holds: HashMap::new(),
        }
    }

    pub(crate) fn work_left(&self) -> usize {
        self.work.len()
    }

    pub(crate) fn say(&mut self, input: Input, now: Duration, down: &mut VecDeque<Down>) {
        self.session.handle(input, moment(now));
        self.drain(now, down);
        assert!(self.session.in_flight() <= RULES.session_window_bytes);
    }

    pub(crate) fn drain(&mut self, now: Duration, down: &mut VecDeque<Down>) {
        while let Some(output) = self.session.poll() {
            match output {
                Output::Send(message) => down.push_back(Down::Message(message.to_json())),
                Output::Close { .. } => down.push_back(Down::Close),
                Output::Ping => self.session.handle(Input::Life, moment(now)),
                Output::Authenticate { .. } => self.work.push(Work::Authenticate),
                Output::Start(of, start) => self.work.push(Work::Start(of, start)),
                Output::Store {
                    of,
                    offset,
                    payload,
                    ..
                } => self.work.push(Work::Store(of, offset, payload)),
                Output::Complete { of, digest } => self.work.push(Work::Complete(of, digest)),
                Output::Release(of) => self.release(of),
                other => panic!("the sender never gives rise to {other:?}"),
            }
        }
    }

    fn release(&mut self, of: StreamUse) {
        self.work
            .retain(|work| !matches!(work, Work::Store(stored, ..) if *stored == of));
        self.holds.remove(&of);
    }

    /// Does one piece of work, or fails to, and answers it.
    pub(crate) fn do_work(
        &mut self,
        index: usize,
        cloud: &mut Cloud,
        fails: bool,
    ) -> Option<Input> {
        let busy = || Refusal::bare(ErrorCode::Unavailable).retry_after_ms(3);
        Some(match self.take_work(index)? {
            Work::Authenticate if fails => Input::Authenticated(Err(busy())),
            Work::Authenticate => Input::Authenticated(Ok(admission())),
            Work::Start(of, _) if fails => Input::Started(of, Err(busy())),
            Work::Start(of, start) => {
                let (hold, opened) = cloud.start(&start);
                self.holds.insert(of, hold);
                Input::Started(of, Ok(Box::new(opened)))
            }
            Work::Store(of, offset, payload) => {
                let hold = self.holds[&of];
                let answer = if fails {
                    Err(busy())
                } else {
                    cloud.store(hold, offset, &payload)
                };
                if answer.is_err() {
                    // The failure answers whatever else was to be stored, too.
                    self.work
                        .retain(|work| !matches!(work, Work::Store(stored, ..) if *stored == of));
                }
                Input::Stored(of, answer)
            }
            Work::Complete(of, _) if fails => Input::Completed(of, Err(busy())),
            Work::Complete(of, announced) => {
                let hold = of.stream.and_then(|of| self.holds.get(&of).copied());
                Input::Completed(
                    of,
                    cloud.complete(of.upload_id, hold, announced).map(Box::new),
                )
            }
        })
    }

    /// Takes a piece of work; of one stream, the first bytes to be stored.
    fn take_work(&mut self, index: usize) -> Option<Work> {
        let chosen = self.work.get(index)?;
        let index = match chosen {
            Work::Store(of, ..) => self
                .work
                .iter()
                .position(|work| matches!(work, Work::Store(first, ..) if first == of))?,
            _ => index,
        };
        Some(self.work.remove(index))
    }
}
