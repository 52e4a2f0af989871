//! Uploads that are written past the page cache hold the same bytes, whatever comes in which pieces and from where in memory.

use bytes::Bytes;
use protocol::UploadId;
use std::{io, path::Path, sync::Arc};
use storage::{
    chunks::{
        ChunkCache, ChunkError, ChunkOptions, DiskChunks, Hold, Piece, SealedContent, Writes,
    },
    conformance::{collect, pattern},
    faults::{FaultyFs, FsCall, Script},
    fs::{BLOCK, Real},
};
use tempfile::TempDir;

const SIZE: usize = 1_300_000;

fn options(writes: Writes) -> ChunkOptions {
    ChunkOptions {
        min_free_bytes: 0,
        writes,
        ..ChunkOptions::default()
    }
}

/// The temporary folder may be in memory, where some systems take no direct writes: next to the binaries there is a disk.
fn folder() -> TempDir {
    TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary folder")
}

async fn open(
    folder: &Path,
    options: &ChunkOptions,
    faults: impl FnOnce(&Script<FsCall, io::Error>),
) -> io::Result<(Arc<dyn ChunkCache>, Script<FsCall, io::Error>)> {
    let fs = FaultyFs::new(Arc::new(Real));
    let script = fs.script();
    faults(&script);
    let cache = DiskChunks::open(Arc::new(fs), folder, options).await?;
    Ok((Arc::new(cache), script))
}

/// `bytes` at an aligned place in memory.
fn aligned(bytes: &[u8]) -> Bytes {
    let mut room = vec![0; bytes.len() + BLOCK];
    let start = room.as_ptr().align_offset(BLOCK);
    room[start..start + bytes.len()].copy_from_slice(bytes);
    Bytes::from(room).slice(start..start + bytes.len())
}

/// `bytes` at a place in memory that is not aligned.
fn odd(bytes: &[u8]) -> Bytes {
    aligned(&[&[0], bytes].concat()).slice(1..)
}

async fn append(cache: &dyn ChunkCache, upload: UploadId, hold: &mut Hold, parts: Vec<Bytes>) {
    let parts = parts.into_iter().map(Piece::from).collect();
    hold.held = cache
        .append(upload, hold.generation, hold.held, parts)
        .await
        .expect("it fits");
}

async fn is_whole(cache: &dyn ChunkCache, upload: UploadId, hold: Hold, bytes: &[u8]) {
    assert_eq!(hold.held, bytes.len() as u64);
    let read = cache.read(upload, 0..hold.held).await.expect("it is held");
    assert!(collect(read).await == bytes);
    cache
        .seal(upload, hold.generation)
        .await
        .expect("all is held");
    let Ok(SealedContent::File(path)) = cache.sealed(upload).await else {
        panic!("it is a file");
    };
    assert!(std::fs::read(path).expect("it is there") == bytes);
}

#[tokio::test]
async fn the_same_bytes_are_held_whatever_the_pieces() {
    let bytes = pattern(1, SIZE);
    let place: [fn(&[u8]) -> Bytes; 2] = [aligned, odd];
    for kept_open in [0, 1] {
        for len in [
            1_000, 4_096, 65_536, 65_537, 262_144, 300_000, 700_001, SIZE,
        ] {
            for place in place {
                let folder = folder();
                let options = ChunkOptions {
                    kept_open,
                    ..options(Writes::Auto)
                };
                let (cache, _) = open(folder.path(), &options, |_| ())
                    .await
                    .expect("it is free");
                let upload = UploadId::new();
                let mut hold = cache
                    .open(upload, SIZE as u64)
                    .await
                    .expect("there is room");
                // One part in each append, then three.
                let mut left = &bytes[..];
                for parts in [1, 3].into_iter().cycle() {
                    let (now, later) = left.split_at(left.len().min(parts * len));
                    let parts = now.chunks(len).map(place).collect();
                    append(&*cache, upload, &mut hold, parts).await;
                    left = later;
                    if left.is_empty() {
                        break;
                    }
                }
                is_whole(&*cache, upload, hold, &bytes).await;
            }
        }
    }
}

