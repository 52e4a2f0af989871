//! How the server is: health, readiness, metrics.

use super::{get, send, stored};
use reqwest::header;
use serde_json::{Value, json};
use tests::{Account, Server, Socket, account::http, content, until};

#[tokio::test]
async fn the_server_tells_how_it_is() {
    let server = Server::start().await;
    let url = server.url();
    let ada = Account::signup(&url, "ada").await;
    let status = async |path: &str| {
        get(&format!("{url}{path}"))
            .await
            .json::<Value>()
            .await
            .unwrap()["status"]
            .clone()
    };
    assert_eq!(status("/healthz").await, "alive");
    assert_eq!(status("/readyz").await, "ready");
    let mut socket = Socket::connect(&ada).await;
    stored(
        &mut socket,
        &ada,
        "a.dat",
        json!({}),
        &content::bytes(1, 5000),
    )
    .await;
    let about = server.about();
    let metrics = get(&format!("{about}/metrics")).await;
    let media_type = metrics.headers()[header::CONTENT_TYPE].to_str().unwrap();
    assert!(media_type.starts_with("text/plain"), "{media_type}");
    assert_eq!(server.metric("sluice_sessions").await, 1.0);
    // No name of a user or file, and no id: time series must not grow with what clients do.
    let text = metrics.text().await.unwrap();
    assert!(!text.contains("a.dat") && !text.contains(&ada.grant.user_id.to_string()));
    get(&format!("{url}/no/such/route/{}", ada.grant.user_id)).await;
    let text = get(&format!("{about}/metrics")).await.text().await.unwrap();
    assert!(!text.contains(&ada.grant.user_id.to_string()));
    drop(socket);
    until("the session to be gone", async || {
        (server.metric("sluice_sessions").await == 0.0).then_some(())
    })
    .await;
    let traced = send(
        http()
            .get(format!("{url}/healthz"))
            .header("x-request-id", "trace-1"),
    )
    .await;
    assert_eq!(traced.headers()["x-request-id"], "trace-1");
}
