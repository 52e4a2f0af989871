//! Passes a public request on to a service, with its body and answer streamed.

use crate::caller;
use axum::{extract::Request, response::Response};
use http::{HeaderMap, HeaderName, header};
use protocol::identity::Caller;
use service_kit::{peer::Peer, problem::Problem};

/// Headers of one connection, which are not passed on (RFC 9110, 7.6.1), and those that only the gateway may set.
const NOT_PASSED_ON: [HeaderName; 9] = [
    header::CONNECTION,
    header::HOST,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::AUTHORIZATION,
    HeaderName::from_static("keep-alive"),
    caller::HEADER,
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
    Ok(peer.call(request).await?)
}

fn strip(headers: &mut HeaderMap) {
    for name in &NOT_PASSED_ON {
        headers.remove(name);
    }
}
