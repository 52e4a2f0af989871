//! What the disk cache makes of files that a crash, a failing disk or a person left behind.

use bytes::Bytes;
use protocol::UploadId;
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};
use storage::{
    chunks::{ChunkCache, ChunkError, ChunkOptions},
    conformance::{collect, pattern},
    open_chunks,
};
use tempfile::TempDir;

const BATCH: usize = 10_000;

/// Bytes of a slot's header, and of each record behind it.
const HEADER: usize = 48;
const RECORD: usize = 16;

/// Bytes that a record covers before the next one begins.
const RECORD_COVERS: u64 = 64 * 1024;

async fn open(folder: &Path) -> Arc<dyn ChunkCache> {
    let options = ChunkOptions {
        min_free_bytes: 0,
        ..ChunkOptions::default()
    };
    open_chunks(&format!("disk:{}", folder.display()), &options)
        .await
        .expect("the folder is free")
}

/// An upload of 200,000 bytes that was being written when its process ended, 190,000 of them held.
struct Interrupted {
    folder: TempDir,
    upload: UploadId,
    bytes: Vec<u8>,
}

impl Interrupted {
    const HELD: u64 = 190_000;

    async fn new() -> Self {
        let this = Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
            upload: UploadId::new(),
            bytes: pattern(1, 200_000),
        };
        let cache = open(this.folder.path()).await;
        let hold = cache
            .open(this.upload, 200_000)
            .await
            .expect("there is room");
        for (number, batch) in this.bytes[..190_000].chunks(BATCH).enumerate() {
            let offset = (number * BATCH) as u64;
            let parts = vec![Bytes::copy_from_slice(batch).into()];
            cache
                .append(this.upload, hold.generation, offset, parts)
                .await
                .expect("it fits");
        }
        this
    }

    fn file(&self, suffix: &str) -> PathBuf {
        let shard = format!("{:02x}", self.upload.0.as_bytes()[15] % 16);
        self.folder
            .path()
            .join(shard)
            .join(format!("{}.{suffix}", self.upload))
    }

    /// The file of the records. The upload has the first slot.
    fn records(&self) -> PathBuf {
        self.folder.path().join("records")
    }

    fn change_part(&self, change: impl FnOnce(&mut Vec<u8>)) {
        change_file(&self.file("part"), change);
    }

    fn change_records(&self, change: impl FnOnce(&mut Vec<u8>)) {
        change_file(&self.records(), change);
    }

    /// The bytes held after a restart, having checked that all is well with them and that the upload can be finished.
    async fn held(&self) -> u64 {
        let len = fs::metadata(self.file("part")).expect("it is there").len();
        let cache = open(self.folder.path()).await;
        let before = cache.usage().await.expect("it is known");
        assert_eq!(before.held + before.reserved, 200_000);
        assert!(before.held <= len, "no more than there is can be held");
        let hold = cache.resume(self.upload).await.expect("it is there");
        let start = usize::try_from(hold.held).expect("it is in memory");
        let held = cache
            .read(self.upload, 0..hold.held)
            .await
            .expect("it is held");
        assert!(collect(held).await == self.bytes[..start]);
        assert_eq!(
            fs::metadata(self.file("part")).expect("it is there").len(),
            hold.held,
            "the rest is cut off"
        );
        let usage = cache.usage().await.expect("it is known");
        assert_eq!(
            (usage.held, usage.reserved),
            (hold.held, 200_000 - hold.held)
        );

        let rest = vec![Bytes::copy_from_slice(&self.bytes[start..]).into()];
        cache
            .append(self.upload, hold.generation, hold.held, rest)
            .await
            .expect("it continues");
        cache
            .seal(self.upload, hold.generation)
            .await
            .expect("all is held");
        assert_eq!(
            fs::read(self.file("sealed")).expect("it is there"),
            self.bytes
        );
        hold.held
    }

    async fn is_gone(&self) {
        let cache = open(self.folder.path()).await;
        assert!(matches!(
            cache.stat(self.upload).await,
            Err(ChunkError::NotFound(_))
        ));
        assert!(!self.file("part").exists(), "nothing is left behind");
        let usage = cache.usage().await.expect("it is known");
        assert_eq!((usage.held, usage.reserved), (0, 0));
        assert_eq!(
            cache
                .open(self.upload, 200_000)
                .await
                .expect("there is room")
                .held,
            0
        );
    }
}

