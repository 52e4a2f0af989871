//! Signing up, logging in, refreshing, logging out.

use super::{get, problem, send};
use reqwest::Method;
use serde_json::{Value, json};
use tests::{Account, PASSWORD, Server, account::http};

#[tokio::test]
async fn signing_up_and_logging_in() {
    let server = Server::start().await;
    let url = server.url();
    let ada = Account::signup(&url, "Ada").await;
    let signup = |body: Value| send(http().post(format!("{url}/auth/signup")).json(&body));
    let login = |name: &str, password: &str| {
        let body = json!({"password": password});
        send(http().put(format!("{url}/auth/login/{name}")).json(&body))
    };
    for (body, status, code) in [
        (
            json!({"user_name": "Ada", "password": PASSWORD}),
            409,
            "conflict",
        ),
        (
            json!({"user_name": "aDA", "password": PASSWORD}),
            409,
            "conflict",
        ),
        (
            json!({"user_name": "a b", "password": PASSWORD}),
            422,
            "name-invalid",
        ),
        (
            json!({"user_name": "", "password": PASSWORD}),
            422,
            "name-invalid",
        ),
        (
            json!({"user_name": "bob", "password": "short"}),
            400,
            "invalid-message",
        ),
        (json!({"user_name": "bob"}), 400, "invalid-message"),
        (json!([]), 400, "invalid-message"),
    ] {
        problem(signup(body).await, status, code).await;
    }
    // Whoever signs up is a user, whatever is asked for.
    let body =
        json!({"user_name": "eve", "password": PASSWORD, "role": "admin", "tenant": "other"});
    let eve = signup(body).await;
    assert_eq!(eve.status(), 201);
    assert_eq!(eve.json::<Value>().await.unwrap()["role"], "user");

    let again = login("ada", PASSWORD).await;
    assert_eq!(again.status(), 200);
    let again: Value = again.json().await.unwrap();
    assert_eq!(
        (&again["user_id"], &again["user_name"]),
        (&json!(ada.grant.user_id), &json!("Ada"))
    );
    assert!(again["expires_in"].as_u64() > Some(0));
    for (name, password) in [
        ("ada", "wrong password"),
        ("nobody", PASSWORD),
        ("a%20b", PASSWORD),
    ] {
        problem(login(name, password).await, 401, "unauthenticated").await;
    }
    let valid = ada.get_json("/auth/validate").await;
    assert_eq!(
        (&valid["user_id"], &valid["user_name"], &valid["role"]),
        (&json!(ada.grant.user_id), &json!("Ada"), &json!("user"))
    );
    assert!(valid["permissions"].is_array(), "{valid}");
    let jwks: Value = get(&format!("{url}/.well-known/jwks.json"))
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(
        (&jwks["keys"][0]["kty"], &jwks["keys"][0]["d"]),
        (&json!("OKP"), &Value::Null)
    );
}

#[tokio::test]
async fn refreshing_and_logging_out() {
    let server = Server::start().await;
    let url = server.url();
    let ada = Account::signup(&url, "ada").await;
    let refresh = |token: &str| {
        let body = json!({"refresh_token": token});
        send(http().post(format!("{url}/auth/refresh")).json(&body))
    };
    let fresh = refresh(&ada.grant.refresh_token).await;
    assert_eq!(fresh.status(), 200);
    let fresh: Value = fresh.json().await.unwrap();
    assert_ne!(fresh["refresh_token"], ada.grant.refresh_token);
    for token in ["", "x", ada.token()] {
        problem(refresh(token).await, 401, "unauthenticated").await;
    }
    let logout = |name: &str| send(ada.request(Method::PUT, &format!("/auth/logout/{name}")));
    problem(logout("bob").await, 403, "forbidden").await;
    problem(
        send(http().put(format!("{url}/auth/logout/ada"))).await,
        401,
        "unauthenticated",
    )
    .await;
    let out = logout("ada").await;
    assert_eq!(out.status(), 204);
    assert!(
        out.headers()
            .keys()
            .all(|name| !name.as_str().starts_with("x-sluice")),
        "what services tell each other stays inside: {:?}",
        out.headers()
    );
    problem(logout("ada").await, 401, "unauthenticated").await;
    problem(
        refresh(fresh["refresh_token"].as_str().unwrap()).await,
        401,
        "unauthenticated",
    )
    .await;
    // An admin can log others out.
    let root = server.admin("root").await;
    let bob = Account::signup(&url, "bob").await;
    let out = send(root.request(Method::PUT, "/auth/logout/bob")).await;
    assert_eq!(out.status(), 204);
    problem(bob.get("/auth/validate").await, 401, "unauthenticated").await;
    problem(
        send(root.request(Method::PUT, "/auth/logout/nobody")).await,
        404,
        "not-found",
    )
    .await;
}
