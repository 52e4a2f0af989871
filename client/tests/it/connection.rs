//! Connections: tokens, close codes, draining, silence.

use crate::script::{Got, Script, content, soon, unavailable};
use client::{Client, Connection, Error, FixedToken, Source, Upload};
use protocol::{
    ErrorCode, Refusal, TransferStatus,
    message::{ClientMessage, Draining, History, ServerMessage, TokenExpiring},
};
use std::time::{Duration, Instant};

#[tokio::test]
async fn it_says_who_it_is() {
    let script = Script::new().await;
    let connecting = tokio::spawn(script.client().program("test", "7").connect());
    let mut peer = script.upgrade().await;
    let connect = peer.connect().await;
    let client = connect.client.unwrap();
    assert_eq!(
        (client.name.as_str(), client.version.as_str()),
        ("test", "7")
    );
    assert_eq!(
        (connect.access_token.as_deref(), connect.since),
        (Some("token-0"), None)
    );
    peer.accept(connect.id, 30_000, &[]).await;
    let client = soon(connecting).await.unwrap().unwrap();
    let connection = client.connection().borrow().clone();
    assert!(matches!(connection, Connection::Connected(user) if user.name == "anna"));
}

#[tokio::test]
async fn a_refused_token_is_exchanged_once() {
    let script = Script::new().await;
    let connecting = tokio::spawn(script.client().connect());
    for token in ["token-0", "token-1"] {
        let mut peer = script.upgrade().await;
        let connect = peer.connect().await;
        assert_eq!(connect.access_token.as_deref(), Some(token));
        peer.refuse(
            Some(connect.id),
            None,
            Refusal::new(ErrorCode::Unauthenticated, "expired"),
        )
        .await;
        peer.close(4401, "no valid token").await;
    }
    let error = soon(connecting).await.unwrap().err().unwrap();
    assert!(
        matches!(&error, Error::Unauthenticated { reason, .. } if reason.contains("expired")),
        "{error}"
    );
}

#[tokio::test]
async fn a_session_whose_token_is_revoked_goes_on_with_another() {
    let script = Script::new().await;
    let (client, peer) = script.connected().await;
    peer.close(4401, "logged out").await;
    let mut peer = script.upgrade().await;
    let connect = peer.connect().await;
    assert_eq!(connect.access_token.as_deref(), Some("token-1"));
    peer.accept(connect.id, 30_000, &[]).await;
    drop(client);
}

#[tokio::test]
async fn without_another_token_it_says_so() {
    let script = Script::new().await;
    let connecting = tokio::spawn(
        Client::builder(script.url.clone())
            .tokens(FixedToken::new("t"))
            .connect(),
    );
    let mut peer = script.upgrade().await;
    peer.connect().await;
    peer.close(4401, "no valid token").await;
    let error = soon(connecting).await.unwrap().err().unwrap();
    assert!(matches!(error, Error::Unauthenticated { .. }), "{error}");
}

#[tokio::test]
async fn an_expiring_token_is_replaced_in_the_session() {
    let script = Script::new().await;
    let (_client, mut peer) = script.connected().await;
    let expires_at = jiff::Timestamp::MAX;
    peer.say(ServerMessage::TokenExpiring(TokenExpiring { expires_at }))
        .await;
    let ClientMessage::Refresh(refresh) = peer.other().await else {
        panic!("a fresh token is told")
    };
    assert_eq!(refresh.access_token, "token-1");
}

#[tokio::test]
async fn a_draining_server_is_left_alone_for_as_long_as_it_asks() {
    let script = Script::new().await;
    let (client, mut peer) = script.connected().await;
    let content = content(9000);
    let source = Source::bytes(content.clone());
    let meta = source.meta("a");
    let mut handle = client.upload(Upload::new(source, meta)).await.unwrap();
    let start = peer.start().await;
    peer.say(ServerMessage::Draining(Draining {
        retry_after_ms: 400,
    }))
    .await;
    peer.started(&start, 0, TransferStatus::Open).await;
    peer.chunk().await;
    peer.acked(start.stream, 1000).await;
    let closed_at = Instant::now();
    peer.close(1012, "restart").await;
    let mut peer = script.welcome(&[]).await;
    assert!(closed_at.elapsed() >= Duration::from_millis(400));
    let start = peer.start().await;
    peer.started(&start, 1000, TransferStatus::Open).await;
    peer.take_rest(start.stream, 1000, &content).await;
    soon(handle.cached()).await.unwrap();
}

