//! The socket: `GET /ws`, subprotocol `sluice.v1`.

mod driver;
pub(crate) mod event;
pub(crate) mod frames;
pub(crate) mod mailbox;
pub(crate) mod outlet;
mod wire;
mod work;
mod writer;

use crate::{Gateway, caller, refusals};
use axum::{
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use driver::Driver;
use http::{HeaderMap, StatusCode, Uri, header};
use hyper::upgrade::{Parts, Upgraded};
use hyper_util::rt::TokioIo;
use protocol::{BEARER_SUBPROTOCOL_PREFIX, ErrorCode, Refusal, SUBPROTOCOL, SessionId};
use service_kit::{
    lifecycle::{ConnectionSlot, Shutdown},
    problem::Problem,
};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tracing::Instrument;
use wire::Wire;

/// `GET /ws`: checks the handshake, then runs the session as a task of its own.
pub(crate) async fn upgrade(
    State(gateway): State<Arc<Gateway>>,
    mut request: Request,
) -> Result<Response, Problem> {
    let headers = request.headers();
    check_origin(headers, &gateway.config.allowed_origins)?;
    let accept = check_handshake(headers)?;
    let token = upgrade_token(headers);
    let slot = request.extensions_mut().remove::<ConnectionSlot>();
    let Some(upgrading) = request
        .extensions_mut()
        .remove::<hyper::upgrade::OnUpgrade>()
    else {
        return Err(Problem::invalid_message(
            "this connection can't be upgraded to a WebSocket",
        ));
    };
    let id = SessionId::new();
    let shutdown = gateway.shutdown.clone();
    let tracker = shutdown.tracker().clone();
    let session = async move {
        // The socket counts as a connection as long as it is open.
        let _slot = slot;
        match upgrading.await {
            Ok(upgraded) => run(gateway, upgraded, id, token, &shutdown).await,
            Err(error) => tracing::debug!(%error, "the upgrade failed"),
        }
    };
    let span = tracing::info_span!(parent: None, "session", session_id = %id, user_id = tracing::field::Empty);
    tracker.spawn(session.instrument(span));
    Ok(switch(&accept))
}

/// Runs the session on its connection: without anything in between, if it is TCP as it comes from the listener.
async fn run(
    gateway: Arc<Gateway>,
    upgraded: Upgraded,
    id: SessionId,
    token: Option<String>,
    shutdown: &Shutdown,
) {
    let pool = gateway.pool.clone();
    match upgraded.downcast::<TokioIo<TcpStream>>() {
        Ok(Parts { io, read_buf, .. }) => {
            let (read, write) = io.into_inner().into_split();
            // A copy: what was read is a slice of a buffer that would be kept for it, for as long as the session lasts.
            let ahead = Bytes::copy_from_slice(&read_buf);
            drop(read_buf);
            let wire = Wire::new(read, write, ahead, pool);
            Box::pin(Box::new(Driver::new(gateway, wire, id, token)).run(shutdown)).await;
        }
        Err(upgraded) => {
            let (read, write) = tokio::io::split(TokioIo::new(upgraded));
            let wire = Wire::new(read, write, Bytes::new(), pool);
            Box::pin(Box::new(Driver::new(gateway, wire, id, token)).run(shutdown)).await;
        }
    }
}

/// The answer that makes the connection a WebSocket.
fn switch(accept: &str) -> Response {
    let headers = [
        (header::CONNECTION, "upgrade"),
        (header::UPGRADE, "websocket"),
        (header::SEC_WEBSOCKET_ACCEPT, accept),
        (header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, headers, Body::empty()).into_response()
}

/// A page of a browser may open a socket if it is the gateway's own or of an allowed origin. Other clients send no origin.
fn check_origin(headers: &HeaderMap, allowed: &[String]) -> Result<(), Problem> {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return Ok(());
    };
    let origin = origin.to_str().unwrap_or_default();
    let authority = origin
        .parse::<Uri>()
        .ok()
        .and_then(|uri| uri.into_parts().authority);
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let is_own = authority.is_some_and(|authority| {
        host.is_some_and(|host| authority.as_str().eq_ignore_ascii_case(host))
    });
    if is_own
        || allowed
            .iter()
            .any(|allowed| allowed.eq_ignore_ascii_case(origin))
    {
        return Ok(());
    }
    let detail =
        format!("pages of {origin:?} may not open a socket here; see gateway.allowed_origins");
    Err(refusals::to_problem(Refusal::new(
        ErrorCode::Forbidden,
        detail,
    )))
}

/// Checks the WebSocket handshake (RFC 6455, 4.2.1); answers the key that proves it was understood.
fn check_handshake(headers: &HeaderMap) -> Result<String, Problem> {
    let upgrade = |detail: &str| {
        Problem::new(
            StatusCode::UPGRADE_REQUIRED,
            "invalid-message",
            "this is a WebSocket endpoint",
        )
        .with_detail(detail)
    };
    if !has_item(headers, &header::CONNECTION, "upgrade")
        || !has_item(headers, &header::UPGRADE, "websocket")
    {
        return Err(upgrade("connect with a WebSocket client"));
    }
    if headers
        .get(header::SEC_WEBSOCKET_VERSION)
        .is_none_or(|version| version != "13")
    {
        return Err(upgrade("only WebSocket version 13 is spoken here"));
    }
    if !has_item(headers, &header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL) {
        return Err(Problem::invalid_message(format!(
            "offer the subprotocol {SUBPROTOCOL}"
        )));
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY);
    let key =
        key.ok_or_else(|| Problem::invalid_message("the header sec-websocket-key is missing"))?;
    Ok(derive_accept_key(key.as_bytes()))
}

fn items<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

fn has_item(headers: &HeaderMap, name: &header::HeaderName, wanted: &str) -> bool {
    items(headers, name).any(|item| item.eq_ignore_ascii_case(wanted))
}

/// The token that comes with the upgrade: as a bearer token, or, from browsers, as a second subprotocol.
fn upgrade_token(headers: &HeaderMap) -> Option<String> {
    let offered = items(headers, &header::SEC_WEBSOCKET_PROTOCOL)
        .find_map(|item| item.strip_prefix(BEARER_SUBPROTOCOL_PREFIX));
    caller::bearer(headers).or(offered).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    header::HeaderName::from_static(name),
                    HeaderValue::from_str(value).unwrap(),
                )
            })
            .collect()
    }

    #[test]
    fn pages_of_other_origins_are_refused() {
        for (origin, accepted) in [
            (None, true),
            (Some("http://sluice.test:8080"), true),
            (Some("https://app.example.org"), true),
            (Some("http://sluice.test"), false),
            (Some("https://evil.example"), false),
            (Some("null"), false),
        ] {
            let mut headers = headers(&[("host", "sluice.test:8080")]);
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            }
            assert_eq!(
                check_origin(&headers, &["https://app.example.org".into()]).is_ok(),
                accepted,
                "{origin:?}"
            );
        }
    }

    #[test]
    fn the_token_is_found_in_either_place() {
        let in_header = headers(&[
            ("authorization", "bearer abc"),
            ("sec-websocket-protocol", "sluice.v1"),
        ]);
        let in_protocol = headers(&[("sec-websocket-protocol", "sluice.v1, bearer.abc")]);
        assert_eq!(upgrade_token(&in_header).as_deref(), Some("abc"));
        assert_eq!(upgrade_token(&in_protocol).as_deref(), Some("abc"));
        assert_eq!(upgrade_token(&headers(&[])), None);
    }

    #[test]
    fn the_subprotocol_must_be_offered() {
        let all = [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-protocol", "sluice.v1"),
        ];
        assert_eq!(
            check_handshake(&headers(&all)).unwrap(),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
        for missing in 0..all.len() {
            let mut some = all.to_vec();
            some.remove(missing);
            assert!(
                check_handshake(&headers(&some)).is_err(),
                "without {}",
                all[missing].0
            );
        }
    }
}
