//! A panic in a handler costs one request: it is logged and answered with a problem.

use std::{any::Any, panic::AssertUnwindSafe};

use axum::{
    extract::Request,
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures::FutureExt;

use super::Problem;

/// Middleware that turns a panic of the handler into 500 `internal`.
pub async fn catch_panics(request: Request, next: Next) -> Response {
    // Nothing of the request survives the panic but what is shared on purpose, and locks there poison themselves.
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(payload) => {
            tracing::error!(panic = text_of(&*payload), "a handler panicked");
            Problem::internal().into_response()
        }
    }
}

/// The message of a panic, as far as it has one.
pub(crate) fn text_of(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}
