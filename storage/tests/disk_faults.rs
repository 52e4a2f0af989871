//! A disk that fails, fills up or vanishes: what is refused, and that nothing held or stored is harmed.

use bytes::Bytes;
use protocol::{DigestAlgorithm, FileId, UploadId};
use std::{
    collections::VecDeque,
    io,
    path::Path,
    sync::{Arc, Mutex},
};
use storage::{
    blobs::{BlobError, BlobStore, DiskBlobs, Source},
    chunks::{Batches, ChunkCache, ChunkError, ChunkOptions, DiskChunks, Hold, Piece},
    conformance::{collect, digest, pattern},
    faults::{FaultyFs, FsCall, Script},
    fs::Real,
    open_blobs, open_chunks, open_events,
};
use tempfile::TempDir;

type Faults = Script<FsCall, io::Error>;

fn folder() -> TempDir {
    TempDir::new().expect("a temporary folder")
}

fn options() -> ChunkOptions {
    ChunkOptions {
        min_free_bytes: 0,
        ..ChunkOptions::default()
    }
}

async fn cache(folder: &Path) -> (Arc<dyn ChunkCache>, Faults) {
    let fs = FaultyFs::new(Arc::new(Real));
    let script = fs.script();
    let cache = DiskChunks::open(Arc::new(fs), &folder.join("chunks"), &options())
        .await
        .expect("the folder is free");
    (Arc::new(cache), script)
}

async fn blobs(folder: &Path) -> (DiskBlobs, Faults) {
    let fs = FaultyFs::new(Arc::new(Real));
    let script = fs.script();
    let blobs = DiskBlobs::open(Arc::new(fs), &folder.join("blobs"))
        .await
        .expect("the folder is free");
    (blobs, script)
}

fn full() -> io::Error {
    io::ErrorKind::StorageFull.into()
}

fn over_quota() -> io::Error {
    io::ErrorKind::QuotaExceeded.into()
}

/// `EIO`, which the standard library gives no kind of its own.
fn broken() -> io::Error {
    io::Error::other("input/output error")
}

async fn append(
    cache: &dyn ChunkCache,
    upload: UploadId,
    hold: &mut Hold,
    piece: &[u8],
) -> Result<(), ChunkError> {
    hold.held = cache
        .append(
            upload,
            hold.generation,
            hold.held,
            vec![Bytes::copy_from_slice(piece).into()],
        )
        .await?;
    Ok(())
}

async fn used(cache: &dyn ChunkCache) -> (u64, u64) {
    let usage = cache.usage().await.expect("it is known");
    (usage.held, usage.reserved)
}

async fn held(cache: &dyn ChunkCache, upload: UploadId) -> Vec<u8> {
    let held = cache.stat(upload).await.expect("it is there").held;
    collect(cache.read(upload, 0..held).await.expect("it is held")).await
}

/// Three batches, and what was said of them.
#[derive(Default)]
struct Three(Mutex<(VecDeque<Vec<Piece>>, Vec<u64>)>);

impl Batches for Three {
    fn next(&self) -> Option<Vec<Piece>> {
        self.0.lock().expect("nobody has panicked").0.pop_front()
    }

    fn added(&self, held: u64) {
        self.0.lock().expect("nobody has panicked").1.push(held);
    }
}

#[tokio::test]
async fn a_batch_that_fails_leaves_those_before_it() {
    for (passes, what) in [(2, "bytes"), (3, "record")] {
        let folder = folder();
        let (cache, faults) = cache(folder.path()).await;
        let (upload, bytes) = (UploadId::new(), pattern(2, 9_000));
        let hold = cache.open(upload, 9_000).await.expect("there is room");
        let three = Arc::new(Three::default());
        for batch in bytes.chunks(3_000) {
            let piece = Bytes::copy_from_slice(batch).into();
            three.0.lock().unwrap().0.push_back(vec![piece]);
        }
        faults.fail_after(FsCall::Write, passes, 1, broken);
        let refused = cache
            .append_all(upload, hold.generation, 0, three.clone())
            .await;
        assert!(
            matches!(refused, Err(ChunkError::Unavailable(_))),
            "{what}: {refused:?}"
        );
        assert_eq!(three.0.lock().unwrap().1, [3_000], "{what}");
        assert!(three.next().is_some(), "{what}: the last was not taken");
        assert_eq!(held(&*cache, upload).await, bytes[..3_000], "{what}");

        let mut hold = Hold {
            held: 3_000,
            ..hold
        };
        append(&*cache, upload, &mut hold, &bytes[3_000..])
            .await
            .expect("it goes on from there");
        assert_eq!(held(&*cache, upload).await, bytes, "{what}");
    }
}

