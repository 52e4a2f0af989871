//! Replicas that refuse, freeze, break off, are in trouble, or are others than before.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    response::IntoResponse,
    routing::{any, get},
};
use futures::StreamExt;
use http::{Method, StatusCode};
use service_kit::{
    config::Millis,
    peer::{Peer, PeerConfig, PeerError},
    problem::Problem,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
};

use super::support::{
    Replica, answering, breaking, config, echo, free, frozen, keys, metric, peer, unique, until,
};

async fn ask(peer: &Peer, method: Method) -> Result<u32, PeerError> {
    peer.request(method, "/thing").json(&7).receive().await
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_spread_over_replicas() {
    let service = unique("spread");
    let replicas = [
        Replica::echo(&service).await,
        Replica::echo(&service).await,
        Replica::echo(&service).await,
    ];
    let peer = peer(
        &service,
        &replicas.each_ref().map(|replica| replica.address),
        &config(),
    );
    for _ in 0..90 {
        let peer = peer.clone();
        let call = tokio::spawn(async move { ask(&peer, Method::POST).await });
        assert_eq!(call.await.unwrap().unwrap(), 7);
    }
    for replica in &replicas {
        assert!(replica.calls() > 9, "{}", replica.calls());
    }
}

/// What is not there is never noticed, whatever the call: nothing was sent.
#[tokio::test]
async fn a_replica_that_refuses_connections_costs_no_call() {
    let service = unique("gone");
    let replica = Replica::echo(&service).await;
    let addresses = [free(), free(), free(), replica.address];
    for _ in 0..5 {
        let peer = peer(&service, &addresses, &config());
        assert_eq!(ask(&peer, Method::POST).await.unwrap(), 7);
        assert_eq!(ask(&peer, Method::GET).await.unwrap(), 7);
    }
    assert_eq!(replica.calls(), 10);
}

#[tokio::test]
async fn a_call_that_may_have_had_effect_is_repeated_only_if_that_is_safe() {
    let service = unique("broken");
    let replica = Replica::echo(&service).await;
    let (broken, count) = breaking(replica.address, "/thing").await;
    let outcomes = async |method: Method, repeatable: bool| {
        let mut good = 0;
        for _ in 0..20 {
            let peer = peer(&service, &[broken, replica.address], &config());
            let call = peer.request(method.clone(), "/thing").json(&7);
            let call = if repeatable { call.repeatable() } else { call };
            match call.receive::<u32>().await {
                Ok(7) => good += 1,
                Ok(other) => panic!("{other}"),
                Err(error) => assert!(matches!(error, PeerError::Unavailable { .. }), "{error}"),
            }
        }
        (good, count.swap(0, Ordering::SeqCst))
    };
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        let (good, broken) = outcomes(method.clone(), false).await;
        assert_eq!(good, 20, "{method}");
        assert!(broken > 0, "one of two is broken");
    }
    let (good, broken) = outcomes(Method::POST, true).await;
    assert_eq!(good, 20);
    assert!(broken > 0);
    let (good, broken) = outcomes(Method::POST, false).await;
    assert_eq!(good + broken, 20, "each one that broke was given up");
    assert!(broken > 0);
}

#[tokio::test]
async fn a_frozen_replica_costs_a_moment_once() {
    let service = unique("frozen");
    let replica = Replica::echo(&service).await;
    let at = free();
    let once = Replica::start(&service, at, keys(&["a"]), Router::new()).await;
    let config = PeerConfig {
        breaker_open_min: Millis::secs(60),
        breaker_open_max: Millis::secs(60),
        ..config()
    };
    let peer = peer(&service, &[at, replica.address], &config);
    // Known, alive, and then frozen: as with SIGSTOP, connections are still accepted.
    until("a call to each", async || {
        let _ = ask(&peer, Method::GET).await;
        once.calls() > 0 && replica.calls() > 0
    })
    .await;
    once.kill().await;
    let _frozen = frozen(at);

    let begun = Instant::now();
    until("the frozen one to be left out", async || {
        assert_eq!(ask(&peer, Method::GET).await.unwrap(), 7);
        metric(
            "peer_breaker_state",
            &[("peer", &service), ("endpoint", &at.to_string())],
        ) == 2.0
    })
    .await;
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    let calls = replica.calls();
    for _ in 0..20 {
        assert_eq!(ask(&peer, Method::POST).await.unwrap(), 7);
    }
    assert_eq!(replica.calls() - calls, 20);
}

