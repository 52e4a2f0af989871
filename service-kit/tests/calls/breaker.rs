//! The breaker, as metrics and logs show it.

use http::Method;
use service_kit::peer::Peer;

use super::support::{Replica, config, echo, free, is_logged, keys, metric, peer, unique, until};

async fn fails(peer: &Peer) -> bool {
    peer.request(Method::GET, "/thing").send().await.is_err()
}

/// A replica that dies and comes back is left out, looked at and given calls again; no call is needed for that.
#[tokio::test]
async fn it_opens_half_opens_and_closes() {
    let service = unique("breaker");
    let replica = Replica::start(&service, free(), keys(&["a"]), echo()).await;
    let at = replica.address;
    let endpoint = at.to_string();
    let labels = [("peer", &*service), ("endpoint", &*endpoint)];
    let state = || metric("peer_breaker_state", &labels);
    let moved = |to: &'static str| {
        metric(
            "peer_breaker_transitions_total",
            &[labels[0], labels[1], ("to", to)],
        )
    };

    let peer = peer(&service, &[at], &config());
    assert!(!fails(&peer).await);
    assert_eq!((state(), moved("open"), moved("closed")), (0.0, 0.0, 0.0));

    replica.kill().await;
    until("it to open", async || {
        fails(&peer).await && moved("open") > 0.0
    })
    .await;
    until("it to be looked at in vain", async || moved("open") > 1.0).await;
    assert!(moved("half-open") > 0.0);
    assert!(state() > 0.0, "it is left out");

    let replica = Replica::start(&service, at, keys(&["a"]), echo()).await;
    until("it to close", async || state() == 0.0).await;
    assert_eq!(moved("closed"), 1.0);
    assert_eq!(moved("half-open"), moved("open"), "each look was needed");
    assert_eq!(replica.calls(), 0, "a look is no call");
    assert!(!fails(&peer).await);
    assert!(is_logged(&[
        "WARN",
        "a replica is left out",
        &service,
        "refused"
    ]));
    assert!(is_logged(&[
        "INFO",
        "a replica is given calls again",
        &service
    ]));
}

/// When every replica is left out, calls are made nevertheless: they are the quickest to find out that it is over.
#[tokio::test]
async fn calls_go_through_when_all_are_open() {
    let service = unique("all-open");
    let replica = Replica::start(&service, free(), keys(&["a"]), echo()).await;
    let at = replica.address;
    let config = service_kit::peer::PeerConfig {
        breaker_open_min: service_kit::config::Millis::secs(60),
        breaker_open_max: service_kit::config::Millis::secs(60),
        ..config()
    };
    let peer = peer(&service, &[at], &config);
    replica.kill().await;
    let state = || metric("peer_breaker_state", &[("peer", &service)]);
    until("it to open", async || fails(&peer).await && state() == 2.0).await;

    let _replica = Replica::start(&service, at, keys(&["a"]), echo()).await;
    assert!(!fails(&peer).await, "although it is open for a minute");
    until("it to close at once", async || state() == 0.0).await;
}
