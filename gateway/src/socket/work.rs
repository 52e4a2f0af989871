//! The work that sessions ask for and that takes time: each piece runs as a task and answers with an event.

use super::event::{Connected, Event, Feed};
use crate::{
    Gateway, caller, refusals,
    tokens::Verified,
    topics::{self, Ear, Gap},
};
use http::Method;
use protocol::{
    Digest, ErrorCode, Refusal, SessionId, Topic, TransferStatus,
    file::FilePage,
    identity::Caller,
    message::{
        ErrorMessage, GetHistory, History, RequestId, ServerMessage, Start, Subscribe, Subscribed,
        Unsubscribe, Unsubscribed,
    },
    session::server::{Admission, CompleteRef, Input, Output, StreamUse},
    topic::Since,
};
use std::sync::Arc;
use tracing::Instrument;

/// Does the work of one session.
pub(super) struct Work {
    gateway: Arc<Gateway>,
    session_id: SessionId,
    token: Option<String>,
    feed: Feed,
    ear: Arc<Ear>,
}

impl Work {
    pub(super) fn new(
        gateway: Arc<Gateway>,
        session_id: SessionId,
        token: Option<String>,
        feed: Feed,
        ear: Arc<Ear>,
    ) -> Self {
        Self {
            gateway,
            session_id,
            token,
            feed,
            ear,
        }
    }

    pub(super) fn upgrade_token(&self) -> Option<String> {
        self.token.clone()
    }

    /// Starts what an output asks for.
    pub(super) fn start(&mut self, caller: Option<&Caller>, output: Output) {
        if let Output::Authenticate {
            token,
            since,
            client,
        } = output
        {
            tracing::debug!(client = client.name, version = client.version, "connect");
            // There is no second `connect`.
            let of_upgrade = self.token.take();
            return self.authenticate(token.or(of_upgrade), since);
        }
        let Some(caller) = caller.cloned() else {
            return;
        };
        let gateway = self.gateway.clone();
        match output {
            Output::Start(of, what) => self.start_upload(caller, of, what),
            Output::Abort(id, upload_id) => self.spawn(async move {
                Event::Input(Input::Aborted(
                    id,
                    upload_id,
                    gateway.uploads.abort(&caller, upload_id).await,
                ))
            }),
            Output::Reject(upload_id, refusal) => {
                let ended = async move {
                    gateway
                        .uploads
                        .end(&caller, upload_id, TransferStatus::Rejected, Some(refusal))
                        .await;
                };
                tokio::spawn(ended.in_current_span());
            }
            Output::History(request) => self.spawn(async move {
                let id = request.id;
                replied(id, history(&gateway, &caller, request).await)
            }),
            Output::Subscribe(request) => self.subscribe(caller, request),
            Output::Unsubscribe(request) => self.unsubscribe(&caller, &request),
            Output::Refresh { id, token } => {
                self.spawn(async move {
                    Event::Refreshed(id, refresh(&gateway, &caller, &token).await)
                });
            }
            // The driver does these by itself.
            Output::Send(_)
            | Output::Ping
            | Output::Close { .. }
            | Output::Store { .. }
            | Output::Complete { .. } => {}
            Output::Release(_) | Output::Authenticate { .. } => {}
        }
    }

    fn start_upload(&self, caller: Caller, of: StreamUse, what: Start) {
        let (gateway, feed) = (self.gateway.clone(), self.feed.clone());
        let has_key = !matches!(what, Start::Open { key: None, .. });
        let task = async move {
            let started = gateway.uploads.start(&caller, what).await;
            let unheard = feed.send(Event::Started(of, Box::new(started)));
            let Err(Event::Started(_, started)) = unheard else {
                return;
            };
            if let (Ok(started), false) = (*started, has_key) {
                // The client has left without learning the upload's id: nobody can ask for it again.
                let upload_id = started.upload.upload_id;
                let aborted = TransferStatus::Aborted;
                gateway.uploads.end(&caller, upload_id, aborted, None).await;
            }
        };
        tokio::spawn(task.in_current_span());
    }

    /// Completes an upload that the session does not hold.
    pub(super) fn complete(
        &self,
        caller: Option<&Caller>,
        of: CompleteRef,
        digest: Option<Digest>,
    ) {
        let Some(caller) = caller.cloned() else {
            return;
        };
        let gateway = self.gateway.clone();
        self.spawn(async move {
            let answer = gateway
                .uploads
                .complete_unheld(&caller, of.upload_id, digest)
                .await;
            Event::Input(Input::Completed(of, answer.map(Box::new)))
        });
    }

    /// Reads a stretch of a topic's log.
    pub(super) fn read_log(&self, caller: &Caller, gap: Gap) {
        let (gateway, tenant) = (self.gateway.clone(), caller.tenant.clone());
        let Gap { topic, log, after } = gap;
        self.spawn(async move {
            let page = gateway
                .topics
                .read(topic, &tenant, after, topics::PAGE)
                .await;
            Event::Read(log, Box::new(page))
        });
    }

