//! Requests of the program's own, other than uploads: asked again after a reconnect until they are answered.

use super::messages::reply_id;
use crate::Error;
use protocol::{
    Topic,
    message::{ClientInfo, ClientMessage, Connect, RequestId, ServerMessage, Subscribe},
    session::client::Sender,
    topic::Since,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use tokio::sync::oneshot;

/// A question to the server and where its answer goes.
pub(crate) struct Request {
    /// The message, given its id.
    pub(crate) make: Box<dyn Fn(RequestId) -> ClientMessage + Send>,
    /// Where the answer goes.
    pub(crate) reply: oneshot::Sender<Result<ServerMessage, Error>>,
}

/// Requests that are not answered, and the topics to subscribe to in every session.
#[derive(Default)]
pub(super) struct Requests {
    to_ask: VecDeque<Request>,
    asked: BTreeMap<RequestId, Request>,
    topics: BTreeSet<Topic>,
}

impl Requests {
    pub(super) fn add(&mut self, request: Request) {
        self.to_ask.push_back(request);
    }

    /// What to send, now that there is a connection.
    pub(super) fn next(&mut self, sender: &mut Sender) -> Option<ClientMessage> {
        let request = loop {
            // Nobody waits for the answer of some: they need not be asked.
            let request = self.to_ask.pop_front()?;
            if !request.reply.is_closed() {
                break request;
            }
        };
        let id = sender.next_request_id();
        let message = (request.make)(id);
        self.asked.insert(id, request);
        Some(message)
    }

    /// The first message of a session; topics that were subscribed to are asked for by a `subscribe` of their own.
    pub(super) fn connect_message(
        &self,
        id: RequestId,
        token: String,
        mut since: Since,
        info: ClientInfo,
    ) -> Connect {
        since.retain(|topic, _| !self.topics.contains(topic));
        Connect {
            id,
            access_token: Some(token),
            since: Some(since).filter(|since| !since.is_empty()),
            client: Some(info),
        }
    }

    /// The subscriptions of a new session.
    pub(super) fn resubscribe(&self, sender: &mut Sender, since: &Since) -> Vec<ClientMessage> {
        let subscribe = |topic: &Topic| {
            let id = sender.next_request_id();
            ClientMessage::Subscribe(Subscribe {
                id,
                topic: *topic,
                since: since.get(topic).cloned(),
            })
        };
        self.topics.iter().map(subscribe).collect()
    }

    /// Takes a reply if it is one of these requests'.
    pub(super) fn hear(&mut self, message: &ServerMessage) {
        match message {
            ServerMessage::Subscribed(subscribed) => {
                self.topics.insert(subscribed.state.topic);
            }
            ServerMessage::Unsubscribed(unsubscribed) => {
                self.topics.remove(&unsubscribed.topic);
            }
            _ => {}
        }
        let Some(request) = reply_id(message).and_then(|id| self.asked.remove(&id)) else {
            return;
        };
        let answer = match message {
            ServerMessage::Error(error) => Err(Error::Refused(error.refusal.clone())),
            other => Ok(other.clone()),
        };
        // Whoever asked may have lost interest.
        let _ = request.reply.send(answer);
    }

    /// The connection is lost: what was not answered is asked again.
    pub(super) fn disconnected(&mut self) {
        self.to_ask
            .extend(std::mem::take(&mut self.asked).into_values());
    }

    pub(super) fn fail_all(&mut self, error: &Error) {
        self.disconnected();
        for request in self.to_ask.drain(..) {
            let _ = request.reply.send(Err(error.clone()));
        }
    }
}
