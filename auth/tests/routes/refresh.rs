//! New tokens for old ones.

use crate::service::{Service, cheap};
use auth::Config;
use axum::http::StatusCode;
use protocol::http::Grant;
use service_kit::config::Millis;

#[tokio::test]
async fn each_token_gives_the_next_one() {
    let service = Service::start().await;
    let mut grant = service.user("ada").await;
    for _ in 0..3 {
        let reply = service
            .refresh(&grant.refresh_token)
            .await
            .expect(StatusCode::OK);
        assert_eq!(reply.header("cache-control"), "no-store");
        let next: Grant = reply.json();
        assert_eq!(next.user_id, grant.user_id);
        assert_ne!(next.refresh_token, grant.refresh_token);
        grant = next;
    }
}

#[tokio::test]
async fn using_a_token_twice_ends_the_login() {
    // Without a pause between both uses, only a grace of nothing tells the second one from a repetition.
    let service = Service::with(Config {
        refresh_grace: Millis(0),
        ..cheap()
    })
    .await;
    let first = service.user("ada").await;
    let second: Grant = service
        .refresh(&first.refresh_token)
        .await
        .expect(StatusCode::OK)
        .json();
    let third: Grant = service
        .refresh(&second.refresh_token)
        .await
        .expect(StatusCode::OK)
        .json();

    service
        .refresh(&first.refresh_token)
        .await
        .expect_problem(StatusCode::UNAUTHORIZED, "unauthenticated");
    service
        .refresh(&third.refresh_token)
        .await
        .expect_problem(StatusCode::UNAUTHORIZED, "unauthenticated");
}

#[tokio::test]
async fn a_repeated_use_is_forgiven_if_the_answer_was_lost() {
    let service = Service::start().await;
    let first = service.user("ada").await;
    let lost: Grant = service
        .refresh(&first.refresh_token)
        .await
        .expect(StatusCode::OK)
        .json();
    let second: Grant = service
        .refresh(&first.refresh_token)
        .await
        .expect(StatusCode::OK)
        .json();
    assert_ne!(lost.refresh_token, second.refresh_token);
    service
        .refresh(&second.refresh_token)
        .await
        .expect(StatusCode::OK);
}

#[tokio::test]
async fn what_is_no_token_is_refused() {
    let service = Service::start().await;
    let good = service.user("ada").await.refresh_token;
    for token in ["", "x", &good.to_lowercase(), &"A".repeat(64)] {
        service
            .refresh(token)
            .await
            .expect_problem(StatusCode::UNAUTHORIZED, "unauthenticated");
    }
    service.refresh(&good).await.expect(StatusCode::OK);
}
