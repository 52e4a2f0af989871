//! One of two processes of a role is killed, with uploads under way.

use super::Site;
use client::{Client, FixedToken, Source, Upload};
use futures::future::join_all;
use sluice::Role;
use std::time::Duration;
use tests::{Account, Link, Proxy, content, until};

const FILES: u64 = 20;
const SIZE: usize = 150_000;

/// What a client may send in a second: enough for the fault to come in the middle.
const PACE: Link = Link::Slow {
    rate: 1_500_000,
    latency: Duration::ZERO,
};

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_is_killed_and_every_file_arrives_once() {
    let mut site = Site::new().await;
    // Clients find a gateway as behind a load balancer.
    let door = Proxy::before_any(&site.cluster.gateways()).await;
    door.set(PACE);
    let url = format!("http://{}", door.address());
    for role in Role::ALL {
        // At the gateway that stays.
        let account = Account::signup(&site.url(1), &format!("ada-{role}")).await;
        let client = Client::builder(url.parse().unwrap())
            .tokens(FixedToken::new(account.token()))
            .parallel(FILES as u32)
            .connect()
            .await
            .unwrap();
        let uploads = (0..FILES).map(async |seed| {
            let source = Source::bytes(content::bytes(seed, SIZE));
            let meta = source.meta(format!("{seed}.dat"));
            let upload = client.upload(Upload::new(source, meta)).await;
            upload.unwrap().stored().await.unwrap();
        });
        let fault = async {
            until("the first files to arrive", async || {
                (account.files().await.len() > 2).then_some(())
            })
            .await;
            site.process(role, 0).kill();
        };
        futures::join!(join_all(uploads), fault);
        site.restart(role, 0).await;
        let files = account.files().await;
        assert_eq!(files.len() as u64, FILES, "{role}");
        for file in &files {
            assert_eq!(file["status"], "uploaded_successfully", "{role}: {file}");
        }
        site.until_cache_is_empty().await;
    }
    assert_eq!(site.blobs().await.len() as u64, FILES * 4);
}
