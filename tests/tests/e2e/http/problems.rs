//! Refusals are problems with stable codes.

use super::{problem, send};
use reqwest::{Method, header};
use serde_json::json;
use tests::{Account, PASSWORD, Server, account::http};

const NOBODY: &str = "01920000-0000-7000-8000-000000000000";

#[tokio::test]
async fn refusals_are_problems_with_stable_codes() {
    let server = Server::start().await;
    let ada = Account::signup(&server.url(), "ada").await;
    without_a_good_token(&server.url()).await;
    not_there_or_not_understood(&ada).await;
    with_a_wrong_method(&ada).await;
    with_a_wrong_body(&server.url()).await;
}

async fn without_a_good_token(url: &str) {
    for path in [
        "/auth/validate",
        "/api/v1/files",
        &format!("/api/v1/files/{NOBODY}"),
        &format!("/api/v1/files/{NOBODY}/content"),
        &format!("/api/v1/uploads/{NOBODY}"),
        &format!("/client/history/{NOBODY}"),
    ] {
        let request = || http().get(format!("{url}{path}"));
        for request in [
            request(),
            request().bearer_auth("no.good.token"),
            request().basic_auth("ada", Some(PASSWORD)),
            request().header(header::AUTHORIZATION, "Bearer"),
        ] {
            problem(send(request).await, 401, "unauthenticated").await;
        }
    }
}

async fn not_there_or_not_understood(ada: &Account) {
    // What services call each other is among the routes that are not there.
    for path in [
        "/no/such/route",
        "/auth",
        "/file/upload",
        "/uploads",
        "/files",
        "/notifications/heads",
        "/auth/revocations?after=0",
        &format!("/api/v1/files/{NOBODY}"),
        &format!("/api/v1/files/{NOBODY}/content"),
        &format!("/api/v1/uploads/{NOBODY}"),
    ] {
        problem(ada.get(path).await, 404, "not-found").await;
    }
    for path in [
        "/api/v1/files/x",
        "/api/v1/files/x/content",
        "/api/v1/uploads/x",
        "/client/history/x",
        "/api/v1/files?limit=0",
        "/api/v1/files?limit=1001",
        "/api/v1/files?limit=-1",
        "/api/v1/files?limit=many",
        "/api/v1/files?cursor=nonsense",
        "/api/v1/files?status=lost",
        "/api/v1/files?from=yesterday",
        "/api/v1/files?owner=ada",
        &format!("/client/history/{}?limit=0", ada.grant.user_id),
        &format!("/client/history/{}?cursor=x", ada.grant.user_id),
    ] {
        problem(ada.get(path).await, 400, "invalid-message").await;
    }
    for path in [
        format!("/client/history/{NOBODY}"),
        format!("/api/v1/files?owner={NOBODY}"),
    ] {
        problem(ada.get(&path).await, 403, "forbidden").await;
    }
}

async fn with_a_wrong_method(ada: &Account) {
    for (method, path) in [
        (Method::GET, "/auth/signup"),
        (Method::DELETE, "/auth/signup"),
        (Method::POST, "/auth/login/ada"),
        (Method::POST, "/api/v1/files"),
        (Method::PUT, "/healthz"),
    ] {
        let refused = send(ada.request(method, path)).await;
        assert!(refused.headers().contains_key(header::ALLOW), "{path}");
        problem(refused, 405, "method-not-allowed").await;
    }
}

async fn with_a_wrong_body(url: &str) {
    let signup = || http().post(format!("{url}/auth/signup"));
    let as_json = |body: &'static str| {
        let request = signup().header(header::CONTENT_TYPE, "application/json");
        send(request.body(body))
    };
    for body in ["", "{", "[]", "null", r#"{"user_name":7,"password":8}"#] {
        problem(as_json(body).await, 400, "invalid-message").await;
    }
    problem(
        send(signup().body("{}")).await,
        415,
        "unsupported-media-type",
    )
    .await;
    // Just above the limit, so that the server has read all of it when it refuses, and the answer is not lost in a reset.
    let mut large = json!({"user_name": "", "password": PASSWORD});
    let missing = (2 << 20) + 1 - large.to_string().len();
    large["user_name"] = json!("x".repeat(missing));
    problem(send(signup().json(&large)).await, 413, "body-too-large").await;
}
