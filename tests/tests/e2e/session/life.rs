//! Staying alive: heartbeats, silence, and tokens that expire, are refreshed or revoked.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tests::{Account, Raw, Server, Socket, account::http, raw};

const HEARTBEAT: [(&str, &str); 1] = [("SLUICE_GATEWAY__HEARTBEAT", "300ms")];

#[tokio::test]
async fn a_client_that_answers_pings_stays_and_one_that_is_silent_is_closed() {
    let server = Server::start_with(&HEARTBEAT).await;
    let ada = Account::signup(&server.url(), "ada").await;
    let mut silent = Raw::connect(&ada).await;
    let (mut lively, connected) = Socket::connect_since(&ada, Value::Null).await;
    assert_eq!(connected["heartbeat_ms"], 300);
    let begun = Instant::now();
    let mut pings = 0;
    let reason = loop {
        match silent.read_frame().await {
            (raw::opcode::PING, _) => pings += 1,
            (raw::opcode::CLOSE, payload) => break payload,
            (_, payload) => panic!("{}", String::from_utf8_lossy(&payload)),
        }
        lively.receive_ping().await;
    };
    assert_eq!(reason[..2], 4408_u16.to_be_bytes());
    assert!(pings >= 1);
    assert!(
        begun.elapsed() >= Duration::from_millis(500),
        "two heartbeats are granted"
    );
    // Pongs alone are enough, for much longer than two heartbeats.
    for _ in 0..4 {
        lively.receive_ping().await;
    }
    assert_eq!(lively.ask(json!({"type": "alive"})).await["type"], "alive");
}

#[tokio::test]
async fn every_byte_is_a_sign_of_life() {
    let server = Server::start_with(&HEARTBEAT).await;
    let ada = Account::signup(&server.url(), "ada").await;
    let mut slow = Raw::connect(&ada).await;
    let message = json!({"type": "alive", "id": 7}).to_string();
    let frame = raw::frame(raw::opcode::TEXT, message.as_bytes());
    // A message that takes six heartbeats, and no pong in between.
    let (first, rest) = frame.split_at(6);
    for byte in first {
        let (kind, payload) = slow.read_frame().await;
        assert_eq!(
            kind,
            raw::opcode::PING,
            "{}",
            String::from_utf8_lossy(&payload)
        );
        slow.write(&[*byte]).await;
    }
    slow.write(rest).await;
    loop {
        let (kind, payload) = slow.read_frame().await;
        if kind == raw::opcode::TEXT {
            let reply: Value = serde_json::from_slice(&payload).unwrap();
            assert_eq!((&reply["type"], &reply["id"]), (&json!("alive"), &json!(7)));
            return;
        }
        assert_eq!(
            kind,
            raw::opcode::PING,
            "{}",
            String::from_utf8_lossy(&payload)
        );
    }
}

#[tokio::test]
async fn a_refreshed_session_outlives_its_first_token() {
    let server = Server::start_with(&[("SLUICE_AUTH__ACCESS_LIFETIME", "4s")]).await;
    let ada = Account::signup(&server.url(), "ada").await;
    let mut refreshed = Socket::connect(&ada).await;
    let mut forgotten = Socket::connect(&ada).await;
    let mut warned = Vec::new();
    for socket in [&mut refreshed, &mut forgotten] {
        let warning = socket
            .receive("a warning", |message| message["type"] == "token-expiring")
            .await;
        warned.push(warning["expires_at"].clone());
    }
    assert_eq!(warned[0], warned[1], "{warned:?}");
    let body = json!({"refresh_token": ada.grant.refresh_token});
    let grant = http()
        .post(format!("{}/auth/refresh", server.url()))
        .json(&body)
        .send()
        .await
        .unwrap();
    assert_eq!(grant.status(), StatusCode::OK);
    let grant: Value = grant.json().await.unwrap();
    let request = json!({"type": "refresh", "access_token": grant["access_token"]});
    let reply = refreshed.ask(request).await;
    assert_eq!(reply["type"], "refreshed", "{reply}");
    assert!(
        reply["expires_at"].as_str() > warned[0].as_str(),
        "{reply}, {warned:?}"
    );
    // The one that was not refreshed ends with its token, which is good for nothing then; the other goes on.
    assert_eq!(forgotten.closed().await.code, Some(4401));
    assert_eq!(
        ada.get("/auth/validate").await.status(),
        StatusCode::UNAUTHORIZED
    );
    let mut late = Socket::open(&server.url()).await;
    let connect = json!({"type": "connect", "access_token": ada.token()});
    late.ask_refused(connect, "unauthenticated").await;
    refreshed.upload(1, "a.dat", b"still here").await;
}

#[tokio::test]
async fn logging_out_ends_every_session_and_the_tokens() {
    let mut server = Server::start().await;
    let ada = Account::signup(&server.url(), "ada").await;
    let bob = Account::signup(&server.url(), "bob").await;
    let elsewhere = Account::login(&server.url(), "ada").await;
    let mut sockets = [
        Socket::connect(&ada).await,
        Socket::connect(&ada).await,
        Socket::connect(&elsewhere).await,
    ];
    let mut other = Socket::connect(&bob).await;
    let started = sockets[0].start(1, "a.dat", 3000).await;
    assert_eq!(
        ada.request(Method::PUT, "/auth/logout/bob")
            .send()
            .await
            .unwrap()
            .status(),
        StatusCode::FORBIDDEN
    );
    let out = ada
        .request(Method::PUT, "/auth/logout/ada")
        .send()
        .await
        .unwrap();
    let begun = Instant::now();
    assert_eq!(out.status(), StatusCode::NO_CONTENT);
    // At once over HTTP, for every token of the user.
    for account in [&ada, &elsewhere] {
        for path in ["/auth/validate", "/api/v1/files"] {
            assert_eq!(
                account.get(path).await.status(),
                StatusCode::UNAUTHORIZED,
                "{path}"
            );
        }
    }
    for socket in &mut sockets {
        assert_eq!(socket.closed().await.code, Some(4401));
    }
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(other.ask(json!({"type": "alive"})).await["type"], "alive");
    let refused_everywhere = async |url: &str| {
        let body = json!({"refresh_token": ada.grant.refresh_token});
        let refresh = http()
            .post(format!("{url}/auth/refresh"))
            .json(&body)
            .send()
            .await
            .unwrap();
        assert_eq!(refresh.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(
            ada.get("/auth/validate").await.status(),
            StatusCode::UNAUTHORIZED
        );
        let mut socket = Socket::open(url).await;
        let connect = json!({"type": "connect", "access_token": ada.token()});
        socket.ask_refused(connect, "unauthenticated").await;
        assert_eq!(socket.closed().await.code, Some(4401));
    };
    refused_everywhere(&server.url()).await;
    server.restart().await;
    refused_everywhere(&server.url()).await;
    // Logging in again is a fresh start, and the upload is still there to be resumed.
    let again = Account::login(&server.url(), "ada").await;
    let mut socket = Socket::connect(&again).await;
    let resumed = socket.resume(1, &started["upload_id"]).await;
    assert_eq!(
        (&resumed["status"], &resumed["offset"]),
        (&json!("open"), &json!(0)),
        "{resumed}"
    );
}
