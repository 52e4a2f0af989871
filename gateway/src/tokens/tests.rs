use super::*;
use axum::{Router, extract::Query, routing::get};
use futures::future::join_all;
use protocol::token::Jwk;
use serde::Deserialize;
use service_kit::{
    config::Secret,
    internal::{InstanceId, Keys, Listener},
    lifecycle::{HttpLimits, Shutdown, serve},
    peer::PeerConfig,
    problem::Json,
};
use std::{
    future::poll_fn,
    net::SocketAddr,
    pin::pin,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    task::Poll,
};
use tokio::net::{TcpListener, TcpStream};

#[derive(Deserialize)]
struct Asked {
    after: u64,
    wait_ms: u64,
}

/// An auth without news.
fn quiet() -> Router {
    let handle = async |Query(asked): Query<Asked>| {
        tokio::time::sleep(Duration::from_millis(asked.wait_ms)).await;
        Json(Revocations {
            seq: asked.after,
            revoked: Vec::new(),
        })
    };
    Router::new().route("/auth/revocations", get(handle))
}

fn tokens(auth: Peer) -> Arc<Tokens> {
    let rules = TokenRules {
        issuer: "i".to_owned(),
        audience: "a".to_owned(),
    };
    Tokens::new(auth, rules)
}

fn keys() -> Arc<Keys> {
    let secret = Secret::from("a:0123456789abcdef0123456789abcdef");
    Arc::new(Keys::parse(&secret).unwrap())
}

/// A replica of auth that can be frozen, as by SIGSTOP: its connections stay, and nothing comes any more.
struct Replica {
    address: SocketAddr,
    is_frozen: Arc<AtomicBool>,
    /// Connections that hang.
    hanging: Arc<AtomicU64>,
}

impl Replica {
    async fn start() -> Self {
        let inner = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = inner.local_addr().unwrap();
        let router = Listener::new(keys(), InstanceId::random())
            .service("auth", quiet())
            .into_router();
        tokio::spawn(serve(inner, router, HttpLimits::default(), Shutdown::new()));

        let outer = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let replica = Self {
            address: outer.local_addr().unwrap(),
            is_frozen: Arc::default(),
            hanging: Arc::default(),
        };
        let (is_frozen, hanging) = (replica.is_frozen.clone(), replica.hanging.clone());
        tokio::spawn(async move {
            while let Ok((caller, _)) = outer.accept().await {
                tokio::spawn(pass_on(caller, target, is_frozen.clone(), hanging.clone()));
            }
        });
        replica
    }
}

async fn pass_on(
    mut caller: TcpStream,
    target: SocketAddr,
    is_frozen: Arc<AtomicBool>,
    hanging: Arc<AtomicU64>,
) {
    let mut replica = TcpStream::connect(target).await.unwrap();
    let mut both = pin!(tokio::io::copy_bidirectional(&mut caller, &mut replica));
    let passing = poll_fn(|context| {
        if is_frozen.load(Ordering::SeqCst) {
            hanging.fetch_add(1, Ordering::SeqCst);
            return Poll::Pending;
        }
        both.as_mut().poll(context).map(drop)
    });
    passing.await;
}

/// What is known never becomes stale while one replica of two answers, from the moment on at which the other one freezes.
#[tokio::test]
async fn a_frozen_replica_of_auth_leaves_nothing_stale() {
    let replicas = [Replica::start().await, Replica::start().await];
    let addresses = replicas
        .each_ref()
        .map(|it| format!("http://{}", it.address));
    let auth = Peer::remote("auth", &addresses, keys(), &PeerConfig::default()).unwrap();
    let tokens = tokens(auth);
    let following = tokens.clone();
    let follow = tokio::spawn(async move { following.follow().await });

    let mut seen = tokens.seen.subscribe();
    let mut oldest = Duration::ZERO;
    let mut known_at = None;
    for news in 0..30 {
        seen.changed().await.unwrap();
        if let Some(known_at) = known_at {
            oldest = oldest.max(Instant::now() - known_at);
        }
        known_at = seen.borrow_and_update().at;
        if news == 5 {
            replicas[0].is_frozen.store(true, Ordering::SeqCst);
        }
    }
    assert!(
        replicas[0].hanging.load(Ordering::SeqCst) > 0,
        "it was asked"
    );
    assert!(oldest <= STALE, "{oldest:?}");
    follow.abort();
}

