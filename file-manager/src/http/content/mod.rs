//! `GET` and `HEAD /files/{id}/content`: the bytes of a file, from the blob store or still from the chunk cache.

mod describe;
mod exact;
mod range;
mod selection;

use super::caller::Identified;
use crate::{
    FileManager,
    lookup::{Found, problem},
    metric,
};
use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use protocol::{ErrorCode, FileId, TransferStatus, identity::Caller};
use selection::Selected;
use service_kit::problem::{Path, Problem};
use std::{ops::Range, time::Duration};
use storage::{ByteStream, blobs::BlobError, chunks::ChunkError};

/// How often a file is looked for again whose content moved from the cache to the blob store in between.
const MOVES: usize = 2;

pub(super) async fn serve(
    State(manager): State<FileManager>,
    Identified(caller): Identified,
    Path(file): Path<FileId>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let found = manager.find(&caller, file).await?;
    if found.info.status == TransferStatus::UploadFailed {
        let reason = found
            .info
            .reason
            .as_deref()
            .unwrap_or("the reason is not known");
        return Err(problem(
            ErrorCode::NotFound,
            format!("the file could not be stored, it has no content: {reason}"),
        ));
    }
    let size = found.info.size;
    let validators = describe::validators(&found.info);
    let mut described = describe::of_any(&validators);
    let (status, part) = match selection::select(&method, &headers, &validators, size) {
        Selected::NotModified => return Ok((StatusCode::NOT_MODIFIED, described).into_response()),
        Selected::PreconditionFailed => {
            return Err(Problem::of_status(StatusCode::PRECONDITION_FAILED));
        }
        Selected::Unsatisfiable => return Ok(unsatisfiable(size)),
        Selected::Whole => (StatusCode::OK, 0..size),
        Selected::Part(part) => (StatusCode::PARTIAL_CONTENT, part),
    };
    describe::add_content(&mut described, &found.info);
    described.insert(
        header::CONTENT_LENGTH,
        HeaderValue::from(part.end - part.start),
    );
    if status == StatusCode::PARTIAL_CONTENT {
        described.insert(header::CONTENT_RANGE, content_range(&part, size));
    }
    let body = match method {
        Method::HEAD => Body::empty(),
        _ => Body::from_stream(read(&manager, &caller, found, part).await?),
    };
    Ok((status, described, body).into_response())
}

fn content_range(part: &Range<u64>, size: u64) -> HeaderValue {
    let text = format!("bytes {}-{}/{size}", part.start, part.end.saturating_sub(1));
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("bytes */*"))
}

fn unsatisfiable(size: u64) -> Response {
    let detail = format!("the content has {size} bytes, none of them in the range");
    let problem = Problem::of_status(StatusCode::RANGE_NOT_SATISFIABLE).with_detail(detail);
    let range = [(header::CONTENT_RANGE, format!("bytes */{size}"))];
    (range, problem).into_response()
}

/// Opens the content wherever it is now.
async fn read(
    manager: &FileManager,
    caller: &Caller,
    found: Found,
    part: Range<u64>,
) -> Result<ByteStream, Problem> {
    let mut found = found;
    for _ in 0..MOVES {
        if found.is_stored {
            let bytes = manager
                .blobs()
                .read(found.info.file_id, part.clone())
                .await
                .map_err(blob_problem)?;
            return Ok(counted(bytes, &part, "blob"));
        }
        match manager
            .chunks()
            .read(found.info.upload_id, part.clone())
            .await
        {
            Ok(bytes) => return Ok(counted(bytes, &part, "cache")),
            // It was stored and freed in between, or failed for good.
            Err(ChunkError::NotFound(_)) => {
                found = manager.find(caller, found.info.file_id).await?;
            }
            Err(error @ ChunkError::Unavailable(_)) => return Err(unavailable(&error)),
            Err(error) => return Err(internal(&error)),
        }
    }
    let detail = "the content is being moved; try again";
    Err(Problem::unavailable(Duration::from_secs(1)).with_detail(detail))
}

fn counted(bytes: ByteStream, part: &Range<u64>, from: &'static str) -> ByteStream {
    metrics::counter!(metric::DOWNLOADS, "from" => from).increment(1);
    exact::exact(bytes, part.end - part.start)
}

fn blob_problem(error: BlobError) -> Problem {
    match error {
        BlobError::Unreachable(_) => unavailable(&error),
        _ => internal(&error),
    }
}

fn unavailable(error: &dyn std::fmt::Display) -> Problem {
    tracing::warn!(%error, "a store can't be reached");
    Problem::unavailable(Duration::from_secs(1))
}

fn internal(error: &dyn std::fmt::Display) -> Problem {
    tracing::error!(%error, "the content of a file can't be read");
    Problem::internal()
}
