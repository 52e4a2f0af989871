//! Calls from one service to another: in process or over HTTP, by one wire path that the caller cannot tell apart.

mod config;
mod remote;
mod request;

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use ::metrics::histogram;
use axum::{
    Router,
    body::{Body, to_bytes},
    response::Response,
};
use http::{Method, Request};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Serialize, de::DeserializeOwned};
use tower::ServiceExt;

use self::remote::{NoAnswer, Remote};
use crate::{
    internal::Keys,
    problem::Problem,
    request_id::{self, RequestId},
    stack,
};

pub use config::PeerConfig;
pub use request::PeerRequest;

/// How long a call waits for the head of the reply, unless it or its peer says otherwise.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(10);

/// The largest JSON reply that is read into memory, in bytes. Larger content is streamed, never collected.
pub const MAX_JSON_BYTES: usize = 16 << 20;

/// Another service. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Peer {
    name: Arc<str>,
    transport: Transport,
    deadline: Duration,
}

#[derive(Clone)]
enum Transport {
    Local(Router),
    Remote(Arc<Remote>),
}

/// How one call is made.
#[derive(Debug, Clone)]
struct CallOptions {
    /// Time for the head of the reply, all attempts included.
    deadline: Duration,
    /// Time for each attempt, if it is not the peer's usual one.
    attempt_timeout: Option<Duration>,
    /// Whether the call can be made twice although its method does not say so.
    repeatable: bool,
}

/// Why a call did not give what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The peer answered, and the answer is a problem.
    #[error(transparent)]
    Problem(#[from] Problem),
    /// The peer could not be reached, did not answer in time, or broke off; for one in other processes, with every attempt
    /// that there was. The call may or may not have had effect.
    #[error("{peer} is unavailable: {reason}")]
    Unavailable {
        /// The name of the peer.
        peer: Arc<str>,
        /// What happened, for the log.
        reason: String,
    },
    /// The peer answered with success, but not with what was asked for.
    #[error("the reply of {peer} makes no sense: {reason}")]
    InvalidReply {
        /// The name of the peer.
        peer: Arc<str>,
        /// What is wrong with it, for the log.
        reason: String,
    },
    /// The call itself could not be built: a path, header or body that cannot be sent.
    #[error("a call to {peer} cannot be sent: {reason}")]
    InvalidRequest {
        /// The name of the peer.
        peer: Arc<str>,
        /// What is wrong with it, for the log.
        reason: String,
    },
}

/// The address of a peer is missing, or not of the form `http://host:port`.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not the address of a peer, use the form http://host:port")]
pub struct InvalidPeerAddress(String);

impl Peer {
    /// A peer in this process. Its router gets what [`stack::wrap`] gives the one behind a listener.
    pub fn local(name: impl Into<Arc<str>>, router: Router) -> Self {
        let name = name.into();
        let router = stack::wrap(name.clone(), router);
        Self {
            name,
            transport: Transport::Local(router),
            deadline: DEFAULT_DEADLINE,
        }
    }

    /// The service `name` in other processes, behind their [internal listeners](crate::internal::Listener) at `addresses`
    /// (`http://host:port`). A name may stand for several replicas; it must not stand for something that passes connections
    /// on to one replica or another, since calls are signed for one of them.
    ///
    /// Each call goes to one replica, and where that is safe to another one if the first fails. Must be called within a
    /// runtime.
    ///
    /// # Errors
    /// If there is no address, or one of another form.
    pub fn remote(
        name: impl Into<Arc<str>>,
        addresses: &[String],
        keys: Arc<Keys>,
        config: &PeerConfig,
    ) -> Result<Self, InvalidPeerAddress> {
        let name = name.into();
        let remote = Remote::new(name.clone(), addresses, keys, config)?;
        Ok(Self {
            name,
            transport: Transport::Remote(Arc::new(remote)),
            deadline: config.deadline.duration(),
        })
    }

