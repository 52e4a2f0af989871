//! Other clients of GridFS read what is stored here.

use crate::{
    engine::program,
    support::{Cache, Database},
};
use futures::io::AsyncReadExt;
use mongodb::bson::{Bson, doc};
use protocol::FileId;
use std::process::Command;
use storage::{conformance::pattern, open_blobs};

/// More than a batch, and not a whole number of chunks.
const LEN: usize = 9_000_001;

#[tokio::test(flavor = "multi_thread")]
async fn mongofiles_gets_the_bytes() {
    let program = program("TEST_MONGOFILES", "mongofiles");
    let (database, cache) = (Database::new(), Cache::new());
    let store = open_blobs(&database.url).await.expect("the URL is good");
    let bytes = pattern(1, LEN);
    let (file, other) = (FileId::new(), FileId::new());
    store
        .put(file, &cache.sealed(&bytes).await)
        .await
        .expect("it can be stored");
    store
        .put(other, &cache.sealed(b"x").await)
        .await
        .expect("it can be stored");

    let folder = tempfile::tempdir().expect("a temporary folder");
    let target = folder.path().join("got");
    for verb in ["get", "get_id"] {
        let mut command = Command::new(&program);
        command
            .args(["--uri", &database.url, "--db", &database.name, "--local"])
            .arg(&target)
            .args([verb, &file.to_string()]);
        let run = command.output().expect("mongofiles runs");
        assert!(
            run.status.success(),
            "{verb}: {}",
            String::from_utf8_lossy(&run.stderr)
        );
        assert!(
            std::fs::read(&target).expect("it was written") == bytes,
            "{verb}"
        );
        std::fs::remove_file(&target).expect("it is there");
    }
    database.drop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_driver_of_mongodb_gets_the_bytes() {
    let (database, cache) = (Database::new(), Cache::new());
    let store = open_blobs(&database.url).await.expect("the URL is good");
    let bytes = pattern(2, LEN);
    let (file, source) = (FileId::new(), cache.sealed(&bytes).await);
    store.put(file, &source).await.expect("it can be stored");

    let bucket = database
        .client()
        .await
        .database(&database.name)
        .gridfs_bucket(None);
    let id = Bson::String(file.to_string());
    let mut download = bucket
        .open_download_stream(id.clone())
        .await
        .expect("it is there");
    let mut read = Vec::new();
    download
        .read_to_end(&mut read)
        .await
        .expect("it can be read");
    assert!(read == bytes);
    let entry = bucket
        .find_one(doc! { "_id": id })
        .await
        .expect("it answers")
        .expect("it is there");
    assert_eq!(entry.length, LEN as u64);
    assert_eq!(entry.filename, Some(file.to_string()));
    let metadata = entry.metadata.expect("it has some");
    assert_eq!(
        metadata.get_str("digest").expect("it is text"),
        source.digest.to_string()
    );

    let chunks = database.collection("fs.chunks").await;
    let indexes = chunks.list_index_names().await.expect("it answers");
    assert!(
        indexes.contains(&"files_id_1_n_1".to_owned()),
        "{indexes:?}"
    );
    database.drop_all().await;
}

/// What another client stored, of another chunk size, is read by its id.
#[tokio::test(flavor = "multi_thread")]
async fn blobs_of_another_chunk_size_are_read() {
    use futures::io::AsyncWriteExt;
    let database = Database::new();
    let store = open_blobs(&database.url).await.expect("the URL is good");
    let bucket = database
        .client()
        .await
        .database(&database.name)
        .gridfs_bucket(None);
    let (file, bytes) = (FileId::new(), pattern(3, 1_000_000));
    let upload = bucket
        .open_upload_stream("any")
        .id(Bson::String(file.to_string()))
        .chunk_size_bytes(1000);
    let mut upload = upload.await.expect("it opens");
    upload.write_all(&bytes).await.expect("it is written");
    upload.close().await.expect("it is written");
    // And one that is none of ours at all.
    let mut stranger = bucket
        .open_upload_stream("stranger")
        .await
        .expect("it opens");
    stranger.write_all(b"foreign").await.expect("it is written");
    stranger.close().await.expect("it is written");

    assert!(crate::support::content(&*store, file).await == bytes);
    let part = store.read(file, 999..2001).await.expect("it is there");
    assert!(storage::conformance::collect(part).await == bytes[999..2001]);
    let listed = crate::support::listed(&*store).await;
    assert_eq!(
        listed
            .iter()
            .map(|blob| (blob.file, blob.whole))
            .collect::<Vec<_>>(),
        [(file, true)]
    );
    database.drop_all().await;
}
