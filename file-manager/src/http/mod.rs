//! The service's internal HTTP, called by the gateway.

mod caller;
mod content;

use crate::FileManager;
use axum::{Router, extract::State, routing::get};
use caller::Identified;
use protocol::{
    FileId, UserId,
    file::{FileInfo, FilePage, FileQuery},
};
use service_kit::problem::{Json, Path, Problem, Query};

/// The routes of the service. The caller's identity is taken from the header
/// [`CALLER_HEADER`](protocol::identity::CALLER_HEADER), so they must not be reachable from outside.
pub fn router(manager: FileManager) -> Router {
    Router::new()
        .route("/files", get(list))
        .route("/files/{file_id}", get(show))
        .route("/files/{file_id}/content", get(content::serve))
        .route("/client/history/{client_id}", get(history))
        .with_state(manager)
}

async fn list(
    State(manager): State<FileManager>,
    Identified(caller): Identified,
    Query(query): Query<FileQuery>,
) -> Result<Json<FilePage>, Problem> {
    manager.list(&caller, query).await.map(Json)
}

async fn history(
    State(manager): State<FileManager>,
    Identified(caller): Identified,
    Path(client): Path<UserId>,
    Query(query): Query<FileQuery>,
) -> Result<Json<FilePage>, Problem> {
    manager
        .list(
            &caller,
            FileQuery {
                owner: Some(client),
                ..query
            },
        )
        .await
        .map(Json)
}

async fn show(
    State(manager): State<FileManager>,
    Identified(caller): Identified,
    Path(file): Path<FileId>,
) -> Result<Json<FileInfo>, Problem> {
    Ok(Json(manager.find(&caller, file).await?.info))
}
