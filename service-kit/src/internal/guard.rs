//! Which calls are let in.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    body::Bytes,
    extract::ConnectInfo,
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, StatusCode, request};
use metrics::counter;

use super::{
    keys::Keys,
    listener::InstanceId,
    nonces::{Nonces, Verdict},
    signature::{self, Claims, NONCE, TO},
};
use crate::{
    problem::Problem,
    request_id::{self, RequestId},
};

/// How much older or newer than now a call may be: the clocks of two machines, and the way between them.
const WINDOW: Duration = Duration::from_secs(30);

/// Calls remembered at most, of 16 bytes each: several thousand a second over the window.
const REMEMBERED: usize = 500_000;

/// The header of a refusal, with its cause: by it a caller knows that the service itself has not seen the call.
pub(crate) const REFUSED: HeaderName = HeaderName::from_static("x-sluice-refused");

/// Why a call was not let in. It had no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// It has no signature, or not all that belongs to one.
    Unsigned,
    /// Its signature is not that of a known key over this call, or its body is another.
    BadSignature,
    /// It is for another instance, or for a service that this one does not have.
    Misaddressed,
    /// It was signed too long ago, or by a clock that is ahead.
    Stale,
    /// It was let in already.
    Replayed,
    /// So many calls were let in lately that a replayed one could not be told any more.
    TooMany,
}

impl Refused {
    /// The word for programs, metrics and logs.
    pub const fn cause(self) -> &'static str {
        match self {
            Self::Unsigned => "unsigned",
            Self::BadSignature => "bad-signature",
            Self::Misaddressed => "misaddressed",
            Self::Stale => "stale",
            Self::Replayed => "replayed",
            Self::TooMany => "too-many",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Unsigned => "calls between services are signed",
            Self::BadSignature => "the signature is not that of this call",
            Self::Misaddressed => "the call is for another instance",
            Self::Stale => "the call was signed too long ago, or by a clock that is ahead",
            Self::Replayed => "the call was made already",
            Self::TooMany => "too many calls, try again later",
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = match self {
            Self::TooMany => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::UNAUTHORIZED,
        };
        let mut response = Problem::new(status, self.cause(), self.title()).into_response();
        let cause = HeaderValue::from_static(self.cause());
        response.headers_mut().insert(REFUSED, cause);
        response
    }
}

/// What one instance lets in. It remembers what it has let in, which is enough: a call is signed for one instance.
pub(super) struct Guard {
    keys: Arc<Keys>,
    instance: InstanceId,
    nonces: Mutex<Nonces>,
}

impl Guard {
    pub(super) fn new(keys: Arc<Keys>, instance: InstanceId) -> Self {
        let window = u64::try_from(WINDOW.as_millis()).unwrap_or(u64::MAX);
        Self {
            keys,
            instance,
            nonces: Mutex::new(Nonces::new(window, REMEMBERED)),
        }
    }

    /// Judges a call by its head, so that nobody without a key makes this process read a body.
    pub(super) fn admit(
        &self,
        parts: &request::Parts,
        has_service: impl FnOnce(&str) -> bool,
    ) -> Result<Claims, Refused> {
        let claims = Claims::read(&parts.headers).ok_or(Refused::Unsigned)?;
        if !claims.is_signed(&self.keys, parts) {
            return Err(Refused::BadSignature);
        }
        if claims.instance != self.instance.as_str() || !has_service(&claims.service) {
            return Err(Refused::Misaddressed);
        }
        let mut nonces = self.nonces.lock().unwrap_or_else(PoisonError::into_inner);
        match nonces.judge(&claims.nonce, claims.time_ms, signature::now_ms()) {
            Verdict::New => Ok(claims),
            Verdict::Stale => Err(Refused::Stale),
            Verdict::Replayed => Err(Refused::Replayed),
            Verdict::NoRoom => Err(Refused::TooMany),
        }
    }

    /// Whether the body is the one that was signed.
    pub(super) fn check_body(claims: &Claims, body: &Bytes) -> Result<(), Refused> {
        if signature::content_hash(body) == claims.content {
            Ok(())
        } else {
            Err(Refused::BadSignature)
        }
    }
}

/// Tells of a refusal in log and metrics, and answers it.
pub(super) fn refuse(refused: Refused, parts: &request::Parts) -> Response {
    let remote = parts
        .extensions
        .get::<ConnectInfo<SocketAddr>>()
        .map_or_else(
            || "unknown".to_owned(),
            |ConnectInfo(remote)| remote.to_string(),
        );
    // What was sent is shown escaped: it may hold anything.
    let header = |name: HeaderName| {
        parts
            .headers
            .get(name)
            .map(HeaderValue::as_bytes)
            .map(<[u8]>::escape_ascii)
    };
    tracing::warn!(
        cause = refused.cause(),
        remote,
        method = %parts.method,
        path = parts.uri.path(),
        to = header(TO).map(tracing::field::display),
        nonce = header(NONCE).map(tracing::field::display),
        request_id = parts.headers.get(request_id::HEADER)
            .and_then(|id| RequestId::parse(id.to_str().ok()?))
            .map(tracing::field::display),
        "refused a call between services"
    );
    counter!("internal_calls_refused_total", "cause" => refused.cause()).increment(1);
    refused.into_response()
}
