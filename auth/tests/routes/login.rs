//! Passwords, right and wrong.

use crate::service::{PASSWORD, Service, cheap};
use auth::{Config, LoginLimits};
use axum::http::StatusCode;
use futures::future::join_all;
use protocol::http::Grant;
use serde_json::Value;
use service_kit::config::Millis;

#[tokio::test]
async fn the_right_password_logs_in_under_the_name_in_any_case() {
    let service = Service::start().await;
    let user_id = service.user("Ada").await.user_id;
    for name in ["Ada", "aDA"] {
        let grant: Grant = service
            .login(name, PASSWORD)
            .await
            .expect(StatusCode::OK)
            .json();
        assert_eq!((grant.user_id, grant.user_name.as_str()), (user_id, "Ada"));
    }
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_user_look_the_same() {
    let service = Service::start().await;
    service.user("ada").await;
    let wrong = service.login("ada", "incorrect horse").await;
    wrong.expect_problem(StatusCode::UNAUTHORIZED, "unauthenticated");
    for name in ["bob", "no%20name"] {
        let unknown = service.login(name, PASSWORD).await;
        assert_eq!(
            (unknown.status, unknown.json::<Value>()),
            (wrong.status, wrong.json::<Value>())
        );
    }
}

fn three_failures() -> Config {
    Config {
        login_limits: LoginLimits {
            max_failures: 3,
            window: Millis::hours(1),
        },
        ..cheap()
    }
}

#[tokio::test]
async fn failures_are_limited_per_name() {
    let service = Service::with(three_failures()).await;
    service.user("ada").await;
    service.user("bob").await;
    for name in ["ada", "Ada", "ADA"] {
        service
            .login(name, "incorrect horse")
            .await
            .expect(StatusCode::UNAUTHORIZED);
    }
    let limited = service.login("ada", PASSWORD).await;
    limited.expect_problem(StatusCode::TOO_MANY_REQUESTS, "rate-limited");
    let wait: u64 = limited.header("retry-after").parse().unwrap();
    assert!((3500..=3600).contains(&wait), "{wait} s");
    service.login("bob", PASSWORD).await.expect(StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_in_parallel_passes_no_limit() {
    let service = Service::with(three_failures()).await;
    service.user("ada").await;
    let replies = join_all((0..20).map(|_| service.login("ada", "incorrect horse"))).await;
    let guesses = replies
        .iter()
        .filter(|reply| reply.status == StatusCode::UNAUTHORIZED)
        .count();
    assert_eq!(guesses, 3);
}

#[tokio::test]
async fn success_does_not_count_as_failure() {
    let service = Service::with(three_failures()).await;
    service.user("ada").await;
    for _ in 0..5 {
        service.login("ada", PASSWORD).await.expect(StatusCode::OK);
    }
}
