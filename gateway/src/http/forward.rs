//! Passes a public request on to a service, with its answer streamed.

use crate::caller;
use axum::{
    body::{Body, Bytes},
    extract::Request,
    response::Response,
};
use http::{HeaderMap, HeaderName, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use protocol::identity::Caller;
use service_kit::{internal::signature, peer::Peer, problem::Problem};
use std::time::Duration;

/// The largest body that is passed on, in bytes. It is held until the service has answered.
const MAX_BODY_BYTES: usize = 64 << 10;

/// How long a body may take to arrive.
const BODY_DEADLINE: Duration = Duration::from_secs(10);

/// Headers of one connection, which are not passed on (RFC 9110, 7.6.1), and the one that the gateway has understood.
const NOT_PASSED_ON: [HeaderName; 9] = [
    header::CONNECTION,
    header::EXPECT,
    header::HOST,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::AUTHORIZATION,
    HeaderName::from_static("keep-alive"),
];

/// What public paths of the services' own resources begin with; inside they are without it.
const PUBLIC_PREFIX: &str = "/api/v1";

/// Sends the request to the service as the caller's and answers what it answers.
pub(super) async fn forward(
    peer: &Peer,
    caller: Option<&Caller>,
    mut request: Request,
) -> Result<Response, Problem> {
    let path = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str());
    let inner = path.strip_prefix(PUBLIC_PREFIX).unwrap_or(path);
    let inner = inner
        .parse::<http::Uri>()
        .map_err(|error| Problem::invalid_message(error.to_string()))?;
    *request.uri_mut() = inner;
    strip(request.headers_mut());
    // What the public connection has attached to its request is not the service's business.
    request.extensions_mut().clear();
    if let Some(caller) = caller {
        request
            .headers_mut()
            .insert(caller::HEADER, caller::encode(caller));
    }
    let (parts, body) = request.into_parts();
    let body = Body::from(collect(body).await?);
    Ok(peer.call(Request::from_parts(parts, body)).await?)
}

/// Takes away what must not be passed on, and what services believe because only other services can say it.
fn strip(headers: &mut HeaderMap) {
    let only_inside = headers
        .keys()
        .filter(|name| name.as_str().starts_with(signature::PREFIX))
        .cloned()
        .collect::<Vec<_>>();
    for name in NOT_PASSED_ON.iter().chain(&only_inside) {
        headers.remove(name);
    }
}

/// Takes in a body while the client sends it, so that a slow client keeps no service waiting.
async fn collect(body: Body) -> Result<Bytes, Problem> {
    let body = Limited::new(body, MAX_BODY_BYTES).collect();
    match tokio::time::timeout(BODY_DEADLINE, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(Problem::of_status(StatusCode::PAYLOAD_TOO_LARGE))
        }
        Ok(Err(error)) => Err(Problem::invalid_message(error.to_string())),
        Err(_) => Err(Problem::of_status(StatusCode::REQUEST_TIMEOUT)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{Router, response::IntoResponse, routing::any};
    use http::{Request, Response};

    /// A service that answers with the headers and the body that it got.
    fn echo() -> Peer {
        let echo = any(async |headers: HeaderMap, body: Bytes| (headers, body).into_response());
        Peer::local("echo", Router::new().route("/path", echo))
    }

    async fn forwarded(
        request: http::request::Builder,
        body: Body,
    ) -> Result<Response<Body>, Problem> {
        forward(
            &echo(),
            None,
            request.uri("/api/v1/path").body(body).unwrap(),
        )
        .await
    }

    #[tokio::test]
    async fn no_client_says_what_only_services_say() {
        let request = Request::post("/")
            .header("x-sluice-caller", "{}")
            .header("x-sluice-to", "auth/1")
            .header("X-Sluice-Signature", "00")
            .header("x-sluice-later", "1")
            .header("connection", "close")
            .header("authorization", "Bearer x")
            .header("x-other", "2");
        let answer = forwarded(request, Body::from("body")).await.unwrap();
        let headers = answer.headers();
        assert_eq!(headers["x-other"], "2");
        for name in ["connection", "authorization"] {
            assert!(!headers.contains_key(name), "{name}");
        }
        let mut names = headers.keys().map(HeaderName::as_str);
        assert!(
            !names.any(|name| name.starts_with("x-sluice")),
            "{headers:?}"
        );
        assert_eq!(
            answer.into_body().collect().await.unwrap().to_bytes(),
            "body"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_may_be_neither_large_nor_slow() {
        let body = |bytes: usize| Body::from(vec![b'x'; bytes]);
        assert!(
            forwarded(Request::post("/"), body(MAX_BODY_BYTES))
                .await
                .is_ok()
        );
        let large = forwarded(Request::post("/"), body(MAX_BODY_BYTES + 1)).await;
        assert_eq!(large.unwrap_err().code, "body-too-large");
        let slow = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
        let slow = forwarded(Request::post("/"), slow).await;
        assert_eq!(slow.unwrap_err().status, StatusCode::REQUEST_TIMEOUT);
    }
}