fn change_file(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut content = fs::read(path).expect("it is there");
    change(&mut content);
    fs::write(path, content).expect("it can be written");
}

#[tokio::test]
async fn a_length_beyond_the_records_is_not_believed() {
    let upload = Interrupted::new().await;
    upload.change_part(|part| part.resize(250_000, 0));
    assert_eq!(upload.held().await, Interrupted::HELD);
}

#[tokio::test]
async fn records_beyond_the_length_are_not_believed() {
    let upload = Interrupted::new().await;
    upload.change_part(|part| part.truncate(100_000));
    let held = upload.held().await;
    assert!(
        (100_000 - RECORD_COVERS..=100_000).contains(&held),
        "{held}"
    );
}

#[tokio::test]
async fn damage_costs_no_more_than_the_records_from_there() {
    for at in [0, 65_000, 150_000, 189_999] {
        let upload = Interrupted::new().await;
        upload.change_part(|part| part[at] ^= 1);
        let held = upload.held().await;
        assert!(
            held <= at as u64 && held + RECORD_COVERS > at as u64,
            "{held} for {at}"
        );
    }
}

#[tokio::test]
async fn a_torn_or_damaged_record_ends_what_is_held() {
    let upload = Interrupted::new().await;
    upload.change_records(|records| records.truncate(records.len() - 1));
    assert!((1..Interrupted::HELD).contains(&upload.held().await));

    for byte in [0, 8, 12] {
        let upload = Interrupted::new().await;
        upload.change_records(|records| records[HEADER + RECORD + byte] ^= 1);
        let held = upload.held().await;
        assert!((1..=RECORD_COVERS).contains(&held), "{held}");
    }
}

#[tokio::test]
async fn what_lies_behind_the_records_is_taken_away() {
    let upload = Interrupted::new().await;
    let before = fs::read(upload.records()).expect("it is there");
    upload.change_records(|records| records.resize(4096, 7));
    let cache = open(upload.folder.path()).await;
    assert_eq!(
        cache.stat(upload.upload).await.expect("it is there").held,
        Interrupted::HELD
    );
    let after = fs::read(upload.records()).expect("it is there");
    assert_eq!(after[..before.len()], before);
    assert!(after[before.len()..].iter().all(|byte| *byte == 0));
    drop(cache);
    assert_eq!(upload.held().await, Interrupted::HELD);
}

#[tokio::test]
async fn records_of_the_slots_last_upload_are_not_believed() {
    let upload = Interrupted::new().await;
    let cache = open(upload.folder.path()).await;
    cache
        .remove(upload.upload)
        .await
        .expect("it can be removed");
    let next = UploadId::new();
    let hold = cache.open(next, 200_000).await.expect("there is room");
    // The same bytes, so that all of the old records but the stamp would fit them.
    let parts = vec![Bytes::copy_from_slice(&upload.bytes[..BATCH]).into()];
    cache
        .append(next, hold.generation, 0, parts)
        .await
        .expect("it fits");
    drop(cache);
    let shard = format!("{:02x}", next.0.as_bytes()[15] % 16);
    let path = upload
        .folder
        .path()
        .join(shard)
        .join(format!("{next}.part"));
    fs::write(path, &upload.bytes).expect("it can be written");
    let cache = open(upload.folder.path()).await;
    let held = cache.resume(next).await.expect("it is there").held;
    assert_eq!(held, BATCH as u64);
}

