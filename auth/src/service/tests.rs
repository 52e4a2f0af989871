use super::*;
use crate::sweeper::run;
use protocol::{ids::UserId, token::Jwks};
use service_kit::postgres::testing::{PrivateServer, Scratch};
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// Far longer than anything should take.
const LONG: Duration = Duration::from_secs(60);

const DAY: Duration = Duration::from_secs(86_400);

fn kids(jwks: Jwks) -> Vec<String> {
    jwks.keys.into_iter().map(|key| key.kid).collect()
}

fn running(auth: &Auth) -> (JoinHandle<Result<(), OpenError>>, CancellationToken) {
    let shutdown = CancellationToken::new();
    (tokio::spawn(run(auth.clone(), shutdown.clone())), shutdown)
}

async fn sign_up(auth: &Auth, name: &str) -> Result<UserId, AuthError> {
    let granted = auth.sign_up(name, "correct horse".into()).await;
    granted.map(|grant| grant.user_id)
}

async fn until_ready(auth: &Auth) {
    let ready = async {
        while auth.ready().await.is_err() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(LONG, ready).await.expect("it becomes ready");
}

#[tokio::test]
async fn it_waits_for_a_server_that_is_not_there_yet() {
    let mut server = PrivateServer::stopped();
    let auth = Auth::open(Auth::cheap(), &server.url()).await.unwrap();
    let (running, shutdown) = running(&auth);
    assert!(auth.ready().await.is_err());
    let refused = sign_up(&auth, "ada").await.unwrap_err();
    assert_eq!(refused.code().as_str(), "unavailable", "{refused}");

    server.resurrect().await;
    until_ready(&auth).await;
    sign_up(&auth, "ada").await.unwrap();
    shutdown.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_is_refused_for_good_ends_it() {
    let server = PrivateServer::start().await;
    let missing = format!("{}_missing", server.url());
    let opened = Auth::open(Auth::cheap(), &missing).await;
    assert!(opened.is_err_and(|error| error.to_string().contains("_missing")));

    let mut server = PrivateServer::stopped();
    let missing = format!("{}_missing", server.url());
    let auth = Auth::open(Auth::cheap(), &missing).await.unwrap();
    let (running, _shutdown) = running(&auth);
    server.resurrect().await;
    let ended = timeout(LONG, running).await.expect("it ends").unwrap();
    assert!(ended.is_err_and(|error| error.to_string().contains("_missing")));
}

#[tokio::test]
async fn it_ends_also_while_it_waits() {
    let server = PrivateServer::stopped();
    let auth = Auth::open(Auth::cheap(), &server.url()).await.unwrap();
    let (running, shutdown) = running(&auth);
    shutdown.cancel();
    timeout(LONG, running)
        .await
        .expect("it ends")
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn it_goes_on_when_a_killed_server_is_back() {
    let mut server = PrivateServer::start().await;
    let auth = Auth::open(Auth::cheap(), &server.url()).await.unwrap();
    sign_up(&auth, "ada").await.unwrap();
    server.kill();
    assert!(auth.ready().await.is_err());
    let refused = sign_up(&auth, "bob").await.unwrap_err();
    assert_eq!(refused.code().as_str(), "unavailable", "{refused}");
    server.resurrect().await;
    until_ready(&auth).await;
    sign_up(&auth, "bob").await.unwrap();
    let taken = sign_up(&auth, "ada").await.unwrap_err();
    assert!(
        matches!(taken, AuthError::NameTaken),
        "what was there stays"
    );
}

#[tokio::test]
async fn a_key_that_one_makes_is_published_by_the_other_at_once() {
    let database = Scratch::new().await;
    let one = Auth::open(Auth::cheap(), database.url()).await.unwrap();
    let other = Auth::open(Auth::cheap(), database.url()).await.unwrap();
    let first = kids(one.tokens.published());
    assert_eq!(first, kids(other.tokens.published()));

    let renewed = later(Timestamp::now(), 91 * DAY);
    one.renew_keys(renewed).await.unwrap();
    one.reload_keys(renewed).await.unwrap();
    let both = kids(one.tokens.published());
    assert_eq!(both.len(), 2);
    assert_eq!(kids(other.published(renewed).await.unwrap()), both);
}

#[tokio::test]
async fn nobody_signs_with_keys_that_were_read_long_ago() {
    let folder = tempfile::tempdir().unwrap();
    let auth = Auth::for_tests(&folder).await;
    let now = Timestamp::now();
    let keys = auth.users.signing_keys(auth.outdated(now)).await.unwrap();
    let other = StoredKey::generate(now).unwrap();
    for (age, expected) in [
        (MAX_KEYS_AGE / 2, &other.kid),
        (MAX_KEYS_AGE * 2, &keys[0].kid),
    ] {
        let read_at = Instant::now()
            .checked_sub(age)
            .expect("a machine that runs for longer");
        auth.tokens
            .reload(std::slice::from_ref(&other), read_at)
            .unwrap();
        auth.refresh_keys(now).await.unwrap();
        assert_eq!(&kids(auth.tokens.published())[0], expected);
    }
}