/// The call hangs in a process that froze after taking it: found out by asking whether it lives, long before the deadline.
#[tokio::test]
async fn a_replica_that_freezes_during_a_call_is_given_up() {
    let service = unique("freezing");
    let is_frozen = Arc::new(AtomicBool::new(false));
    let replica = Replica::echo(&service).await;
    let (proxy, hangs) = freezing(replica.address, is_frozen.clone()).await;
    let peer = peer(&service, &[proxy], &config());
    assert_eq!(ask(&peer, Method::POST).await.unwrap(), 7);
    is_frozen.store(true, Ordering::SeqCst);
    let begun = Instant::now();
    let error = ask(&peer, Method::POST).await.unwrap_err();
    assert!(matches!(error, PeerError::Unavailable { .. }), "{error}");
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    assert!(hangs.load(Ordering::SeqCst) > 0);
    assert_eq!(replica.calls(), 1);
}

/// A proxy that passes everything on, until it passes on nothing.
async fn freezing(target: SocketAddr, is_frozen: Arc<AtomicBool>) -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, hangs) = (listener.local_addr().unwrap(), Arc::new(AtomicU64::new(0)));
    let count = hangs.clone();
    tokio::spawn(async move {
        while let Ok((mut caller, _)) = listener.accept().await {
            let (is_frozen, count) = (is_frozen.clone(), count.clone());
            tokio::spawn(async move {
                let mut replica = TcpStream::connect(target).await?;
                let mut both =
                    std::pin::pin!(tokio::io::copy_bidirectional(&mut caller, &mut replica));
                std::future::poll_fn(|context| {
                    if is_frozen.load(Ordering::SeqCst) {
                        count.fetch_add(1, Ordering::SeqCst);
                        return std::task::Poll::Pending;
                    }
                    both.as_mut().poll(context)
                })
                .await
            });
        }
    });
    (address, hangs)
}

/// A replica that lives may take its time: asking another one would only double the work.
#[tokio::test]
async fn a_slow_replica_is_waited_for() {
    let service = unique("slow");
    let slow = || {
        any(async || {
            tokio::time::sleep(Duration::from_millis(1200)).await;
            "7"
        })
    };
    let start = || Replica::start(&service, free(), keys(&["a"]), answering(slow()));
    let replicas = [start().await, start().await];
    let peer = peer(
        &service,
        &replicas.each_ref().map(|replica| replica.address),
        &config(),
    );
    assert_eq!(ask(&peer, Method::GET).await.unwrap(), 7);
    assert_eq!(replicas.iter().map(Replica::calls).sum::<u64>(), 1);
    assert_eq!(
        metric("peer_breaker_transitions_total", &[("peer", &service)]),
        0.0
    );
}

/// A time of its own for each attempt: what must be answered soon is asked of another replica soon.
#[tokio::test]
async fn an_attempt_may_have_its_own_time() {
    let service = unique("poll");
    let late = any(async || {
        tokio::time::sleep(Duration::from_secs(20)).await;
        "7"
    });
    let late = Replica::start(&service, free(), keys(&["a"]), answering(late)).await;
    let good = Replica::echo(&service).await;
    let peer = peer(
        &service,
        &[late.address, good.address],
        &PeerConfig::default(),
    );
    until("the late one to be asked", async || {
        let begun = Instant::now();
        let call = peer.request(Method::GET, "/thing").json(&7);
        let call = call.attempt_timeout(Duration::from_millis(450));
        assert_eq!(call.receive::<u32>().await.unwrap(), 7);
        assert!(
            begun.elapsed() < Duration::from_secs(1),
            "{:?}",
            begun.elapsed()
        );
        late.calls() > 0
    })
    .await;
}

