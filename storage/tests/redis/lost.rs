//! What Redis has lost: everything, a block, the functions.

use crate::{append, content, server::Server, start_with};
use protocol::UploadId;
use storage::{
    chunks::{ChunkError, ChunkOptions},
    conformance::pattern,
};

#[tokio::test]
async fn after_everything_was_lost_a_late_write_of_an_older_holder_changes_nothing() {
    let server = Server::start(&[]).await;
    let (frozen, other) = (server.cache().await, server.cache().await);
    let bytes = pattern(1, 300_000);
    let (upload, old) = start_with(&*frozen, bytes.len(), &bytes[..100_000]).await;
    server.ask::<()>("FLUSHALL").await;

    let lost = append(&*frozen, upload, old, &bytes[100_000..]).await;
    assert!(
        matches!(lost, Err(ChunkError::NotFound(id)) if id == upload),
        "{lost:?}"
    );
    let seal = frozen.seal(upload, old.generation).await;
    assert!(matches!(seal, Err(ChunkError::NotFound(_))), "{seal:?}");

    let new = other
        .open(upload, bytes.len() as u64)
        .await
        .expect("there is room");
    assert!(new.generation > old.generation, "{old:?} became {new:?}");
    assert_eq!(new.held, 0);
    for held in [old.held, 0] {
        let late = storage::chunks::Hold { held, ..old };
        let refused = append(&*frozen, upload, late, &bytes[100_000..]).await;
        assert!(
            matches!(refused, Err(ChunkError::Superseded { .. })),
            "{refused:?}"
        );
    }
    append(&*other, upload, new, &bytes)
        .await
        .expect("it is held");
    other
        .seal(upload, new.generation)
        .await
        .expect("all is held");
    assert!(content(&*frozen, upload).await == bytes);
}

/// Whole blocks are sent before it is decided whether they are wanted.
#[tokio::test]
async fn blocks_that_were_refused_leave_nothing_behind() {
    let server = Server::start(&[]).await;
    let cache = server.cache().await;
    let block = 256 << 10;
    let bytes = pattern(5, 4 * block);
    let (upload, old) = start_with(&*cache, bytes.len(), &bytes[..block]).await;
    let new = cache.resume(upload).await.expect("it is there");
    let keys = server.upload_keys().await.len();
    let misplaced = storage::chunks::Hold { held: 0, ..new };
    let (late, misplaced) = tokio::join!(
        append(&*cache, upload, old, &bytes[block..3 * block]),
        append(&*cache, upload, misplaced, &bytes[..block]),
    );
    assert!(
        matches!(late, Err(ChunkError::Superseded { .. })),
        "{late:?}"
    );
    assert!(
        matches!(misplaced, Err(ChunkError::OutOfOrder { expected }) if expected == block as u64),
        "{misplaced:?}"
    );
    assert_eq!(server.upload_keys().await.len(), keys);

    append(&*cache, upload, new, &bytes[block..])
        .await
        .expect("it is held");
    cache
        .seal(upload, new.generation)
        .await
        .expect("all is held");
    let sealed = storage::chunks::Hold { held: 0, ..new };
    let refused = append(&*cache, upload, sealed, &bytes).await;
    assert!(matches!(refused, Err(ChunkError::Sealed(_))), "{refused:?}");
    assert_eq!(
        server.upload_keys().await.len(),
        5,
        "a record and four blocks"
    );
    assert!(content(&*cache, upload).await == bytes);
    cache.remove(upload).await.expect("it can be removed");
    let refused = append(&*cache, upload, sealed, &bytes).await;
    assert!(
        matches!(refused, Err(ChunkError::NotFound(_))),
        "{refused:?}"
    );
    assert!(server.upload_keys().await.is_empty());
}

#[tokio::test]
async fn a_sealed_upload_that_was_lost_is_not_found() {
    let server = Server::start(&[]).await;
    let cache = server.cache().await;
    let bytes = pattern(2, 1000);
    let (upload, hold) = start_with(&*cache, 1000, &bytes).await;
    cache
        .seal(upload, hold.generation)
        .await
        .expect("all is held");
    server.ask::<()>("FLUSHALL").await;
    for refused in [
        cache.sealed(upload).await.map(drop),
        cache.stat(upload).await.map(drop),
        cache.read(upload, 0..1000).await.map(drop),
        cache.seal(upload, hold.generation).await,
    ] {
        assert!(
            matches!(refused, Err(ChunkError::NotFound(_))),
            "{refused:?}"
        );
    }
    cache
        .remove(upload)
        .await
        .expect("removing what is not there is no error");
    assert!(cache.list().await.expect("it can be listed").is_empty());
    assert_eq!(cache.usage().await.expect("it is known").held, 0);
}