#[tokio::test]
async fn a_process_that_ended_is_gone_on_from_any_length() {
    let bytes = pattern(2, SIZE);
    for held in [262_144, 262_145, 266_239] {
        let folder = folder();
        let opened = open(folder.path(), &options(Writes::Auto), |_| ()).await;
        let (cache, _) = opened.expect("it is free");
        let upload = UploadId::new();
        let mut hold = cache
            .open(upload, SIZE as u64)
            .await
            .expect("there is room");
        append(&*cache, upload, &mut hold, vec![aligned(&bytes[..held])]).await;
        drop(cache);
        let opened = open(folder.path(), &options(Writes::Auto), |_| ()).await;
        let (cache, _) = opened.expect("it is free");
        let mut hold = cache.resume(upload).await.expect("it is there");
        assert_eq!(hold.held, held as u64);
        append(&*cache, upload, &mut hold, vec![aligned(&bytes[held..])]).await;
        is_whole(&*cache, upload, hold, &bytes).await;
    }
}

#[tokio::test]
async fn a_write_that_fails_leaves_what_is_held() {
    let bytes = pattern(3, SIZE);
    // Of the writes of one append: the staged ones, and the record.
    for passes in 0..4 {
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::Other] {
            let folder = folder();
            let opened = open(folder.path(), &options(Writes::Auto), |_| ()).await;
            let (cache, faults) = opened.expect("it is free");
            let upload = UploadId::new();
            let mut hold = cache
                .open(upload, SIZE as u64)
                .await
                .expect("there is room");
            append(&*cache, upload, &mut hold, vec![odd(&bytes[..100_001])]).await;
            faults.fail_after(FsCall::Write, passes, 1, move || kind.into());
            let parts = vec![odd(&bytes[100_001..700_000]).into()];
            let refused = cache
                .append(upload, hold.generation, hold.held, parts)
                .await;
            match (kind, refused) {
                (io::ErrorKind::StorageFull, Err(ChunkError::Full(_)))
                | (io::ErrorKind::Other, Err(ChunkError::Unavailable(_))) => {}
                (kind, refused) => panic!("{kind} became {refused:?}"),
            }
            let usage = cache.usage().await.expect("it is known");
            assert_eq!(
                (usage.held, usage.held + usage.reserved),
                (100_001, SIZE as u64)
            );
            append(&*cache, upload, &mut hold, vec![aligned(&bytes[100_001..])]).await;
            is_whole(&*cache, upload, hold, &bytes).await;
        }
    }
}

/// How many files were opened for direct writes by an upload of this size, once it has begun.
async fn direct_opens(writes: Writes, size: u64) -> usize {
    let folder = folder();
    let opened = open(folder.path(), &options(writes), |_| ()).await;
    let (cache, faults) = opened.expect("it is free");
    let before = faults.calls(FsCall::OpenDirect);
    let upload = UploadId::new();
    let mut hold = cache.open(upload, size).await.expect("there is room");
    append(&*cache, upload, &mut hold, vec![odd(b"begun")]).await;
    faults.calls(FsCall::OpenDirect) - before
}

#[tokio::test]
async fn small_uploads_and_those_of_who_wants_it_go_through_the_page_cache() {
    assert_eq!(direct_opens(Writes::Direct, SIZE as u64).await, 1);
    assert_eq!(direct_opens(Writes::Auto, SIZE as u64).await, 1);
    assert_eq!(direct_opens(Writes::Auto, 1_000).await, 0);
    assert_eq!(direct_opens(Writes::Buffered, SIZE as u64).await, 0);
}

#[tokio::test]
async fn a_file_system_may_refuse_direct_writes() {
    let refuses = |faults: &Script<FsCall, io::Error>| {
        faults.fail_always(FsCall::OpenDirect, || io::ErrorKind::InvalidInput.into());
    };
    let folder = folder();
    let opened = open(folder.path(), &options(Writes::Direct), refuses).await;
    let error = opened.err().expect("it is asked for what it can't do");
    assert!(error.to_string().contains("chunks.writes"), "{error}");

    let opened = open(folder.path(), &options(Writes::Auto), refuses).await;
    let (cache, _) = opened.expect("it does without");
    let (upload, bytes) = (UploadId::new(), pattern(4, SIZE));
    let mut hold = cache
        .open(upload, SIZE as u64)
        .await
        .expect("there is room");
    append(&*cache, upload, &mut hold, vec![aligned(&bytes)]).await;
    is_whole(&*cache, upload, hold, &bytes).await;
}