#[tokio::test]
async fn a_write_that_fails_leaves_what_is_held() {
    for (passes, what) in [(0, "bytes"), (1, "record")] {
        for error in [full, over_quota, broken] {
            let folder = folder();
            let (cache, faults) = cache(folder.path()).await;
            let (upload, bytes) = (UploadId::new(), pattern(1, 10_000));
            let mut hold = cache.open(upload, 10_000).await.expect("there is room");
            append(&*cache, upload, &mut hold, &bytes[..4_000])
                .await
                .expect("it fits");

            faults.fail_after(FsCall::Write, passes, 1, error);
            let refused = append(&*cache, upload, &mut hold, &bytes[4_000..9_000]).await;
            match (error().kind(), refused) {
                (io::ErrorKind::Other, Err(ChunkError::Unavailable(_)))
                | (_, Err(ChunkError::Full(_))) => {}
                (kind, refused) => panic!("{kind} while writing {what} became {refused:?}"),
            }
            assert_eq!(held(&*cache, upload).await, bytes[..4_000]);
            assert_eq!(used(&*cache).await, (4_000, 6_000));

            append(&*cache, upload, &mut hold, &bytes[4_000..7_000])
                .await
                .expect("the disk works again");
            drop(cache);
            let (cache, _) = self::cache(folder.path()).await;
            let mut hold = cache.resume(upload).await.expect("it is there");
            assert_eq!(hold.held, 7_000);
            append(&*cache, upload, &mut hold, &bytes[7_000..])
                .await
                .expect("it fits");
            cache
                .seal(upload, hold.generation)
                .await
                .expect("all is held");
            assert_eq!(held(&*cache, upload).await, bytes);
        }
    }
}

#[tokio::test]
async fn an_upload_that_can_not_be_made_is_made_by_the_next_append() {
    for call in [
        FsCall::Create,
        FsCall::Write,
        FsCall::CreateFolder,
        FsCall::SyncFolder,
    ] {
        let folder = folder();
        let (cache, faults) = cache(folder.path()).await;
        let (upload, bytes) = (UploadId::new(), pattern(1, 100));
        let mut hold = cache.open(upload, 100).await.expect("there is room");
        faults.fail_next(call, 1, full);
        let refused = append(&*cache, upload, &mut hold, &bytes).await;
        assert!(matches!(refused, Err(ChunkError::Full(_))), "{call:?}");
        assert_eq!(used(&*cache).await, (0, 100));
        assert_eq!(cache.stat(upload).await.expect("it is there").held, 0);
        append(&*cache, upload, &mut hold, &bytes)
            .await
            .expect("the disk works again");
        assert_eq!(used(&*cache).await, (100, 0));
        assert_eq!(held(&*cache, upload).await, bytes);
    }
}

#[tokio::test]
async fn an_open_that_waited_for_one_that_failed_counts() {
    let folder = folder();
    let (cache, faults) = cache(folder.path()).await;
    let upload = UploadId::new();
    faults.fail_next(FsCall::FreeBytes, 1, broken);
    let (failed, waited) = tokio::join!(cache.open(upload, 100), cache.open(upload, 100));
    assert!(matches!(failed, Err(ChunkError::Unavailable(_))));
    waited.expect("the disk works again");
    assert_eq!(cache.stat(upload).await.expect("it is there").held, 0);
    assert_eq!(used(&*cache).await, (0, 100));
}

#[tokio::test]
async fn an_upload_without_bytes_is_sealed_like_any_other() {
    let folder = folder();
    let (cache, _) = cache(folder.path()).await;
    let upload = UploadId::new();
    let hold = cache.open(upload, 0).await.expect("there is room");
    assert_eq!(held(&*cache, upload).await, b"");
    cache
        .seal(upload, hold.generation)
        .await
        .expect("all is held");
    assert_eq!(held(&*cache, upload).await, b"");
}

#[tokio::test]
async fn bytes_that_could_not_be_synced_are_no_longer_held() {
    let folder = folder();
    let (cache, faults) = cache(folder.path()).await;
    let (upload, bytes) = (UploadId::new(), pattern(2, 10_000));
    let mut hold = cache.open(upload, 10_000).await.expect("there is room");
    append(&*cache, upload, &mut hold, &bytes)
        .await
        .expect("it fits");

    faults.fail_next(FsCall::SyncData, 1, broken);
    assert!(matches!(
        cache.seal(upload, hold.generation).await,
        Err(ChunkError::Unavailable(_))
    ));
    let again = cache.seal(upload, hold.generation).await;
    assert!(
        matches!(again, Err(ChunkError::OutOfOrder { expected: 0 })),
        "{again:?}"
    );
    assert_eq!(used(&*cache).await, (0, 10_000));

    hold.held = 0;
    append(&*cache, upload, &mut hold, &bytes)
        .await
        .expect("the disk works again");
    cache
        .seal(upload, hold.generation)
        .await
        .expect("all is held");
    assert_eq!(held(&*cache, upload).await, bytes);
}