    /// The same peer with another default deadline.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The name of the peer, for logs.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Starts a call; `path` begins with `/` and may have a query.
    pub fn request(&self, method: Method, path: impl AsRef<str>) -> PeerRequest<'_> {
        PeerRequest::new(self, method, path.as_ref())
    }

    /// Calls `GET path` and reads the JSON reply.
    ///
    /// # Errors
    /// See [`PeerError`].
    pub async fn get_json<R: DeserializeOwned>(
        &self,
        path: impl AsRef<str>,
    ) -> Result<R, PeerError> {
        self.request(Method::GET, path).receive().await
    }

    /// Calls `POST path` with a JSON body and reads the JSON reply (`()` for an empty one).
    ///
    /// # Errors
    /// See [`PeerError`].
    pub async fn post_json<B: Serialize, R: DeserializeOwned>(
        &self,
        path: impl AsRef<str>,
        body: &B,
    ) -> Result<R, PeerError> {
        self.request(Method::POST, path).json(body).receive().await
    }

    /// Calls `PUT path` with a JSON body and reads the JSON reply (`()` for an empty one).
    ///
    /// # Errors
    /// See [`PeerError`].
    pub async fn put_json<B: Serialize, R: DeserializeOwned>(
        &self,
        path: impl AsRef<str>,
        body: &B,
    ) -> Result<R, PeerError> {
        self.request(Method::PUT, path).json(body).receive().await
    }

    /// Sends a request whose URI is a path, and returns the reply whatever its status. The deadline covers the time
    /// until the head of the reply; its body streams without one.
    ///
    /// # Errors
    /// [`PeerError::Unavailable`] and [`PeerError::InvalidRequest`].
    pub async fn call(&self, request: Request<Body>) -> Result<Response, PeerError> {
        self.call_within(request, self.deadline).await
    }

    /// As [`Peer::call`], with a deadline of its own.
    ///
    /// # Errors
    /// [`PeerError::Unavailable`] and [`PeerError::InvalidRequest`].
    pub async fn call_within(
        &self,
        request: Request<Body>,
        deadline: Duration,
    ) -> Result<Response, PeerError> {
        let options = CallOptions {
            deadline,
            ..self.options()
        };
        self.call_with(request, &options).await
    }

    fn options(&self) -> CallOptions {
        CallOptions {
            deadline: self.deadline,
            attempt_timeout: None,
            repeatable: false,
        }
    }

    /// The one place where a request leaves this service.
    async fn call_with(
        &self,
        mut request: Request<Body>,
        options: &CallOptions,
    ) -> Result<Response, PeerError> {
        if let Some(id) = RequestId::current() {
            request
                .headers_mut()
                .entry(request_id::HEADER)
                .or_insert_with(|| id.to_header());
        }
        let begun = Instant::now();
        let reply = match &self.transport {
            Transport::Local(router) => self.call_local(router, request, options).await,
            Transport::Remote(remote) => self.call_remote(remote, request, options).await,
        };
        let outcome = match &reply {
            Ok(response) => response.status().as_u16().to_string(),
            Err(_) => "unavailable".to_owned(),
        };
        let labels = [("peer", self.name.to_string()), ("outcome", outcome)];
        histogram!("peer_call_duration_seconds", &labels).record(begun.elapsed());
        reply
    }

    async fn call_local(
        &self,
        router: &Router,
        request: Request<Body>,
        options: &CallOptions,
    ) -> Result<Response, PeerError> {
        let answer = router.clone().oneshot(request);
        match tokio::time::timeout(options.deadline, answer).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(never)) => match never {},
            Err(_) => {
                let time = options.deadline.as_millis();
                Err(self.unavailable(format!("no reply within {time} ms")))
            }
        }
    }

    async fn call_remote(
        &self,
        remote: &Remote,
        request: Request<Body>,
        options: &CallOptions,
    ) -> Result<Response, PeerError> {
        remote
            .call(request, options)
            .await
            .map_err(|error| match error {
                NoAnswer::Unavailable(reason) => self.unavailable(reason),
                NoAnswer::Unsendable(reason) => self.invalid_request(&reason),
            })
    }

    async fn read(&self, body: Body) -> Result<axum::body::Bytes, PeerError> {
        to_bytes(body, MAX_JSON_BYTES)
            .await
            .map_err(|error| self.unavailable(chain(&error)))
    }

    fn unavailable(&self, reason: String) -> PeerError {
        PeerError::Unavailable {
            peer: self.name.clone(),
            reason,
        }
    }

    fn invalid_request(&self, reason: &dyn fmt::Display) -> PeerError {
        PeerError::InvalidRequest {
            peer: self.name.clone(),
            reason: reason.to_string(),
        }
    }

    fn invalid_reply(&self, reason: &dyn fmt::Display) -> PeerError {
        PeerError::InvalidReply {
            peer: self.name.clone(),
            reason: reason.to_string(),
        }
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.transport {
            Transport::Local(_) => write!(f, "Peer({} in process)", self.name),
            Transport::Remote(remote) => write!(f, "Peer({} at {remote:?})", self.name),
        }
    }
}

impl PeerError {
    /// The problem that the peer answered with, if it answered with one.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Problem(problem) => Some(problem),
            _ => None,
        }
    }

    /// Whether the peer answered with this code.
    pub fn has_code(&self, code: &str) -> bool {
        self.problem().is_some_and(|problem| problem.code == code)
    }
}

impl From<PeerError> for Problem {
    /// What the own caller is told: problems pass through, an unavailable peer makes this service unavailable.
    fn from(error: PeerError) -> Self {
        match error {
            PeerError::Problem(problem) => problem,
            PeerError::Unavailable { .. } => {
                tracing::warn!(%error, "a call to a peer failed");
                Self::unavailable(Duration::from_secs(1))
            }
            PeerError::InvalidReply { .. } | PeerError::InvalidRequest { .. } => {
                tracing::error!(%error, "a call to a peer failed");
                Self::internal()
            }
        }
    }
}

/// A text as one segment of a path: whatever it holds, it stays one.
pub fn segment(text: &str) -> impl fmt::Display {
    utf8_percent_encode(text, NON_ALPHANUMERIC)
}

/// An error with its causes in one line: hyper's own text rarely says what happened.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
