//! One call to a peer: built step by step, sent, and its reply read.

use std::time::Duration;

use axum::{body::Body, response::Response};
use http::{HeaderName, HeaderValue, Method, Request, header};
use serde::{Serialize, de::DeserializeOwned};

use super::{CallOptions, Peer, PeerError};
use crate::problem::Problem;

/// A call in the making. What cannot be sent is reported by [`send`](Self::send) or [`receive`](Self::receive).
#[derive(Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct PeerRequest<'a> {
    peer: &'a Peer,
    request: Result<Request<Body>, PeerError>,
    options: CallOptions,
}

impl<'a> PeerRequest<'a> {
    pub(super) fn new(peer: &'a Peer, method: Method, path: &str) -> Self {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .body(Body::empty());
        Self {
            peer,
            request: request.map_err(|error| peer.invalid_request(&error)),
            options: peer.options(),
        }
    }

    /// Sets a header.
    pub fn header<V>(mut self, name: HeaderName, value: V) -> Self
    where
        V: TryInto<HeaderValue, Error: Into<http::Error>>,
    {
        self.request = self.request.and_then(|mut request| {
            let value = value
                .try_into()
                .map_err(|error| self.peer.invalid_request(&error.into()))?;
            request.headers_mut().insert(name, value);
            Ok(request)
        });
        self
    }

    /// Sets the body to `body` as JSON.
    pub fn json<B: Serialize + ?Sized>(mut self, body: &B) -> Self {
        self.request = self.request.and_then(|mut request| {
            let bytes =
                serde_json::to_vec(body).map_err(|error| self.peer.invalid_request(&error))?;
            *request.body_mut() = Body::from(bytes);
            request.headers_mut().insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/json"),
            );
            Ok(request)
        });
        self
    }

    /// Sets the body, which may be a stream, of at most 16 MiB if it leaves the process. Its sending counts against the
    /// deadline.
    pub fn body(mut self, body: Body) -> Self {
        if let Ok(request) = &mut self.request {
            *request.body_mut() = body;
        }
        self
    }

    /// Sets the time to wait for the head of the reply, all attempts included.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.options.deadline = deadline;
        self
    }

    /// Sets the time for one attempt, after which another replica is asked if the call can be repeated. For calls that are
    /// answered late on purpose, or must be answered soon.
    pub fn attempt_timeout(mut self, time: Duration) -> Self {
        self.options.attempt_timeout = Some(time);
        self
    }

    /// Says that making this call twice is the same as making it once, so that it may be made again when it is not known what
    /// came of it. GET, HEAD, PUT and DELETE are like that anyway.
    pub fn repeatable(mut self) -> Self {
        self.options.repeatable = true;
        self
    }

    /// Sends the request and returns a reply of success, with its body still to be read.
    ///
    /// # Errors
    /// See [`PeerError`]; any other status than success is [`PeerError::Problem`].
    pub async fn send(self) -> Result<Response, PeerError> {
        let Self {
            peer,
            request,
            options,
        } = self;
        let response = peer.call_with(request?, &options).await?;
        let status = response.status();
        if status.is_success() || status.is_redirection() {
            return Ok(response);
        }
        let (parts, body) = response.into_parts();
        let body = within(peer, options.deadline, body).await?;
        Err(Problem::from_response(status, &parts.headers, &body).into())
    }

    /// Sends the request and reads its JSON reply; an empty reply reads as `null`, so as `()` too.
    ///
    /// # Errors
    /// See [`PeerError`].
    pub async fn receive<R: DeserializeOwned>(self) -> Result<R, PeerError> {
        let (peer, deadline) = (self.peer, self.options.deadline);
        let response = self.send().await?;
        let body = within(peer, deadline, response.into_body()).await?;
        let body = if body.is_empty() {
            b"null".as_slice()
        } else {
            &body
        };
        serde_json::from_slice(body).map_err(|error| peer.invalid_reply(&error))
    }
}

/// Collects a body that must be complete within the deadline.
async fn within(
    peer: &Peer,
    deadline: Duration,
    body: Body,
) -> Result<axum::body::Bytes, PeerError> {
    match tokio::time::timeout(deadline, peer.read(body)).await {
        Ok(bytes) => bytes,
        Err(_) => Err(peer.unavailable(format!(
            "the reply broke off after {} ms",
            deadline.as_millis()
        ))),
    }
}