#[tokio::test]
async fn a_seal_that_fails_half_way_can_be_repeated() {
    for call in [FsCall::Rename, FsCall::SyncFolder] {
        let folder = folder();
        let (cache, faults) = cache(folder.path()).await;
        let upload = UploadId::new();
        let mut hold = cache.open(upload, 5).await.expect("there is room");
        append(&*cache, upload, &mut hold, b"whole")
            .await
            .expect("it fits");
        faults.fail_next(call, 1, broken);
        assert!(
            matches!(
                cache.seal(upload, hold.generation).await,
                Err(ChunkError::Unavailable(_))
            ),
            "{call:?}"
        );
        let late = append(&*cache, upload, &mut hold, b"x").await;
        assert!(
            matches!(
                late,
                Err(ChunkError::OutOfOrder { expected: 5 } | ChunkError::Sealed(_))
            ),
            "{late:?}"
        );
        cache
            .seal(upload, hold.generation)
            .await
            .expect("the disk works again");
        assert!(cache.stat(upload).await.expect("it is there").sealed);
        assert_eq!(held(&*cache, upload).await, b"whole");
        assert_eq!(used(&*cache).await, (5, 0));
    }
}

#[tokio::test]
async fn what_could_not_be_removed_is_still_there() {
    let folder = folder();
    let (cache, faults) = cache(folder.path()).await;
    let upload = UploadId::new();
    let mut hold = cache.open(upload, 9).await.expect("there is room");
    append(&*cache, upload, &mut hold, b"held")
        .await
        .expect("it fits");
    faults.fail_next(FsCall::Remove, 1, broken);
    assert!(matches!(
        cache.remove(upload).await,
        Err(ChunkError::Unavailable(_))
    ));
    assert_eq!(held(&*cache, upload).await, b"held");
    assert_eq!(used(&*cache).await, (4, 5));
    cache.remove(upload).await.expect("the disk works again");
    assert_eq!(used(&*cache).await, (0, 0));
}

#[tokio::test]
async fn space_that_must_stay_free_is_not_promised() {
    let folder = folder();
    let url = format!("disk:{}", folder.path().display());
    let options = ChunkOptions {
        min_free_bytes: u64::MAX,
        ..ChunkOptions::default()
    };
    let cache = open_chunks(&url, &options)
        .await
        .expect("the folder is free");
    assert!(matches!(
        cache.open(UploadId::new(), 1).await,
        Err(ChunkError::Full(_))
    ));
    assert_eq!(cache.usage().await.expect("it is known").available, 0);
}

