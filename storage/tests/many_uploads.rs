//! Thousands of uploads at once do not use up the process's file descriptors. Alone in its process, since it counts them.
#![cfg(target_os = "linux")]

use bytes::Bytes;
use futures::future::join_all;
use protocol::UploadId;
use storage::{chunks::ChunkOptions, open_chunks};

const UPLOADS: usize = 3_000;

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd")
        .expect("it can be read")
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_share_the_file_descriptors() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let options = ChunkOptions {
        min_free_bytes: 0,
        ..ChunkOptions::default()
    };
    let cache = open_chunks(&format!("disk:{}", folder.path().display()), &options)
        .await
        .expect("the folder is free");
    let before = open_files();

    let open = async || {
        let upload = UploadId::new();
        (upload, cache.open(upload, 8).await.expect("there is room"))
    };
    let uploads = join_all((0..UPLOADS).map(|_| open())).await;
    for offset in [0, 4] {
        let appends = uploads.iter().map(async |(upload, hold)| {
            let part = vec![Bytes::from_static(b"four").into()];
            cache
                .append(*upload, hold.generation, offset, part)
                .await
                .expect("it is reserved")
        });
        assert_eq!(join_all(appends).await, vec![offset + 4; UPLOADS]);
        assert!(
            open_files() <= before + 2 * options.kept_open,
            "{} files are open",
            open_files()
        );
    }
    let seals = uploads
        .iter()
        .map(async |(upload, hold)| cache.seal(*upload, hold.generation).await);
    join_all(seals)
        .await
        .into_iter()
        .for_each(|sealed| sealed.expect("all is held"));
    assert_eq!(open_files(), before, "sealed uploads keep no file open");
}
