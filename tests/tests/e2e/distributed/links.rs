//! The link between two processes is cut, or half open: what is sent on it is swallowed and nothing is closed.

use super::Site;
use sluice::Role;
use tests::{
    Link, Proxy, Socket, content,
    engines::{Kind, Urls},
    until,
};

#[tokio::test]
async fn an_upload_goes_on_when_its_link_does() {
    let engines = Urls::shared();
    let redis: reqwest::Url = engines.get(Kind::Redis).parse().unwrap();
    let redis = ([127, 0, 0, 1], redis.port().unwrap()).into();
    let to_redis = Proxy::before(redis).await;
    let mut to_uploader = None;
    let site = Site::on(&engines, async |plan, namespace| {
        let stores = namespace.stores(&engines.clone().via(Kind::Redis, to_redis.address()));
        let proxy = Proxy::before(plan.internal(Role::Uploader, 0)).await;
        let (first, second) = (proxy.address(), plan.internal(Role::Uploader, 1));
        to_uploader = Some(proxy);
        plan.set_for(Role::Gateway, 0, "SLUICE_STORES__CHUNKS", stores.chunks)
            .set_for(
                Role::Gateway,
                0,
                "SLUICE_PEERS__UPLOADER",
                format!("http://{first},http://{second}"),
            )
    })
    .await;
    let to_uploader = to_uploader.expect("it was put there");
    let ada = site.account("ada").await;
    let mut socket = Socket::connect(&ada).await;
    let data = content::bytes(1, 300_000);
    for (stream, link) in (1..).zip([Link::Cut, Link::HalfOpen]) {
        let started = socket.start(stream, "a.dat", data.len()).await;
        assert_eq!(started["type"], "transfer-started", "{started}");
        socket.send_content(stream, &data[..100_000], 0).await;
        // To Redis: the client is told to wait, and where to go on.
        to_redis.set(link);
        socket
            .send_chunk(stream, 100_000, &data[100_000..200_000])
            .await;
        let error = socket.receive_refusal("unavailable").await;
        assert!(error["retry_after_ms"].as_u64() > Some(0), "{error}");
        assert_eq!(error["expected"], 100_000, "{error}");
        to_redis.set(Link::Pass);
        let resumed = until("the upload to go on", async || {
            let resumed = socket.resume(stream + 10, &started["upload_id"]).await;
            (resumed["type"] == "transfer-started").then_some(resumed)
        })
        .await;
        socket.receive_refusal("superseded").await;
        let offset = resumed["offset"].as_u64().unwrap() as usize;
        assert!(offset >= 100_000, "{resumed}");
        socket.send_content(stream + 10, &data, offset).await;
        // To one uploader: the other one is asked.
        to_uploader.set(link);
        let completed = socket.complete(stream + 10).await;
        assert_eq!(
            completed["digest"],
            content::sha256(&data).to_string(),
            "{completed}"
        );
        to_uploader.set(Link::Pass);
    }
    site.until_cache_is_empty().await;
    assert_eq!(site.blobs().await.len(), 2);
}
