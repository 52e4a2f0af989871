//! A call as it is kept, to be sent once or several times.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use http::{Method, Request, Version, request};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::internal::{
    Keys, MAX_BODY_BYTES,
    signature::{self, ContentHash},
};

pub(super) struct Message {
    parts: request::Parts,
    body: Bytes,
    hash: ContentHash,
}

/// Why a call cannot be kept.
pub(super) enum NotKept {
    /// Its body is larger than any call's.
    TooLarge,
    /// Its body broke off.
    BrokenOff(String),
}

impl Message {
    pub(super) async fn collect(request: Request<Body>) -> Result<Self, NotKept> {
        let (mut parts, body) = request.into_parts();
        parts.version = Version::HTTP_11;
        let body = Limited::new(body, MAX_BODY_BYTES).collect().await;
        let body = body
            .map_err(|error| {
                if error.is::<LengthLimitError>() {
                    NotKept::TooLarge
                } else {
                    NotKept::BrokenOff(error.to_string())
                }
            })?
            .to_bytes();
        let hash = signature::content_hash(&body);
        Ok(Self { parts, body, hash })
    }

    /// Whether making a call with this method twice is the same as making it once.
    pub(super) fn is_idempotent(&self) -> bool {
        let method = &self.parts.method;
        method.is_idempotent() && *method != Method::TRACE
    }

    /// The request to send to this instance of the service.
    pub(super) fn signed(&self, keys: &Arc<Keys>, to: (&str, &str)) -> Request<Body> {
        let mut parts = self.parts.clone();
        signature::sign(keys, to, &self.hash, &mut parts);
        Request::from_parts(parts, Body::from(self.body.clone()))
    }
}
