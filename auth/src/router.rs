//! Every route of this service, for other services only.

use crate::{jwks, login, logout, lookup, refresh, revocations, service::Auth, signup, validate};
use axum::{
    Router,
    extract::DefaultBodyLimit,
    routing::{get, post, put},
};
use service_kit::problem::with_fallbacks;

/// The largest request body: a password of full length takes 6 KiB if each byte of it is escaped.
const MAX_BODY_BYTES: usize = 16 << 10;

/// The routes of this service. They trust the header that says who calls, so only the gateway may reach them.
pub fn router(auth: Auth) -> Router {
    let routes = Router::new()
        .route("/auth/signup", post(signup::handle))
        .route("/auth/login/{user_name}", put(login::handle))
        .route("/auth/logout/{user_name}", put(logout::handle))
        .route("/auth/refresh", post(refresh::handle))
        .route("/auth/validate", get(validate::handle))
        .route("/auth/users", get(lookup::handle))
        .route("/auth/revocations", get(revocations::handle))
        .route("/.well-known/jwks.json", get(jwks::handle))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(auth);
    with_fallbacks(routes)
}
