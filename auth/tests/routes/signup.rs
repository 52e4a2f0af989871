//! Who gets an account, and what comes with it.

use crate::service::{PASSWORD, Service, caller, cheap};
use auth::{Config, PasswordConfig};
use axum::http::StatusCode;
use futures::future::join_all;
use protocol::{
    http::{Grant, Validated},
    identity::Role,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

#[tokio::test]
async fn who_signs_up_is_logged_in() {
    let service = Service::start().await;
    let reply = service.signup("Ada").await.expect(StatusCode::CREATED);
    assert_eq!(reply.header("cache-control"), "no-store");
    let grant: Grant = reply.json();
    assert_eq!(
        (grant.user_name.as_str(), grant.role, grant.expires_in),
        ("Ada", Role::User, 900)
    );

    let validated: Validated = service
        .get("/auth/validate", Some(&caller(&grant)))
        .await
        .expect(StatusCode::OK)
        .json();
    assert_eq!(
        (validated.user_id, validated.user_name.as_str()),
        (grant.user_id, "Ada")
    );
    assert!(
        validated
            .permissions
            .iter()
            .any(|permission| permission == "uploads:write")
    );
    assert!(
        !validated
            .permissions
            .iter()
            .any(|permission| permission == "files:read:all")
    );

    service
        .refresh(&grant.refresh_token)
        .await
        .expect(StatusCode::OK);
    service.login("Ada", PASSWORD).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn admins_may_do_more() {
    let service = Service::start().await;
    let admin = service.admin("root").await;
    let validated: Validated = service
        .get("/auth/validate", Some(&admin))
        .await
        .expect(StatusCode::OK)
        .json();
    assert_eq!(validated.role, Role::Admin);
    assert!(
        validated
            .permissions
            .iter()
            .any(|permission| permission == "files:read:all")
    );
}

#[tokio::test]
async fn a_name_is_given_once_in_whatever_case() {
    let service = Service::start().await;
    service.user("Ada").await;
    for name in ["Ada", "ada", "ADA"] {
        service
            .signup(name)
            .await
            .expect_problem(StatusCode::CONFLICT, "conflict");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_fifty_gets_a_name() {
    let service = Service::start().await;
    let replies = join_all((0..50).map(|_| service.signup("ada"))).await;
    let mut statuses = BTreeMap::new();
    for reply in &replies {
        *statuses.entry(reply.status.as_u16()).or_insert(0) += 1;
    }
    assert_eq!(statuses, BTreeMap::from([(201, 1), (409, 49)]));
}

#[tokio::test]
async fn names_and_passwords_have_rules() {
    let service = Service::start().await;
    for name in ["", "a b", "..", &"x".repeat(65)] {
        let reply = service.signup(name).await;
        reply.expect_problem(StatusCode::UNPROCESSABLE_ENTITY, "name-invalid");
        assert_eq!(reply.json::<Value>()["title"], "The user name is not valid");
    }
    for password in ["", "1234567", &"x".repeat(1025)] {
        let reply = service
            .post(
                "/auth/signup",
                json!({"user_name": "ada", "password": password}),
            )
            .await;
        reply.expect_problem(StatusCode::BAD_REQUEST, "invalid-message");
        assert_eq!(
            reply.json::<Value>()["detail"],
            "a password has 8 to 1024 bytes"
        );
    }
    service
        .post(
            "/auth/signup",
            json!({"user_name": "ada", "password": "\u{1}".repeat(1024)}),
        )
        .await
        .expect(StatusCode::CREATED);
}

#[tokio::test]
async fn bodies_must_make_sense() {
    let service = Service::start().await;
    service
        .post("/auth/signup", json!({"user_name": "ada"}))
        .await
        .expect_problem(StatusCode::BAD_REQUEST, "invalid-message");
    let reply = service
        .post(
            "/auth/signup",
            json!({"user_name": "ada", "password": "x".repeat(20_000)}),
        )
        .await;
    assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_finds_no_place_to_hash_is_told_when_to_come_back() {
    // A hash of full cost takes far longer than what comes before it, so the others find it running.
    let passwords = PasswordConfig {
        parallel: 1,
        max_waiting: 0,
        ..PasswordConfig::default()
    };
    let service = Service::with(Config {
        passwords,
        ..cheap()
    })
    .await;
    let names: Vec<_> = (0..8).map(|n| format!("user-{n}")).collect();
    let replies = join_all(names.iter().map(|name| service.signup(name))).await;
    let (created, refused): (Vec<_>, Vec<_>) = replies
        .iter()
        .partition(|reply| reply.status == StatusCode::CREATED);
    assert!(
        !created.is_empty() && !refused.is_empty(),
        "{} got a place",
        created.len()
    );
    for reply in refused {
        reply.expect_problem(StatusCode::SERVICE_UNAVAILABLE, "unavailable");
        assert_eq!(reply.header("retry-after"), "1");
    }
}

#[tokio::test]
async fn it_must_be_known_who_calls() {
    let service = Service::start().await;
    service
        .get("/auth/validate", None)
        .await
        .expect_problem(StatusCode::UNAUTHORIZED, "unauthenticated");

    let elsewhere = Service::start().await.user("ada").await;
    let reply = service
        .get("/auth/validate", Some(&caller(&elsewhere)))
        .await;
    reply.expect_problem(StatusCode::UNAUTHORIZED, "unauthenticated");
}

#[tokio::test]
async fn unknown_paths_are_problems() {
    Service::start()
        .await
        .get("/auth/none", None)
        .await
        .expect_problem(StatusCode::NOT_FOUND, "not-found");
}
