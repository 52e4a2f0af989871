//! The public HTTP surface beside the socket: the gateway says who is calling, the services do the rest.

mod forward;
mod uploads;

use crate::{Gateway, caller::Authenticated};
use axum::{
    Router,
    extract::{Request, State},
    response::Response,
    routing::{get, post, put},
};
use forward::forward;
use protocol::token::REVOCATION_HEADER;
use service_kit::problem::Problem;
use std::sync::Arc;

/// Every public route of the gateway.
pub(crate) fn routes(gateway: Arc<Gateway>) -> Router {
    Router::new()
        .route("/ws", get(crate::socket::upgrade))
        .route("/auth/signup", post(to_auth))
        .route("/auth/login/{user_name}", put(to_auth))
        .route("/auth/logout/{user_name}", put(logout))
        .route("/auth/refresh", post(to_auth))
        .route("/auth/validate", get(to_auth_authenticated))
        .route("/.well-known/jwks.json", get(to_auth))
        .route("/client/history/{client_id}", get(to_file_manager))
        .route("/api/v1/files", get(to_file_manager))
        .route("/api/v1/files/{id}", get(to_file_manager))
        .route("/api/v1/files/{id}/content", get(to_file_manager))
        .route("/api/v1/uploads/{id}", get(uploads::show))
        .with_state(gateway)
}

async fn to_auth(
    State(gateway): State<Arc<Gateway>>,
    request: Request,
) -> Result<Response, Problem> {
    forward(&gateway.auth, None, request).await
}

async fn to_auth_authenticated(
    State(gateway): State<Arc<Gateway>>,
    Authenticated(caller): Authenticated,
    request: Request,
) -> Result<Response, Problem> {
    forward(&gateway.auth, Some(&caller), request).await
}

/// Logs out. It is answered once this gateway knows, so that the token is useless from then on.
async fn logout(
    State(gateway): State<Arc<Gateway>>,
    Authenticated(caller): Authenticated,
    request: Request,
) -> Result<Response, Problem> {
    let mut response = forward(&gateway.auth, Some(&caller), request).await?;
    let revocation = response.headers_mut().remove(REVOCATION_HEADER);
    if let Some(seq) = revocation.and_then(|seq| seq.to_str().ok()?.parse().ok()) {
        gateway.tokens.wait_for(seq).await;
    }
    Ok(response)
}

async fn to_file_manager(
    State(gateway): State<Arc<Gateway>>,
    Authenticated(caller): Authenticated,
    request: Request,
) -> Result<Response, Problem> {
    forward(&gateway.file_manager, Some(&caller), request).await
}