/// Another process at the same address: whatever the call, it comes through, since what is misaddressed had no effect.
#[tokio::test]
async fn a_restarted_replica_is_found_again() {
    let service = unique("restarted");
    let mut replica = Replica::echo(&service).await;
    let at = replica.address;
    let peer = peer(&service, &[at], &config());
    for _ in 0..5 {
        assert_eq!(ask(&peer, Method::POST).await.unwrap(), 7);
        replica.stop().await;
        let router = echo();
        replica = Replica::start(&service, at, keys(&["a"]), router).await;
    }
    assert_eq!(ask(&peer, Method::POST).await.unwrap(), 7);
}

/// Another instance behind the same address, without a connection that breaks: even a call that can't be repeated is made
/// again, since the first attempt had no effect.
#[tokio::test]
async fn a_misaddressed_call_is_addressed_anew() {
    let service = unique("moved");
    let replicas = [Replica::echo(&service).await, Replica::echo(&service).await];
    let target = Arc::new(Mutex::new(replicas[0].address));
    let proxy = leading_to(target.clone()).await;
    let config = PeerConfig {
        idle_connections: 0,
        ..config()
    };
    let peer = peer(&service, &[proxy], &config);
    assert_eq!(ask(&peer, Method::POST).await.unwrap(), 7);
    *target.lock().unwrap() = replicas[1].address;
    assert_eq!(ask(&peer, Method::POST).await.unwrap(), 7);
    assert_eq!(replicas.each_ref().map(Replica::calls), [1, 1]);
    let repeated = [("peer", &*service), ("reason", "misaddressed")];
    assert_eq!(metric("peer_retries_total", &repeated), 1.0);
}

/// A proxy to whatever is the target when a connection is made.
async fn leading_to(target: Arc<Mutex<SocketAddr>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut caller, _)) = listener.accept().await {
            let target = *target.lock().unwrap();
            tokio::spawn(async move {
                let mut replica = TcpStream::connect(target).await?;
                tokio::io::copy_bidirectional(&mut caller, &mut replica).await
            });
        }
    });
    address
}

fn in_trouble() -> Router {
    let answer = async || Problem::unavailable(Duration::from_secs(3)).into_response();
    answering(any(answer))
}

#[tokio::test]
async fn one_other_replica_is_asked_when_one_says_that_it_is_in_trouble() {
    let service = unique("trouble");
    let start = || Replica::start(&service, free(), keys(&["a"]), in_trouble());
    let replicas = [start().await, start().await, start().await];
    let all = replicas.each_ref().map(|replica| replica.address);
    let asked = |before: u64| replicas.iter().map(Replica::calls).sum::<u64>() - before;
    let trouble = peer(&service, &all, &config());

    let error = ask(&trouble, Method::GET).await.unwrap_err();
    let problem = error.problem().expect("the answer itself is passed on");
    assert_eq!(problem.retry_after(), Some(Duration::from_secs(3)));
    assert_eq!(asked(0), 2, "not all of them");
    assert!(ask(&trouble, Method::POST).await.is_err());
    assert_eq!(asked(2), 1, "what can't be repeated is not");
    assert_eq!(
        metric("peer_breaker_transitions_total", &[("peer", &service)]),
        0.0,
        "they answer"
    );

    let good = Replica::echo(&service).await;
    let peer = peer(&service, &[all[0], good.address], &config());
    for _ in 0..10 {
        assert_eq!(ask(&peer, Method::GET).await.unwrap(), 7);
    }
}