/// An answer is as old as its question: it may have waited here while this process was frozen.
#[tokio::test(start_paused = true)]
async fn a_late_answer_is_no_fresh_one() {
    const LATE: Duration = Duration::from_millis(900);
    let handle = async || {
        tokio::time::sleep(LATE).await;
        Json(Revocations::default())
    };
    let auth = Peer::local(
        "auth",
        Router::new().route("/auth/revocations", get(handle)),
    );
    let tokens = tokens(auth);
    let begun = Instant::now();
    tokens.ask_for_news().await.unwrap();
    assert!(begun.elapsed() >= LATE);
    assert_eq!(tokens.seen.borrow().at, Some(begun));
}

/// Without news, what is known is as of the end of the wait; and who is behind does not wait.
#[tokio::test(start_paused = true)]
async fn news_are_waited_for_unless_one_is_behind() {
    let tokens = tokens(Peer::local("auth", quiet()));
    let begun = Instant::now();
    tokens.ask_for_news().await.unwrap();
    assert_eq!(
        tokens.seen.borrow().at,
        Some(begun),
        "nothing was known, so there is no wait"
    );
    tokens.ask_for_news().await.unwrap();
    assert_eq!(tokens.seen.borrow().at, Some(begun + POLL));
    tokio::time::advance(BEHIND + Duration::from_millis(1)).await;
    let begun = Instant::now();
    tokens.ask_for_news().await.unwrap();
    assert_eq!(tokens.seen.borrow().at, Some(begun));
}

/// An auth that publishes another key each time, and counts how often it was asked.
fn changing(asked: Arc<AtomicU64>) -> Router {
    let handle = async move || {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let number = asked.fetch_add(1, Ordering::SeqCst) + 1;
        let key = Jwk {
            kid: format!("key{number}"),
            kty: "OKP".to_owned(),
            crv: "Ed25519".to_owned(),
            alg: "EdDSA".to_owned(),
            usage: "sig".to_owned(),
            x: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo".to_owned(),
        };
        Json(Jwks { keys: vec![key] })
    };
    Router::new().route("/.well-known/jwks.json", get(handle))
}

/// Another replica of auth may have made it since.
#[tokio::test(start_paused = true)]
async fn a_key_that_is_younger_than_the_last_answer_is_found() {
    let asked = Arc::new(AtomicU64::new(0));
    let tokens = tokens(Peer::local("auth", changing(asked.clone())));
    for expected in ["key1", "key2"] {
        tokens.load_keys(expected).await.unwrap();
        assert!(tokens.key(expected).is_some(), "{expected}");
    }
    let at_once = join_all((0..50).map(|_| tokens.load_keys("key3"))).await;
    assert!(at_once.iter().all(Result::is_ok));
    assert_eq!(asked.load(Ordering::SeqCst), 3, "one answer serves all");
}

/// As when hundreds of clients connect to a process that has just started.
#[tokio::test(start_paused = true)]
async fn who_wants_a_key_that_is_being_asked_for_waits_for_that_answer_alone() {
    let asked = Arc::new(AtomicU64::new(0));
    let tokens = tokens(Peer::local("auth", changing(asked.clone())));
    let begun = Instant::now();
    let first = tokens.load_keys("key1");
    let later = async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        tokens.load_keys("key1").await
    };
    let (first, later) = tokio::join!(first, later);
    assert!(first.is_ok() && later.is_ok());
    assert!(begun.elapsed() < KEYS_EVERY);
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}