    fn authenticate(&self, token: Option<String>, since: Since) {
        let (gateway, feed, ear, session_id) = (
            self.gateway.clone(),
            self.feed.clone(),
            self.ear.clone(),
            self.session_id,
        );
        self.spawn(async move {
            match admit(&gateway, session_id, token, &since, feed, ear).await {
                Ok(connected) => Event::Connected(Box::new(connected)),
                Err(refusal) => Event::Input(Input::Authenticated(Err(refusal))),
            }
        });
    }

    fn subscribe(&self, caller: Caller, request: Subscribe) {
        let (gateway, ear) = (self.gateway.clone(), self.ear.clone());
        self.spawn(async move {
            let Subscribe { id, topic, since } = request;
            let subscribed = async {
                topics::check_topic(topic, &caller)?;
                gateway
                    .topics
                    .subscribe(&ear, topic, &caller.tenant, since.as_ref())
                    .await
            };
            match subscribed.await {
                Ok((cursor, state)) => Event::Subscribed(
                    cursor,
                    Box::new(ServerMessage::Subscribed(Subscribed { id, state })),
                ),
                Err(refusal) => replied(id, Err(refusal)),
            }
        });
    }

    fn unsubscribe(&self, caller: &Caller, request: &Unsubscribe) {
        let Unsubscribe { id, topic } = *request;
        let event = if topic == Topic::User(caller.user_id) {
            replied(
                id,
                Err(Refusal::new(
                    ErrorCode::Forbidden,
                    "your own topic is always on",
                )),
            )
        } else {
            self.gateway
                .topics
                .unsubscribe(&topic.log_name(&caller.tenant), &self.ear);
            replied(
                id,
                Ok(ServerMessage::Unsubscribed(Unsubscribed { id, topic })),
            )
        };
        let _ = self.feed.send(event);
    }

    fn spawn(&self, work: impl Future<Output = Event> + Send + 'static) {
        let feed = self.feed.clone();
        let task = async move {
            // The session may be gone; then nobody needs the answer.
            let _ = feed.send(work.await);
        };
        tokio::spawn(task.in_current_span());
    }
}

async fn admit(
    gateway: &Arc<Gateway>,
    session_id: SessionId,
    token: Option<String>,
    since: &Since,
    feed: Feed,
    ear: Arc<Ear>,
) -> Result<Connected, Refusal> {
    let token = token
        .ok_or_else(|| Refusal::new(ErrorCode::Unauthenticated, "connect needs an access_token"))?;
    let Verified {
        caller,
        generation,
        expires_at,
    } = gateway.tokens.verify(&token).await?;
    let limit = gateway.config.max_sessions_per_user;
    let place = gateway
        .sessions
        .enter(caller.user_id, session_id, generation, feed, limit)
        .ok_or_else(|| {
            Refusal::new(
                ErrorCode::RateLimited,
                format!("you have {limit} sessions open already"),
            )
            .retry_after_ms(5000)
        })?;
    // A logout between the two steps above found no session to close.
    if gateway.tokens.is_revoked(caller.user_id, generation) {
        return Err(Refusal::new(
            ErrorCode::Unauthenticated,
            "the user has logged out",
        ));
    }
    let topic = Topic::User(caller.user_id);
    let (cursor, state) = gateway
        .topics
        .subscribe(&ear, topic, &caller.tenant, since.get(&topic))
        .await?;
    let admission = Box::new(Admission {
        session_id,
        caller,
        expires_at,
        topics: vec![state],
    });
    Ok(Connected {
        admission,
        place,
        cursors: vec![cursor],
    })
}

async fn refresh(gateway: &Gateway, caller: &Caller, token: &str) -> Result<Verified, Refusal> {
    let verified = gateway.tokens.verify(token).await?;
    if verified.caller.user_id != caller.user_id {
        return Err(Refusal::new(
            ErrorCode::Forbidden,
            "the token is another user's",
        ));
    }
    Ok(verified)
}

async fn history(
    gateway: &Gateway,
    caller: &Caller,
    request: GetHistory,
) -> Result<ServerMessage, Refusal> {
    let query = request.query(caller.user_id);
    let query = serde_urlencoded::to_string(&query)
        .map_err(|error| Refusal::new(ErrorCode::InvalidMessage, error.to_string()))?;
    // A page may be large: few are in memory at once, however many are asked for.
    let _turn = gateway.history_turns.acquire().await;
    let page = gateway
        .file_manager
        .request(Method::GET, format!("/files?{query}"));
    let page = page
        .header(caller::HEADER, caller::encode(caller))
        .receive::<FilePage>()
        .await;
    let FilePage { files, next_cursor } = page.map_err(refusals::from_peer)?;
    Ok(ServerMessage::History(History {
        id: request.id,
        files,
        next_cursor,
    }))
}

fn replied(id: RequestId, answer: Result<ServerMessage, Refusal>) -> Event {
    let message = answer.unwrap_or_else(|refusal| {
        ServerMessage::Error(ErrorMessage {
            id: Some(id),
            ..ErrorMessage::new(refusal)
        })
    });
    Event::Input(Input::Replied(Box::new(message)))
}
