//! Notifications as a stream: in order, none twice, and honest about what was missed.

use futures::Stream;
use protocol::{
    Topic,
    event::Notification,
    topic::{Position, Since, TopicState},
};
use std::{
    collections::BTreeSet,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::sync::mpsc;

/// Events that wait for a slow listener; what comes beyond is missed, and said to be.
const CAPACITY: usize = 8192;

/// What a listener hears.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Something happened.
    Notification(Notification),
    /// A session heard a topic, again or for the first time: if it is not `recovered`, what happened before is unknown.
    Topic(TopicState),
    /// Something on this topic was not heard: it has to be looked up.
    Missed(Topic),
}

/// The events of a client. Made by [`Client::events`](crate::Client::events).
#[derive(Debug)]
pub struct Events {
    events: mpsc::Receiver<Event>,
    positions: Since,
}

impl Events {
    /// The next event; none once the client is closed.
    pub async fn next(&mut self) -> Option<Event> {
        let event = self.events.recv().await?;
        self.note(&event);
        Some(event)
    }

    /// What has been taken from this stream: kept somewhere and given to
    /// [`Builder::since`](crate::Builder::since), it makes a later client go on from here.
    #[must_use]
    pub fn positions(&self) -> &Since {
        &self.positions
    }

    fn note(&mut self, event: &Event) {
        match event {
            Event::Notification(Notification {
                topic,
                epoch,
                offset,
                ..
            }) => {
                self.positions.insert(
                    *topic,
                    Position {
                        epoch: epoch.clone(),
                        offset: *offset,
                    },
                );
            }
            Event::Topic(state) if !state.recovered => {
                self.positions.insert(
                    state.topic,
                    Position {
                        epoch: state.epoch.clone(),
                        offset: state.offset,
                    },
                );
            }
            Event::Topic(_) | Event::Missed(_) => {}
        }
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        let event = std::task::ready!(self.events.poll_recv(cx));
        if let Some(event) = &event {
            self.note(event);
        }
        Poll::Ready(event)
    }
}

/// Hands events to all who listen, and knows which are new.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    listeners: Vec<Listener>,
    positions: Since,
}

#[derive(Debug)]
struct Listener {
    events: mpsc::Sender<Event>,
    /// Topics of which something did not fit.
    missed: BTreeSet<Topic>,
}

impl Hub {
    pub(crate) fn new(since: Since) -> Self {
        Self {
            listeners: Vec::new(),
            positions: since,
        }
    }

    pub(crate) fn listen(&mut self) -> Events {
        let (sender, events) = mpsc::channel(CAPACITY);
        self.listeners.push(Listener {
            events: sender,
            missed: BTreeSet::new(),
        });
        Events {
            events,
            positions: self.positions.clone(),
        }
    }

    /// What was heard of every topic, to be told when connecting.
    pub(crate) fn since(&self) -> Since {
        self.positions.clone()
    }

    /// What was heard of one topic.
    pub(crate) fn position(&self, topic: Topic) -> Option<Position> {
        self.positions.get(&topic).cloned()
    }

    /// Forgets a topic that is no longer heard.
    pub(crate) fn forget(&mut self, topic: Topic) {
        self.positions.remove(&topic);
    }

    /// A session hears this topic. Returns whether something of it may have been missed.
    pub(crate) fn topic(&mut self, state: &TopicState) -> bool {
        let known = self.positions.get(&state.topic);
        let missed = known.is_some() && !state.recovered;
        if known.is_none() || missed {
            let position = Position {
                epoch: state.epoch.clone(),
                offset: state.offset,
            };
            self.positions.insert(state.topic, position);
        }
        self.publish(&Event::Topic(state.clone()));
        missed
    }

    /// Takes a notification. Returns whether it is new.
    pub(crate) fn notification(&mut self, notification: &Notification) -> bool {
        let topic = notification.topic;
        let known = self
            .positions
            .get(&topic)
            .filter(|known| known.epoch == notification.epoch);
        if known.is_some_and(|known| notification.offset <= known.offset) {
            return false;
        }
        if known.is_some_and(|known| notification.offset > known.offset + 1) {
            self.publish(&Event::Missed(topic));
        }
        let position = Position {
            epoch: notification.epoch.clone(),
            offset: notification.offset,
        };
        self.positions.insert(topic, position);
        self.publish(&Event::Notification(notification.clone()));
        true
    }

    fn publish(&mut self, event: &Event) {
        let topic = match event {
            Event::Notification(notification) => notification.topic,
            Event::Topic(state) => state.topic,
            Event::Missed(topic) => *topic,
        };
        self.listeners.retain_mut(|listener| {
            listener
                .missed
                .retain(|topic| listener.events.try_send(Event::Missed(*topic)).is_err());
            // Nothing of a topic is told after a loss that is not yet told.
            if listener.missed.contains(&topic) || listener.events.try_send(event.clone()).is_err()
            {
                listener.missed.insert(topic);
            }
            !listener.events.is_closed()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    fn notification(offset: u64) -> Notification {
        Notification {
            topic: Topic::Admin,
            epoch: "e".to_owned(),
            offset,
            event: "file.cached".to_owned(),
            time: Timestamp::UNIX_EPOCH,
            data: serde_json::Value::Null,
        }
    }

    #[tokio::test]
    async fn a_listener_that_is_too_slow_is_told_what_it_missed() {
        let mut hub = Hub::default();
        let mut events = hub.listen();
        let capacity = CAPACITY as u64;
        (1..=capacity + 5).for_each(|offset| assert!(hub.notification(&notification(offset))));
        for offset in 1..=capacity {
            assert_eq!(
                events.next().await,
                Some(Event::Notification(notification(offset)))
            );
        }
        hub.notification(&notification(capacity + 6));
        assert_eq!(events.next().await, Some(Event::Missed(Topic::Admin)));
        assert_eq!(
            events.next().await,
            Some(Event::Notification(notification(capacity + 6)))
        );
    }

    #[test]
    fn listeners_that_left_are_forgotten() {
        let mut hub = Hub::default();
        drop(hub.listen());
        hub.notification(&notification(1));
        assert!(hub.listeners.is_empty());
    }
}
