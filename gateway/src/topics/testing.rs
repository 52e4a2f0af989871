//! A session that only listens, for tests.

use super::{Ear, OwnEar, Topics};
use crate::socket::{event::Event, mailbox::Mailbox, outlet::Offer};
use bytes::Bytes;
use std::{
    future::poll_fn,
    sync::{Arc, Mutex},
};

/// Keeps what is sent.
#[derive(Default)]
pub(super) struct Line(Mutex<Vec<Bytes>>);

impl Line {
    /// What was sent since it was last asked.
    pub(super) fn take(&self) -> Vec<Bytes> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Offer for Line {
    fn offer(&self, frame: &Bytes, bound: usize) -> bool {
        let mut sent = self.0.lock().unwrap();
        let room = sent.iter().map(Bytes::len).sum::<usize>() <= bound;
        if room {
            sent.push(frame.clone());
        }
        room
    }

    fn queue(&self, frame: Bytes) {
        self.0.lock().unwrap().push(frame);
    }
}

/// A session that only listens.
pub(super) struct Listener<E = Arc<Ear>> {
    pub(super) ear: E,
    pub(super) line: Arc<Line>,
    mailbox: Mailbox,
}

impl Listener {
    /// One that hears nothing yet, of whose bytes at most 100 wait.
    pub(super) fn new() -> Self {
        let (line, mailbox) = (Arc::new(Line::default()), Mailbox::new());
        Self {
            ear: Arc::new(Ear::new(line.clone(), 100, mailbox.feed())),
            line,
            mailbox,
        }
    }
}

impl Listener<OwnEar> {
    pub(super) fn of(topics: &Topics) -> Self {
        let (line, mailbox) = (Arc::new(Line::default()), Mailbox::new());
        Self {
            ear: topics.ear(line.clone(), 100, mailbox.feed()),
            line,
            mailbox,
        }
    }
}

impl<E> Listener<E> {
    /// What the session's driver is told next.
    pub(super) async fn event(&mut self) -> Event {
        poll_fn(|cx| self.mailbox.poll_next(cx)).await
    }
}
