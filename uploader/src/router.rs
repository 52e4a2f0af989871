//! Every route of the service. None of them is public: the gateway decides who may see what.

use crate::{Uploader, files, notifications, uploads};
use axum::{
    Router,
    routing::{get, post, put},
};

/// The routes that other services call.
pub fn router(uploader: Uploader) -> Router {
    Router::new()
        .route("/uploads", post(uploads::open::handle).get(files::list))
        .route("/uploads/{id}", get(uploads::show))
        .route("/uploads/{id}/end", post(uploads::end::handle))
        .route("/file/upload", post(uploads::submit::handle))
        .route("/file/update/status", put(uploads::report::handle))
        .route("/file/update/statuses", put(uploads::report::handle_all))
        .route("/files/{id}", get(files::show))
        .route("/notifications", get(notifications::log))
        .route("/notifications/heads", get(notifications::heads))
        .with_state(uploader)
}
