//! The layers around every router, in their one right order: id and log span, metrics, panics, unknown routes.

use std::{sync::Arc, time::Instant};

use axum::{
    Router,
    extract::{MatchedPath, Request, State},
    middleware::{Next, from_fn, from_fn_with_state},
    response::Response,
};
use http::{Method, StatusCode};
use tracing::Instrument;

use crate::{
    problem::{catch_panics, with_fallbacks},
    request_id::{HEADER, RequestId},
};

/// Gives a finished router what every router has. `service` names it in logs and metrics.
pub fn wrap(service: impl Into<Arc<str>>, router: Router) -> Router {
    let service = service.into();
    with_fallbacks(router)
        .layer(from_fn(catch_panics))
        .layer(from_fn_with_state(service.clone(), measure))
        .layer(from_fn_with_state(service, identify))
}

/// Gives the request its id, in the log span, for onward calls and in the reply.
async fn identify(State(service): State<Arc<str>>, request: Request, next: Next) -> Response {
    let id = request
        .headers()
        .get(HEADER)
        .and_then(|value| RequestId::parse(value.to_str().ok()?))
        .unwrap_or_else(RequestId::random);
    let path = request.uri().path();
    let method = request.method();
    // A call from one service to another in the same process is told of at a finer level: its lines are in the span of the
    // request that it serves, and would say everything twice.
    let span = if RequestId::current().is_some() {
        tracing::debug_span!("call", %service, %method, path)
    } else {
        tracing::info_span!("request", %service, request_id = %id, %method, path)
    };
    let mut response = id.clone().scope(next.run(request).instrument(span)).await;
    response.headers_mut().insert(HEADER, id.to_header());
    response
}

/// Counts and times the request.
async fn measure(State(service): State<Arc<str>>, request: Request, next: Next) -> Response {
    // The pattern of the route, never the path: the number of time series must not depend on clients.
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("unmatched", MatchedPath::as_str)
        .to_owned();
    let mut measurement = Measurement {
        service,
        method: name_of(request.method()),
        route,
        status: None,
        begun: Instant::now(),
    };
    let response = next.run(request).await;
    measurement.status = Some(response.status());
    response
}

/// One request. It is recorded when dropped, so that one whose client went away counts too.
struct Measurement {
    service: Arc<str>,
    method: &'static str,
    route: String,
    status: Option<StatusCode>,
    begun: Instant,
}

impl Drop for Measurement {
    fn drop(&mut self) {
        let status = self.status.map_or_else(
            || "cancelled".to_owned(),
            |status| status.as_u16().to_string(),
        );
        let labels = [
            ("service", self.service.to_string()),
            ("method", self.method.to_owned()),
            ("route", std::mem::take(&mut self.route)),
            ("status", status),
        ];
        ::metrics::counter!("http_requests_total", &labels).increment(1);
        ::metrics::histogram!("http_request_duration_seconds", &labels)
            .record(self.begun.elapsed());
    }
}

fn name_of(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests;