#[tokio::test]
async fn of_two_slots_the_newer_one_counts() {
    let upload = Interrupted::new().await;
    let old = fs::read(upload.records()).expect("it is there");
    let cache = open(upload.folder.path()).await;
    cache
        .remove(upload.upload)
        .await
        .expect("it can be removed");
    let hold = cache
        .open(upload.upload, 200_000)
        .await
        .expect("there is room");
    let parts = vec![Bytes::copy_from_slice(&upload.bytes[..1000]).into()];
    cache
        .append(upload.upload, hold.generation, 0, parts)
        .await
        .expect("it fits");
    drop(cache);
    // As if the upload had been opened anew in another slot than its first.
    upload.change_records(|records| {
        records.resize(4096, 0);
        records.extend_from_slice(&old);
    });
    let cache = open(upload.folder.path()).await;
    let held = cache.resume(upload.upload).await.expect("it is there").held;
    assert_eq!(held, 1000);
}

#[tokio::test]
async fn what_a_slot_says_of_an_earlier_life_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let (upload, bytes) = (UploadId::new(), Bytes::from(pattern(5, 1_000)));
    let cache = open(folder.path()).await;
    let hold = cache.open(upload, 1_000).await.unwrap();
    let parts = vec![bytes.slice(..500).into()];
    cache
        .append(upload, hold.generation, 0, parts)
        .await
        .unwrap();
    cache.remove(upload).await.unwrap();
    cache.open(upload, 1_000).await.unwrap();
    // It makes the file, with nothing in it.
    let nothing = cache.read(upload, 0..0).await.unwrap();
    assert!(collect(nothing).await.is_empty());
    drop(cache);

    let cache = open(folder.path()).await;
    assert!(matches!(
        cache.stat(upload).await,
        Err(ChunkError::NotFound(_))
    ));
    let usage = cache.usage().await.unwrap();
    assert_eq!((usage.held, usage.reserved), (0, 0));
}

#[tokio::test]
async fn without_a_whole_header_it_was_never_opened() {
    let changes: [fn(&mut Vec<u8>); 4] = [
        |records| records[25] ^= 1,
        |records| records[10] ^= 1,
        |records| records.truncate(20),
        |records| records.fill(0),
    ];
    for change in changes {
        let upload = Interrupted::new().await;
        upload.change_records(change);
        upload.is_gone().await;
    }
}

#[tokio::test]
async fn half_of_the_files_is_no_upload() {
    for missing in [Interrupted::records, |upload: &Interrupted| {
        upload.file("part")
    }] {
        let upload = Interrupted::new().await;
        fs::remove_file(missing(&upload)).expect("it is there");
        upload.is_gone().await;
    }
}

#[tokio::test]
async fn what_others_put_there_is_left_alone() {
    let upload = Interrupted::new().await;
    let foreign = [
        upload.file("note"),
        upload.folder.path().join("readme.txt"),
        upload.file("part").with_file_name("x.crc"),
    ];
    for path in &foreign {
        fs::write(path, b"mine").expect("it can be written");
    }
    assert_eq!(upload.held().await, Interrupted::HELD);
    assert!(foreign.iter().all(|path| path.exists()));
}

#[tokio::test]
async fn small_appends_do_not_make_many_records() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cache = open(folder.path()).await;
    let upload = UploadId::new();
    let hold = cache.open(upload, 2_000).await.expect("there is room");
    for (offset, byte) in pattern(2, 2_000).into_iter().enumerate() {
        let parts = vec![Bytes::from(vec![byte]).into()];
        cache
            .append(upload, hold.generation, offset as u64, parts)
            .await
            .expect("it fits");
    }
    drop(cache);
    let records = fs::metadata(folder.path().join("records"));
    let len = records.expect("it is there").len();
    assert_eq!(len, (HEADER + RECORD) as u64, "one record");
    assert_eq!(
        open(folder.path())
            .await
            .resume(upload)
            .await
            .expect("it is there")
            .held,
        2_000
    );
}
