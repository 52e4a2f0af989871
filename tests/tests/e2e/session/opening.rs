//! Opening: the handshake, the origin, the ways to bring a token, and what ends a session before it began.

use reqwest::StatusCode;
use serde_json::{Value, json};
use tests::{Account, Server, Socket};

const PROTOCOL: (&str, &str) = ("sec-websocket-protocol", "sluice.v1");

/// Asks for the upgrade; it must be refused with a problem.
async fn refused(url: &str, headers: &[(&str, &str)]) -> (StatusCode, Value) {
    match Socket::upgrade(&format!("{url}/ws"), headers).await {
        Ok(_) => panic!("the upgrade with {headers:?} succeeded"),
        Err((status, problem)) => (status, problem["code"].clone()),
    }
}

#[tokio::test]
async fn the_handshake_is_checked_before_the_upgrade() {
    let settings = [(
        "SLUICE_GATEWAY__ALLOWED_ORIGINS",
        "https://app.example.org,https://other.example.org",
    )];
    let server = Server::start_with(&settings).await;
    let url = server.url();
    let ada = Account::signup(&url, "ada").await;
    let invalid = (StatusCode::BAD_REQUEST, json!("invalid-message"));
    for headers in [
        &[][..],
        &[("sec-websocket-protocol", "chat")],
        &[("sec-websocket-protocol", "sluice.v2, chat")],
    ] {
        assert_eq!(refused(&url, headers).await, invalid, "{headers:?}");
    }
    let plain = ada.get("/ws").await;
    assert_eq!(plain.status(), StatusCode::UPGRADE_REQUIRED);

    let own = url.as_str();
    let forbidden = (StatusCode::FORBIDDEN, json!("forbidden"));
    for origin in [
        "https://evil.example",
        "http://127.0.0.1",
        "null",
        "https://app.example.org:444",
    ] {
        let headers = [PROTOCOL, ("origin", origin)];
        assert_eq!(refused(&url, &headers).await, forbidden, "{origin}");
    }
    for origin in [own, "https://app.example.org", "https://other.example.org"] {
        let headers = [PROTOCOL, ("origin", origin)];
        let opened = Socket::upgrade(&format!("{url}/ws"), &headers).await;
        let (mut socket, _) = opened.unwrap_or_else(|refused| panic!("{origin}: {refused:?}"));
        let connect = json!({"type": "connect", "access_token": ada.token()});
        assert_eq!(socket.ask(connect).await["type"], "connected");
    }
}

#[tokio::test]
async fn a_token_comes_in_the_message_in_a_header_or_as_a_subprotocol() {
    let server = Server::start().await;
    let ada = Account::signup(&server.url(), "ada").await;
    let url = format!("{}/ws", server.url());
    let bearer = format!("Bearer {}", ada.token());
    let offered = format!("sluice.v1, bearer.{}", ada.token());
    let ways = [
        (vec![PROTOCOL], json!(ada.token())),
        (vec![PROTOCOL, ("authorization", &bearer)], json!(null)),
        (vec![("sec-websocket-protocol", &offered)], json!(null)),
        // A good one in the message counts beside one in the upgrade.
        (
            vec![PROTOCOL, ("authorization", &bearer)],
            json!(ada.token()),
        ),
    ];
    for (headers, token) in ways {
        let (mut socket, reply) = Socket::upgrade(&url, &headers).await.expect("an upgrade");
        let echoed: Vec<_> = reply.get_all("sec-websocket-protocol").iter().collect();
        assert_eq!(echoed, ["sluice.v1"]);
        assert!(
            reply
                .values()
                .all(|value| !value.to_str().unwrap_or_default().contains(ada.token())),
            "the token is echoed: {reply:?}"
        );
        let connected = socket
            .ask(json!({"type": "connect", "access_token": token}))
            .await;
        assert_eq!(connected["type"], "connected", "{connected}");
        assert_eq!(
            connected["user"],
            json!({"id": ada.grant.user_id, "name": "ada", "role": "user"})
        );
        let floors = [
            ("max_chunk_bytes", 64 << 10),
            ("window_bytes", 1 << 20),
            ("max_open_uploads", 32),
        ];
        for (limit, floor) in floors {
            assert!(
                connected["limits"][limit].as_u64() >= Some(floor),
                "{connected}"
            );
        }
        assert_eq!(
            connected["topics"][0]["topic"],
            format!("user:{}", ada.grant.user_id)
        );
        socket.upload(1, "a.dat", b"through this door").await;
    }
    // A token in the address, where logs would keep it, is none.
    let in_query = format!("{url}?access_token={0}&token={0}", ada.token());
    let (mut socket, _) = Socket::upgrade(&in_query, &[PROTOCOL])
        .await
        .expect("an upgrade");
    let connect = json!({"type": "connect"});
    socket.ask_refused(connect, "unauthenticated").await;
    assert_eq!(socket.closed().await.code, Some(4401));
}

