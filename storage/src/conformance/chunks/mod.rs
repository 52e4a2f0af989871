//! What every chunk cache does.

mod reading;
mod room;
mod sealing;
mod writing;

use super::case;
use crate::chunks::{ChunkCache, ChunkError, ChunkOptions, Hold};
use async_trait::async_trait;
use bytes::Bytes;
use protocol::UploadId;
use std::sync::Arc;

/// A chunk cache's storage, empty at first.
#[async_trait]
pub trait ChunkFixture: Send + Sync {
    /// Opens the cache over the storage. What was opened before is dropped by then.
    async fn open(&self, options: &ChunkOptions) -> Arc<dyn ChunkCache>;
}

/// Runs the suite.
///
/// # Panics
/// When the adapter does not do what the port says.
pub async fn chunks<F: ChunkFixture>(make: impl Fn() -> F) {
    case(
        "appends go where the held bytes end",
        writing::order(&make()),
    )
    .await;
    case(
        "nothing added is nothing changed",
        writing::empty_parts(&make()),
    )
    .await;
    case(
        "many parts are written in order",
        writing::many_parts(&make()),
    )
    .await;
    case(
        "what comes while something is added is added too",
        writing::batches(&make()),
    )
    .await;
    case(
        "the newest generation holds the upload",
        writing::generations(&make()),
    )
    .await;
    case(
        "a takeover loses and doubles nothing",
        writing::takeover(&make()),
    )
    .await;
    case(
        "held bytes are there after reopening",
        writing::reopened(&make()),
    )
    .await;
    case(
        "a call cut off leaves before or after",
        writing::cut_off(&make()),
    )
    .await;
    case(
        "64 uploads at once stay apart",
        writing::concurrent(&make()),
    )
    .await;
    case(
        "only whole uploads are sealed",
        sealing::not_all_held(&make()),
    )
    .await;
    case("a sealed upload stays as it is", sealing::sealed(&make())).await;
    case(
        "a sealed upload is there after reopening",
        sealing::reopened(&make()),
    )
    .await;
    case(
        "an upload of no bytes is sealed",
        sealing::of_nothing(&make()),
    )
    .await;
    case(
        "ranges of open and sealed uploads",
        reading::ranges(&make()),
    )
    .await;
    case("uploads of several MiB", reading::large(&make())).await;
    case("readers finish what is removed", reading::removed(&make())).await;
    case("unknown uploads are not found", reading::unknown(&make())).await;
    case("the list has every upload", reading::list(&make())).await;
    case(
        "a full cache refuses and changes nothing",
        room::full(&make()),
    )
    .await;
    case("room taken is counted exactly", room::usage(&make())).await;
}

/// The cache, opened with no limit.
async fn open(fixture: &impl ChunkFixture) -> Arc<dyn ChunkCache> {
    fixture.open(&unlimited()).await
}

fn unlimited() -> ChunkOptions {
    ChunkOptions {
        min_free_bytes: 0,
        ..ChunkOptions::default()
    }
}

/// A new upload.
async fn start(cache: &dyn ChunkCache, size: usize) -> (UploadId, Hold) {
    let upload = UploadId::new();
    let hold = cache
        .open(upload, size as u64)
        .await
        .expect("there is room");
    (upload, hold)
}

/// A new upload of which all of `content` is held.
async fn start_with(cache: &dyn ChunkCache, content: &[u8]) -> (UploadId, Hold) {
    let (upload, hold) = start(cache, content.len()).await;
    append(cache, upload, hold, content).await.expect("it fits");
    (upload, hold)
}

/// A new upload with `content`, sealed.
async fn start_sealed(cache: &dyn ChunkCache, content: &[u8]) -> UploadId {
    let (upload, hold) = start_with(cache, content).await;
    cache
        .seal(upload, hold.generation)
        .await
        .expect("all is held");
    upload
}

/// Adds one piece where the hold says that the held bytes end.
async fn append(
    cache: &dyn ChunkCache,
    upload: UploadId,
    hold: Hold,
    piece: &[u8],
) -> Result<u64, ChunkError> {
    cache
        .append(
            upload,
            hold.generation,
            hold.held,
            vec![Bytes::copy_from_slice(piece).into()],
        )
        .await
}

/// All bytes held.
async fn content(cache: &dyn ChunkCache, upload: UploadId) -> Vec<u8> {
    let held = cache.stat(upload).await.expect("it is there").held;
    super::collect(cache.read(upload, 0..held).await.expect("it is held")).await
}

/// The bytes held where an out-of-order call was refused.
fn expected(refused: Result<impl Sized, ChunkError>) -> u64 {
    match refused {
        Err(ChunkError::OutOfOrder { expected }) => expected,
        Err(other) => panic!("refused for another reason: {other}"),
        Ok(_) => panic!("not refused"),
    }
}