#[tokio::test]
async fn an_overloaded_server_is_asked_again_later() {
    let script = Script::new().await;
    let connecting = tokio::spawn(script.client().connect());
    let mut peer = script.upgrade().await;
    let connect = peer.connect().await;
    peer.refuse(Some(connect.id), None, unavailable(300)).await;
    let closed_at = Instant::now();
    peer.close(1013, "can't verify tokens now").await;
    let _peer = script.welcome(&[]).await;
    assert!(closed_at.elapsed() >= Duration::from_millis(300));
    soon(connecting).await.unwrap().unwrap();
}

#[tokio::test]
async fn final_close_codes_end_the_client() {
    for code in [1009, 4400, 4403, 4409] {
        let script = Script::new().await;
        let (client, peer) = script.connected().await;
        let mut connection = client.connection();
        peer.close(code, "no more").await;
        let closed = soon(connection.wait_for(|now| matches!(now, Connection::Closed(_))))
            .await
            .unwrap()
            .clone();
        let Connection::Closed(error) = closed else {
            panic!("waited for")
        };
        assert!(
            matches!(&error, Error::Incompatible { reason, .. } if reason.contains("no more")),
            "{error}"
        );
        assert!(client.history(Default::default()).await.is_err());
    }
}

#[tokio::test]
async fn pings_are_answered() {
    use futures::SinkExt;
    use tokio_tungstenite::tungstenite::Message;
    let script = Script::new().await;
    let (_client, mut peer) = script.connected().await;
    peer.socket
        .send(Message::Ping(Vec::new().into()))
        .await
        .unwrap();
    assert_eq!(peer.got().await, Got::Pong);
}

#[tokio::test]
async fn a_silent_server_is_left() {
    let script = Script::new().await;
    let connecting = tokio::spawn(script.client().connect());
    let mut peer = script.upgrade().await;
    let connect = peer.connect().await;
    peer.accept(connect.id, 100, &[]).await;
    let accepted_at = Instant::now();
    let client = soon(connecting).await.unwrap().unwrap();
    let _next = script.welcome(&[]).await;
    assert!(
        accepted_at.elapsed() >= Duration::from_millis(200),
        "two heartbeats"
    );
    drop((peer, client));
}

#[tokio::test]
async fn a_question_is_asked_again_after_a_break() {
    let script = Script::new().await;
    let (client, mut peer) = script.connected().await;
    let asking = tokio::spawn(async move { client.history(Default::default()).await });
    assert!(matches!(peer.other().await, ClientMessage::GetHistory(_)));
    peer.vanish();
    let mut peer = script.welcome(&[]).await;
    let ClientMessage::GetHistory(query) = peer.other().await else {
        panic!("it is asked again")
    };
    peer.say(ServerMessage::History(History {
        id: query.id,
        files: Vec::new(),
        next_cursor: None,
    }))
    .await;
    assert_eq!(soon(asking).await.unwrap().unwrap().files, []);
}

#[tokio::test]
async fn an_address_without_a_server_is_given_up_soon() {
    let script = Script::new().await;
    let builder = script
        .client()
        .patience(Duration::from_millis(300), Duration::MAX);
    drop(script);
    let error = soon(builder.connect()).await.err().unwrap();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn a_server_of_another_kind_is_recognised() {
    let script = Script::new().await;
    let (connected, _) = tokio::join!(
        script.client().connect(),
        script.http("404 Not Found", 12, b"nothing here")
    );
    let error = connected.err().unwrap();
    assert!(
        matches!(&error, Error::Incompatible { reason, .. } if reason.contains("404")),
        "{error}"
    );
}

#[tokio::test]
async fn a_proxy_without_its_server_is_only_lost() {
    let script = Script::new().await;
    let connecting = tokio::spawn(script.client().connect());
    script.http("502 Bad Gateway", 0, b"").await;
    let _peer = script.welcome(&[]).await;
    soon(connecting).await.unwrap().unwrap();
}
