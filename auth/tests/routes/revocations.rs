//! The feed by which gateways learn whose tokens have ended.

use crate::service::{PASSWORD, Service, call, caller, request};
use axum::http::StatusCode;
use protocol::{http::Grant, token::Revocation};
use std::time::{Duration, Instant};

/// Far longer than any test should take.
const LONG_MS: u64 = 30_000;

#[tokio::test]
async fn who_waits_is_woken() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    let caller = caller(&ada);
    let begun = Instant::now();
    let (revocations, _) = tokio::join!(
        service.revocations(0, LONG_MS),
        service.logout(Some(&caller), "ada")
    );
    assert!(
        begun.elapsed() < Duration::from_millis(LONG_MS / 2),
        "woken after {:?}",
        begun.elapsed()
    );
    assert_eq!(revocations.seq, 1);
    assert_eq!(
        revocations.revoked,
        [Revocation {
            user_id: ada.user_id,
            generation: 2
        }]
    );
}

#[tokio::test]
async fn another_instance_is_heard() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    let other = service.another_instance().await;
    let begun = Instant::now();
    let logout = request("PUT", "/auth/logout/ada", Some(&caller(&ada)), None);
    let (revocations, reply) = tokio::join!(service.revocations(0, LONG_MS), call(&other, logout));
    assert_eq!(reply.status, StatusCode::NO_CONTENT);
    assert!(
        begun.elapsed() < Duration::from_millis(LONG_MS / 2),
        "heard after {:?}",
        begun.elapsed()
    );
    assert_eq!(revocations.seq, 1);
}

#[tokio::test]
async fn news_are_answered_at_once_and_silence_at_the_deadline() {
    let service = Service::start().await;
    assert_eq!(service.revocations(0, 0).await.seq, 0);
    for expected in [1, 2] {
        let grant: Grant = match expected {
            1 => service.user("ada").await,
            _ => service
                .login("ada", PASSWORD)
                .await
                .expect(StatusCode::OK)
                .json(),
        };
        service
            .logout(Some(&caller(&grant)), "ada")
            .await
            .expect(StatusCode::NO_CONTENT);
        assert_eq!(
            service.revocations(expected - 1, LONG_MS).await.seq,
            expected
        );
    }
    let begun = Instant::now();
    let silence = service.revocations(2, 20).await;
    assert!(begun.elapsed() >= Duration::from_millis(20));
    assert_eq!((silence.seq, silence.revoked.len()), (2, 0));
}

#[tokio::test]
async fn who_is_ahead_learns_that_the_numbers_started_anew() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    service
        .logout(Some(&caller(&ada)), "ada")
        .await
        .expect(StatusCode::NO_CONTENT);
    let revocations = service.revocations(77, LONG_MS).await;
    assert_eq!((revocations.seq, revocations.revoked.len()), (1, 1));
}

#[tokio::test]
async fn a_query_that_makes_no_sense_is_refused() {
    let service = Service::start().await;
    for query in ["after=-1", "after=x", "since=1"] {
        let reply = service
            .get(&format!("/auth/revocations?{query}"), None)
            .await;
        reply.expect_problem(StatusCode::BAD_REQUEST, "invalid-message");
    }
}
