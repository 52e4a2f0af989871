//! What others tell a session: a queue that takes no memory while it is empty.

use super::event::Event;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

/// Feeds one session's driver.
#[derive(Clone)]
pub(crate) struct Feed(Arc<Mutex<Queue>>);

/// Where a driver finds what it is fed. Dropping it lets go of everything in it.
pub(crate) struct Mailbox(Feed);

#[derive(Default)]
struct Queue {
    events: VecDeque<Event>,
    /// The driver, while it waits.
    waiting: Option<Waker>,
    is_closed: bool,
}

impl Feed {
    /// Tells the session something; gives it back if the session is over.
    pub(crate) fn send(&self, event: Event) -> Result<(), Event> {
        let mut queue = self.lock();
        if queue.is_closed {
            return Err(event);
        }
        queue.events.push_back(event);
        let waiting = queue.waiting.take();
        drop(queue);
        if let Some(waiting) = waiting {
            waiting.wake();
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Mailbox {
    pub(crate) fn new() -> Self {
        Self(Feed(Arc::default()))
    }

    pub(crate) fn feed(&self) -> Feed {
        self.0.clone()
    }

    /// The next event.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        let mut queue = self.0.lock();
        match queue.events.pop_front() {
            Some(event) => Poll::Ready(event),
            None => {
                queue.events = VecDeque::new();
                queue.waiting = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        let mut queue = self.0.lock();
        queue.is_closed = true;
        let events = std::mem::take(&mut queue.events);
        // Not under the lock: what is in them may feed others.
        drop(queue);
        drop(events);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::task::noop_waker_ref;

    #[tokio::test]
    async fn events_come_in_order_and_wake_who_waits() {
        let mut mailbox = Mailbox::new();
        let feed = mailbox.feed();
        let next = tokio::spawn(async move {
            let first = std::future::poll_fn(|cx| mailbox.poll_next(cx)).await;
            assert!(matches!(first, Event::BadToken));
            mailbox
        });
        tokio::task::yield_now().await;
        assert!(feed.send(Event::BadToken).is_ok());
        let mut mailbox = next.await.unwrap();
        assert!(feed.send(Event::BadToken).is_ok());
        let mut cx = Context::from_waker(noop_waker_ref());
        assert!(mailbox.poll_next(&mut cx).is_ready());
        assert!(mailbox.poll_next(&mut cx).is_pending());
        assert_eq!(feed.lock().events.capacity(), 0);
    }

    #[test]
    fn who_feeds_a_session_that_is_over_gets_it_back() {
        let feed = Mailbox::new().feed();
        assert!(matches!(feed.send(Event::BadToken), Err(Event::BadToken)));
    }
}