#[tokio::test]
async fn a_folder_belongs_to_one_adapter() {
    let folder = folder();
    let url = |name| format!("disk:{}", folder.path().join(name).display());
    let _chunks = open_chunks(&url("chunks"), &options())
        .await
        .expect("the folder is free");
    let _blobs = open_blobs(&url("blobs")).await.expect("the folder is free");
    let chunks = open_chunks(&url("chunks"), &options())
        .await
        .err()
        .expect("it is taken")
        .to_string();
    let blobs = open_blobs(&url("blobs"))
        .await
        .err()
        .expect("it is taken")
        .to_string();
    for error in [chunks, blobs] {
        assert!(
            error.contains("another process uses this folder"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn an_unknown_scheme_is_told_what_there_is() {
    let chunks = open_chunks("ftp://:hidden@there", &options()).await.err();
    let blobs = open_blobs("disk:").await.err();
    let events = open_events("ftp://there").await.err();
    for (error, names, known) in [
        (chunks, "\"ftp:\" names no chunk cache", "disk:<path>"),
        (blobs, "\"disk:\" names no blob store", "disk:<path>"),
        (events, "\"ftp:\" names no event engine", "local:"),
    ] {
        let text = error.expect("there is no such adapter").to_string();
        assert!(text.starts_with(names) && text.contains(known), "{text}");
    }
}

/// A sealed upload in a cache without faults.
async fn sealed(folder: &Path, bytes: &[u8]) -> Source {
    let (cache, _) = cache(folder).await;
    let (upload, size) = (UploadId::new(), bytes.len() as u64);
    let mut hold = cache.open(upload, size).await.expect("there is room");
    append(&*cache, upload, &mut hold, bytes)
        .await
        .expect("it fits");
    cache
        .seal(upload, hold.generation)
        .await
        .expect("all is held");
    Source {
        cache,
        upload,
        size,
        digest: digest(DigestAlgorithm::Sha256, bytes),
    }
}

fn copies(folder: &Path) -> usize {
    std::fs::read_dir(folder.join("blobs/tmp"))
        .expect("it is a folder")
        .count()
}

#[tokio::test]
async fn where_links_are_impossible_blobs_are_copied() {
    use io::ErrorKind::{CrossesDevices, PermissionDenied, TooManyLinks, Unsupported};
    let folder = folder();
    let bytes = pattern(3, 600_000);
    let source = sealed(folder.path(), &bytes).await;
    let (blobs, faults) = blobs(folder.path()).await;
    for kind in [CrossesDevices, PermissionDenied, TooManyLinks, Unsupported] {
        faults.fail_next(FsCall::HardLink, 1, move || kind.into());
        let file = FileId::new();
        blobs.put(file, &source).await.expect("it is copied");
        assert_eq!(
            collect(blobs.read(file, 0..600_000).await.expect("it is there")).await,
            bytes
        );
    }
    assert_eq!(copies(folder.path()), 0);
}

#[tokio::test]
async fn a_put_that_fails_leaves_nothing() {
    let folder = folder();
    let source = sealed(folder.path(), &pattern(4, 600_000)).await;
    let (blobs, faults) = blobs(folder.path()).await;
    for call in [
        FsCall::Create,
        FsCall::Write,
        FsCall::SyncData,
        FsCall::Rename,
    ] {
        for error in [full, broken] {
            let file = FileId::new();
            faults.fail_next(FsCall::HardLink, 1, || io::ErrorKind::CrossesDevices.into());
            faults.fail_next(call, 1, error);
            match (error().kind(), blobs.put(file, &source).await) {
                (io::ErrorKind::Other, Err(BlobError::Failed(_)))
                | (_, Err(BlobError::Full(_))) => {}
                (kind, put) => panic!("{kind} at {call:?} became {put:?}"),
            }
            assert!(
                matches!(blobs.size(file).await, Err(BlobError::NotFound(_))),
                "{call:?}"
            );
            assert_eq!(copies(folder.path()), 0);
            blobs
                .put(file, &source)
                .await
                .expect("the disk works again");
        }
    }
}

#[tokio::test]
async fn a_put_whose_sync_failed_is_synced_when_it_is_repeated() {
    let folder = folder();
    let source = sealed(folder.path(), b"linked").await;
    let (blobs, faults) = blobs(folder.path()).await;
    let file = FileId::new();
    // The first sync is that of the folder that its own is made in.
    faults.fail_after(FsCall::SyncFolder, 1, 1, broken);
    assert!(matches!(
        blobs.put(file, &source).await,
        Err(BlobError::Failed(_))
    ));
    let before = faults.calls(FsCall::SyncFolder);
    blobs
        .put(file, &source)
        .await
        .expect("the disk works again");
    assert!(faults.calls(FsCall::SyncFolder) > before);
}

#[tokio::test]
async fn a_store_that_can_not_be_written_to_is_unreachable() {
    let folder = folder();
    let source = sealed(folder.path(), b"waits").await;
    let (blobs, faults) = blobs(folder.path()).await;
    let file = FileId::new();
    blobs.ping().await.expect("it answers");

    faults.fail_everything(broken);
    assert!(matches!(
        blobs.put(file, &source).await,
        Err(BlobError::Unreachable(_))
    ));
    assert!(matches!(
        blobs.size(file).await,
        Err(BlobError::Unreachable(_))
    ));
    assert!(matches!(blobs.ping().await, Err(BlobError::Unreachable(_))));
    faults.heal();
    faults.fail_always(FsCall::Create, full);
    blobs.ping().await.expect("full is not unreachable");
    faults.heal();

    // As when the disk is not mounted.
    let (away, root) = (folder.path().join("away"), folder.path().join("blobs"));
    std::fs::rename(&root, &away).expect("it can be moved");
    assert!(matches!(
        blobs.put(file, &source).await,
        Err(BlobError::Unreachable(_))
    ));
    assert!(matches!(
        blobs.size(file).await,
        Err(BlobError::Unreachable(_))
    ));
    assert!(matches!(blobs.ping().await, Err(BlobError::Unreachable(_))));
    std::fs::rename(&away, &root).expect("it can be moved back");
    blobs.put(file, &source).await.expect("it answers again");
}

#[tokio::test]
async fn half_copied_blobs_are_swept_at_start() {
    let folder = folder();
    drop(blobs(folder.path()).await);
    std::fs::write(folder.path().join("blobs/tmp/half.0"), b"half").expect("it can be written");
    let (blobs, _) = blobs(folder.path()).await;
    blobs.ping().await.expect("it answers");
    assert_eq!(copies(folder.path()), 0);
}
