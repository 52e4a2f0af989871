//! Reading the notification log.

use crate::{
    Uploader,
    error::{Failure, invalid},
};
use axum::extract::State;
use protocol::upload::{LogHead, LogPage, LogQuery};
use service_kit::problem::{Json, Query};

/// How many notifications a page has at most.
const MAX_LIMIT: u32 = 1000;

/// How many heads can be asked for at once.
const MAX_HEADS: usize = 1000;

/// `GET /notifications`, by a [`LogQuery`]. A larger limit than allowed gives as many as are.
pub(crate) async fn log(
    State(uploader): State<Uploader>,
    Query(query): Query<LogQuery>,
) -> Result<Json<LogPage>, Failure> {
    let limit = query.limit.min(MAX_LIMIT);
    Ok(Json(
        uploader
            .store
            .log(query.topic, &query.tenant, query.after, limit)
            .await?,
    ))
}

/// `GET /notifications/heads?log=…&log=…`.
pub(crate) async fn heads(
    State(uploader): State<Uploader>,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Json<Vec<LogHead>>, Failure> {
    let logs: Vec<String> = query
        .into_iter()
        .filter(|(name, _)| name == "log")
        .map(|(_, log)| log)
        .collect();
    if logs.len() > MAX_HEADS {
        return Err(invalid(format!("{MAX_HEADS} heads can be asked for at once")).into());
    }
    Ok(Json(uploader.store.heads(&logs).await?))
}