#[tokio::test]
async fn without_a_good_token_the_socket_is_closed() {
    let server = Server::start().await;
    let ada = Account::signup(&server.url(), "ada").await;
    let url = format!("{}/ws", server.url());
    let mut forged = ada.token().to_owned();
    let last = if forged.ends_with('A') { 'B' } else { 'A' };
    forged.replace_range(forged.len() - 1.., &last.to_string());
    let unsigned = format!("{}.", ada.token().rsplit_once('.').unwrap().0);
    for token in ["x", &forged, &unsigned, &ada.grant.refresh_token] {
        // In the upgrade: it succeeds, and the close needs no message of ours.
        let bearer = format!("Bearer {token}");
        let offered = format!("sluice.v1, bearer.{token}");
        for headers in [
            vec![PROTOCOL, ("authorization", bearer.as_str())],
            vec![("sec-websocket-protocol", offered.as_str())],
        ] {
            let (mut socket, _) = Socket::upgrade(&url, &headers).await.expect("an upgrade");
            assert_eq!(socket.closed().await.code, Some(4401), "{token}");
        }
        let mut socket = Socket::open(&server.url()).await;
        let connect = json!({"type": "connect", "access_token": token});
        socket.ask_refused(connect, "unauthenticated").await;
        assert_eq!(socket.closed().await.code, Some(4401), "{token}");
    }
    let mut socket = Socket::open(&server.url()).await;
    let connect = json!({"type": "connect"});
    socket.ask_refused(connect, "unauthenticated").await;
    assert_eq!(socket.closed().await.code, Some(4401));
    assert_eq!(ada.files().await.len(), 0);
}

#[tokio::test]
async fn a_session_begins_with_connect() {
    let settings = [("SLUICE_GATEWAY__CONNECT_DEADLINE", "1s")];
    let server = Server::start_with(&settings).await;
    let ada = Account::signup(&server.url(), "ada").await;
    for (first, code) in [
        ("{", 4400),
        ("", 4400),
        ("[]", 4400),
        (r#"{"type":"no-such-type"}"#, 4400),
        (r#"{"type":"connect"}"#, 4400),
        (r#"{"type":"alive","id":1}"#, 4401),
        (
            r#"{"type":"start-transfer","id":1,"stream":1,"name":"a","size":1}"#,
            4401,
        ),
    ] {
        let mut socket = Socket::open(&server.url()).await;
        socket.send_text(first).await;
        let closed = socket.closed().await;
        assert_eq!(closed.code, Some(code), "{first}: {closed:?}");
    }
    let mut socket = Socket::open(&server.url()).await;
    socket.send_chunk(1, 0, b"bytes").await;
    assert_eq!(socket.closed().await.code, Some(4401));
    // Nothing at all, or a connect that comes while none is read any more.
    let mut silent = Socket::open(&server.url()).await;
    assert_eq!(silent.closed().await.code, Some(4401));
    // Once connected, the deadline is forgotten.
    let mut socket = Socket::connect(&ada).await;
    let mut silent = Socket::open(&server.url()).await;
    assert_eq!(silent.closed().await.code, Some(4401));
    assert_eq!(socket.ask(json!({"type": "alive"})).await["type"], "alive");
}

/// A message of exactly this many bytes.
fn padded(mut message: Value, length: usize) -> String {
    message["pad"] = json!("");
    let missing = length - message.to_string().len();
    message["pad"] = json!("x".repeat(missing));
    message.to_string()
}

#[tokio::test]
async fn messages_have_a_limit_before_and_after_connected_and_the_close_arrives() {
    let server = Server::start().await;
    let ada = Account::signup(&server.url(), "ada").await;
    let connect = json!({"type": "connect", "id": 1, "access_token": ada.token()});
    let mut socket = Socket::open(&server.url()).await;
    socket.send_text(padded(connect.clone(), 64 << 10)).await;
    let connected = socket
        .receive("connected", |message| message["id"] == 1)
        .await;
    let most = connected["limits"]["max_message_bytes"].as_u64().unwrap() as usize;
    let alive = json!({"type": "alive", "id": 2});
    socket.send_text(padded(alive.clone(), most)).await;
    socket
        .receive("the reply", |message| message["id"] == 2)
        .await;
    socket.send_text(padded(alive, most + 1)).await;
    assert_eq!(socket.closed().await.code, Some(1009));

    for length in [(64 << 10) + 1, most, most + 1, 8 << 20] {
        let mut socket = Socket::open(&server.url()).await;
        // The server says that it is too much while most of it is still on its way.
        socket.send_text(padded(connect.clone(), length)).await;
        assert_eq!(socket.closed().await.code, Some(1009), "{length}");
    }
    let mut socket = Socket::connect(&ada).await;
    socket.send_binary(vec![1; 8 << 20]).await;
    assert_eq!(socket.closed().await.code, Some(1009));
}

#[tokio::test]
async fn a_user_has_no_more_sessions_than_allowed() {
    let settings = [("SLUICE_GATEWAY__MAX_SESSIONS_PER_USER", "3")];
    let server = Server::start_with(&settings).await;
    let ada = Account::signup(&server.url(), "ada").await;
    let bob = Account::signup(&server.url(), "bob").await;
    let mut sockets = Vec::new();
    for _ in 0..3 {
        sockets.push(Socket::connect(&ada).await);
    }
    let connect = json!({"type": "connect", "access_token": ada.token()});
    let mut fourth = Socket::open(&server.url()).await;
    let error = fourth.ask_refused(connect.clone(), "rate-limited").await;
    assert!(error["retry_after_ms"].as_u64() > Some(0), "{error}");
    assert_eq!(fourth.closed().await.code, Some(4429));
    Socket::connect(&bob).await;
    // One that ends, however it ends, makes room.
    sockets.pop().expect("three are open").cut();
    tests::until("room for another session", async || {
        let mut socket = Socket::open(&server.url()).await;
        let answer = socket.ask(connect.clone()).await;
        (answer["type"] == "connected").then_some(())
    })
    .await;
    for mut socket in sockets {
        assert_eq!(socket.ask(json!({"type": "alive"})).await["type"], "alive");
    }
}
