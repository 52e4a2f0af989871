//! An engine is away for a while.

use super::{Site, harmed};
use client::{Client, FixedToken, Source, Upload, UploadHandle, UploadState};
use futures::future::join_all;
use protocol::ErrorCode;
use tests::{Account, content, engines::Kind, until};

/// What uploads may hold in all in the test of the bound.
const BOUND: u64 = 4 << 20;
const SIZE: usize = 1 << 20;
const FILES: u64 = 8;

async fn client_of(account: &Account) -> Client {
    let client = Client::builder(account.url.parse().unwrap());
    let client = client
        .tokens(FixedToken::new(account.token()))
        .parallel(FILES as u32);
    client.connect().await.unwrap()
}

async fn hand_over(client: &Client, seed: u64, size: usize) -> UploadHandle {
    let source = Source::bytes(content::bytes(seed, size));
    let meta = source.meta(format!("{seed}.dat"));
    client.upload(Upload::new(source, meta)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_mongodb_files_are_held_up_to_the_bound_and_then_clients_wait() {
    let engines = harmed().await;
    let site = Site::on(&engines.urls(), async |plan, _| {
        plan.set("SLUICE_CHUNKS__MAX_BYTES", BOUND.to_string())
    })
    .await;
    let ada = site.account("ada").await;
    let client = client_of(&ada).await;
    engines.mongodb.kill();
    let mut uploads = Vec::new();
    for seed in 0..FILES {
        uploads.push(hand_over(&client, seed, SIZE).await);
    }
    let states = || {
        uploads
            .iter()
            .map(|upload| upload.progress().borrow().state.clone())
    };
    until("the bound to be reached", async || {
        let held = states().filter(|state| matches!(state, UploadState::Cached(_)));
        let waiting = states().filter(|state| match state {
            UploadState::Waiting(refusal) => {
                assert_eq!(refusal.code, ErrorCode::Unavailable, "{refusal:?}");
                assert!(refusal.retry_after_ms > Some(0), "{refusal:?}");
                true
            }
            _ => false,
        });
        (held.count() as u64 == BOUND / SIZE as u64
            && waiting.count() as u64 == FILES - BOUND / SIZE as u64)
            .then_some(())
    })
    .await;
    engines.mongodb.start();
    for upload in &mut uploads {
        upload.stored().await.unwrap();
    }
    let files = ada.files().await;
    assert_eq!(files.len() as u64, FILES);
    for file in &files {
        assert_eq!(
            file["attempts"], 1,
            "an engine that is away costs no attempt: {file}"
        );
    }
    site.until_cache_is_empty().await;
    assert_eq!(site.blobs().await.len() as u64, FILES);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_engine_is_killed_and_nothing_else_is_helped() {
    let engines = harmed().await;
    let mut site = Site::on(&engines.urls(), async |plan, _| plan).await;
    // RabbitMQ forgets a member of a quorum queue that was made less than a second before it is killed, and the queue stands still
    // for ever. So its turn is the last one.
    let kinds = [Kind::Redis, Kind::Postgres, Kind::MongoDb, Kind::RabbitMq];
    assert_eq!(kinds.len(), Kind::ALL.len());
    for kind in kinds {
        let account = site.account(&format!("ada-{}", kind.name())).await;
        let client = client_of(&account).await;
        let mut before = Vec::new();
        for seed in 0..FILES {
            before.push(hand_over(&client, seed, 300_000).await);
        }
        before[0].cached().await.unwrap();
        engines.get(kind).kill();
        let mut during = Vec::new();
        for seed in FILES..2 * FILES {
            during.push(hand_over(&client, seed, 100_000).await);
        }
        engines.get(kind).start();
        let all = before.iter_mut().chain(&mut during);
        for stored in join_all(all.map(UploadHandle::stored)).await {
            stored.unwrap_or_else(|error| panic!("{}: {error}", kind.name()));
        }
        let files = account.files().await;
        assert_eq!(files.len() as u64, 2 * FILES, "{}", kind.name());
        site.until_cache_is_empty().await;
        for process in site.cluster.processes_mut() {
            assert!(
                process.runs(),
                "{} outlives {}",
                process.name(),
                kind.name()
            );
        }
    }
    assert_eq!(site.blobs().await.len() as u64, 2 * FILES * 4);
}
