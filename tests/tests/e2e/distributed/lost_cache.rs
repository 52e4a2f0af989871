//! Redis loses everything: what was not complete goes on from the beginning, what was complete is told to have failed.

use super::{Site, harmed};
use client::{Client, FixedToken, Source, Upload};
use sluice::Role;
use std::time::Duration;
use tests::{Account, Cli, Link, Proxy, Socket, content, until};

fn forget_everything(redis: &str) {
    let client = redis::Client::open(redis).unwrap();
    let mut connection = client.get_connection().unwrap();
    let () = redis::cmd("FLUSHALL").query(&mut connection).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_redis_loses_is_sent_again() {
    let engines = harmed().await;
    let mut site = Site::on(&engines.urls(), async |plan, _| plan).await;

    // In the middle of an upload: the client goes on from the lower offset that it is told.
    let ada = site.account("ada").await;
    let door = Proxy::before_any(&site.cluster.gateways()).await;
    door.set(Link::Slow {
        rate: 2_000_000,
        latency: Duration::ZERO,
    });
    let client = Client::builder(format!("http://{}", door.address()).parse().unwrap())
        .tokens(FixedToken::new(ada.token()))
        .connect()
        .await
        .unwrap();
    let data = content::bytes(1, 6_000_000);
    let source = Source::bytes(data.clone());
    let meta = source.meta("a.dat");
    let mut upload = client.upload(Upload::new(source, meta)).await.unwrap();
    let mut progress = upload.progress();
    progress
        .wait_for(|now| now.acked > 2_000_000)
        .await
        .unwrap();
    forget_everything(engines.redis.url());
    progress
        .wait_for(|now| now.acked < 2_000_000)
        .await
        .unwrap();
    let stored = upload.stored().await.unwrap();
    let file_id = stored.file_id.unwrap().to_string();
    assert!(ada.content(&file_id).await == data);
    assert_eq!(ada.files().await.len(), 1);

    // A file that was reported as held: told to have failed, and why; the command line, which still has it, sends it again.
    for number in 0..2 {
        site.process(Role::FileManager, number).kill();
    }
    let bob = Cli::signup(&site.url(0), "bob");
    let account = Account::login(&site.url(0), "bob").await;
    let mut listener = Socket::connect(&account).await;
    let path = bob.folder("files").join("b.dat");
    std::fs::write(&path, content::bytes(2, 100_000)).unwrap();
    let running = bob.start(&["upload", path.to_str().unwrap(), "--json"]);
    listener.receive_notification().await;
    forget_everything(engines.redis.url());
    for number in 0..2 {
        site.process(Role::FileManager, number).start();
    }
    let failed = listener
        .receive("the file to fail", |message| {
            message["event"] == "file.upload_failed"
        })
        .await;
    let reason = failed["data"]["reason"].as_str().unwrap();
    assert_eq!(reason, "the cached content is lost; send the file again");
    let ended = tokio::task::spawn_blocking(|| running.wait_with_output());
    let ended = ended.await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{said}");
    let stored = until("the file to be listed as stored", async || {
        let files = account.files().await;
        let stored = files
            .iter()
            .filter(|file| file["status"] == "uploaded_successfully");
        let stored: Vec<_> = stored.cloned().collect();
        (!stored.is_empty()).then_some(stored)
    })
    .await;
    assert_eq!(stored.len(), 1, "{stored:?}");
    site.until_cache_is_empty().await;
    assert_eq!(site.blobs().await.len(), 2);
}