#[tokio::test]
async fn the_functions_are_made_known_again() {
    let server = Server::start(&[]).await;
    let cache = server.cache().await;
    let bytes = pattern(3, 600_000);
    let (upload, mut hold) = start_with(&*cache, bytes.len(), &bytes[..200_000]).await;
    server.ask::<()>("SCRIPT FLUSH").await;
    hold.held = append(&*cache, upload, hold, &bytes[200_000..])
        .await
        .expect("it is held");
    server.ask::<()>("SCRIPT FLUSH").await;
    cache
        .seal(upload, hold.generation)
        .await
        .expect("all is held");
    server.ask::<()>("SCRIPT FLUSH").await;
    assert!(content(&*cache, upload).await == bytes);
    server.ask::<()>("SCRIPT FLUSH").await;
    cache.remove(upload).await.expect("it can be removed");
    assert!(server.upload_keys().await.is_empty());
}

/// Loses the block of this number.
async fn lose_block(server: &Server, number: u64) {
    let keys = server.keys().await;
    let end = format!(":{number}");
    let block = keys
        .iter()
        .find(|key| key.ends_with(&end))
        .expect("there is one");
    server.ask::<()>(&format!("DEL {block}")).await;
}

#[tokio::test]
async fn an_upload_goes_on_from_the_first_block_that_was_lost() {
    let server = Server::start(&[]).await;
    let cache = server.cache().await;
    let bytes = pattern(4, 3_500_000);
    let (upload, hold) = start_with(&*cache, bytes.len(), &bytes[..3_200_000]).await;

    // A writer that goes on in a block that is no longer there is told.
    let block = 256 << 10;
    lose_block(&server, 12).await;
    let refused = append(&*cache, upload, hold, &bytes[3_200_000..]).await;
    assert!(
        matches!(refused, Err(ChunkError::OutOfOrder { expected }) if expected == block * 12),
        "{refused:?}"
    );

    // Who reads it or takes hold of it is told the truth; so is who seals it.
    lose_block(&server, 1).await;
    let refused = cache.read(upload, 0..block * 12).await.map(drop);
    assert!(
        matches!(refused, Err(ChunkError::OutOfOrder { expected }) if expected == block),
        "{refused:?}"
    );
    let hold = cache.resume(upload).await.expect("it is there");
    assert_eq!(hold.held, block);
    let start = usize::try_from(block).expect("it is in memory");
    append(&*cache, upload, hold, &bytes[start..])
        .await
        .expect("it is held");
    assert!(content(&*cache, upload).await == bytes);
    lose_block(&server, 2).await;
    let refused = cache.seal(upload, hold.generation).await;
    assert!(
        matches!(refused, Err(ChunkError::OutOfOrder { expected }) if expected == 2 * block),
        "{refused:?}"
    );
}

#[tokio::test]
async fn what_broke_off_between_entering_and_making_is_listed_and_can_be_removed() {
    let server = Server::start(&[]).await;
    let options = ChunkOptions {
        max_bytes: Some(1000),
        ..ChunkOptions::default()
    };
    let cache = server.cache_with(&options).await;
    let upload = UploadId::new();
    cache.open(upload, 900).await.expect("there is room");
    let keys = server.upload_keys().await;
    assert_eq!(keys.len(), 1, "{keys:?}");
    server.ask::<()>(&format!("DEL {}", keys[0])).await;

    let listed = cache.list().await.expect("it can be listed");
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (listed[0].upload, listed[0].held, listed[0].sealed),
        (upload, 0, false)
    );
    let age = listed[0].touched.elapsed().unwrap_or_default();
    assert!(age.as_secs() < 60, "touched {:?}", listed[0].touched);
    let full = cache.open(UploadId::new(), 200).await;
    assert!(matches!(full, Err(ChunkError::Busy(_))), "{full:?}");
    // Going on with it needs no more room.
    cache.open(upload, 900).await.expect("it was promised");
    cache.remove(upload).await.expect("it can be removed");
    assert!(cache.list().await.expect("it can be listed").is_empty());
    assert_eq!(cache.usage().await.expect("it is known").available, 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn opening_and_removing_at_once_leaves_nothing_unlisted() {
    let server = Server::start(&[]).await;
    let cache = server.cache().await;
    for _ in 0..200 {
        let upload = UploadId::new();
        cache.open(upload, 10).await.expect("there is room");
        let (opened, removed) = tokio::join!(cache.open(upload, 10), cache.remove(upload));
        opened.expect("there is room");
        removed.expect("it can be removed");
    }
    let listed: Vec<_> = cache.list().await.expect("it can be listed");
    for key in server.upload_keys().await {
        assert!(
            listed
                .iter()
                .any(|one| key.contains(&one.upload.to_string())),
            "{key}"
        );
    }
    for one in &listed {
        cache.remove(one.upload).await.expect("it can be removed");
    }
    assert!(server.upload_keys().await.is_empty());
    assert_eq!(cache.usage().await.expect("it is known").reserved, 0);
}