#[tokio::test]
async fn what_is_at_the_address_is_said_when_it_is_not_the_service() {
    let [asked, other] = [unique("asked"), unique("other")];
    let replica = Replica::echo(&other).await;
    let error = ask(&peer(&asked, &[replica.address], &config()), Method::GET)
        .await
        .unwrap_err();
    assert!(error.to_string().contains(&other), "{error}");
}

/// The breaking comes after the head: what was passed on already can't be taken back.
#[tokio::test]
async fn a_reply_that_breaks_off_is_not_asked_for_again() {
    let service = unique("download");
    let cut = Arc::new(Notify::new());
    let content = |cut: Arc<Notify>| {
        let lost = async move {
            cut.notified().await;
            Err(std::io::Error::other("lost"))
        };
        let first = futures::stream::iter([Ok("some")]);
        Body::from_stream(first.chain(futures::stream::once(lost)))
    };
    let given = cut.clone();
    let download = get(async move || content(given));
    let start = || Replica::start(&service, free(), keys(&["a"]), answering(download.clone()));
    let replicas = [start().await, start().await];
    let addresses = replicas.each_ref().map(|replica| replica.address);
    let peer = peer(&service, &addresses, &config());
    let response = peer.request(Method::GET, "/content").send().await.unwrap();
    cut.notify_one();
    to_bytes(response.into_body(), 1 << 20).await.unwrap_err();
    assert_eq!(replicas.iter().map(Replica::calls).sum::<u64>(), 1);
}

/// A service in trouble does not get more calls than in good times, but for a fifth and a few.
#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_repetitions_is_stopped() {
    let service = unique("storm");
    let replica = Replica::echo(&service).await;
    let (broken, count) = breaking(replica.address, "/thing").await;
    let config = PeerConfig {
        retries_per_second: 1,
        ..config()
    };
    let peer = peer(&service, &[broken], &config);
    let begun = Instant::now();
    for _ in 0..40 {
        let calls = (0..10).map(|_| ask(&peer, Method::GET));
        for answer in futures::future::join_all(calls).await {
            assert!(answer.is_err());
        }
    }
    let most = 400.0 * 1.2 + 10.0 + begun.elapsed().as_secs_f64() + 1.0;
    let sent = count.load(Ordering::SeqCst);
    assert!(
        (400.0..most).contains(&(sent as f64)),
        "{sent} were sent for 400 calls"
    );
    assert!(
        metric(
            "peer_retries_denied_total",
            &[("peer", &service), ("reason", "lost")]
        ) > 100.0
    );
    assert!(
        metric(
            "peer_retries_total",
            &[("peer", &service), ("reason", "lost")]
        ) > 50.0
    );
}

/// A name stands for each of its addresses: here those of this machine.
#[tokio::test]
async fn a_name_stands_for_several_replicas() {
    let service = unique("named");
    let port = free().port();
    let addresses: Vec<_> = tokio::net::lookup_host(("localhost", port))
        .await
        .unwrap()
        .collect();
    let mut replicas = Vec::new();
    for at in addresses {
        replicas.push(Replica::start(&service, at, keys(&["a"]), echo()).await);
    }
    let name = [format!("http://localhost:{port}")];
    let peer = Peer::remote(&*service, &name, keys(&["a"]), &config()).unwrap();
    until("each to be called", async || {
        assert_eq!(ask(&peer, Method::GET).await.unwrap(), 7);
        replicas.iter().all(|replica| replica.calls() > 0)
    })
    .await;
}

#[tokio::test]
async fn a_name_that_nobody_knows_makes_the_service_unavailable() {
    let name = ["http://no-such-host.invalid:1".to_owned()];
    let peer = Peer::remote("nobody", &name, keys(&["a"]), &config()).unwrap();
    let error = ask(&peer, Method::GET).await.unwrap_err();
    assert!(matches!(error, PeerError::Unavailable { .. }), "{error}");
    assert_eq!(Problem::from(error).status, StatusCode::SERVICE_UNAVAILABLE);
}
