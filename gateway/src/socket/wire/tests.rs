use super::*;
use futures::{SinkExt, StreamExt};
use tokio::io::{DuplexStream, ReadHalf, WriteHalf};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};

const LIMIT: Option<usize> = Some(1 << 16);

type Ours = Wire<ReadHalf<DuplexStream>, WriteHalf<DuplexStream>>;

/// A wire and its client; the line between them holds `room` bytes.
async fn connected(room: usize) -> (Ours, WebSocketStream<DuplexStream>) {
    let (ours, theirs) = tokio::io::duplex(room);
    let client = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
    let (read, write) = tokio::io::split(ours);
    let pool = Pool::new(1 << 20, 1 << 16);
    (Wire::new(read, write, Bytes::new(), pool), client)
}

fn text(len: usize) -> Bytes {
    frames::text(&"x".repeat(len))
}

#[tokio::test]
async fn a_client_that_closes_is_answered() {
    let (mut wire, mut client) = connected(1024).await;
    wire.send(frames::text("late"));
    client.send(Message::Close(None)).await.unwrap();
    assert!(matches!(wire.turn(LIMIT).await, Incoming::Gone));
    wire.leave().await;
    let mut last = None;
    while let Some(Ok(message)) = client.next().await {
        last = Some(message);
    }
    assert!(matches!(last, Some(Message::Close(_))), "{last:?}");
}

#[tokio::test]
async fn a_client_that_pings_is_answered() {
    let (mut wire, mut client) = connected(1024).await;
    client.send(Message::Ping("here".into())).await.unwrap();
    assert!(matches!(wire.turn(LIMIT).await, Incoming::Life));
    assert!(futures::poll!(std::pin::pin!(wire.turn(LIMIT))).is_pending());
    assert_eq!(
        client.next().await.unwrap().unwrap(),
        Message::Pong("here".into())
    );
}

#[tokio::test]
async fn a_client_that_reads_slowly_has_not_stalled() {
    let (mut wire, mut client) = connected(64).await;
    for _ in 0..100 {
        wire.send(text(1000));
    }
    let stalled = async |wire: &mut Ours| {
        assert!(futures::poll!(std::pin::pin!(wire.turn(None))).is_pending());
        wire.stalled_for()
    };
    let moment = Duration::from_millis(50);
    stalled(&mut wire).await;
    tokio::time::sleep(moment).await;
    assert!(stalled(&mut wire).await >= moment);
    assert!(
        futures::poll!(client.next()).is_pending(),
        "it takes what is on the line"
    );
    assert!(stalled(&mut wire).await < moment, "something was sent");
}

#[tokio::test]
async fn a_close_is_followed_by_the_end_of_the_stream() {
    let (wire, mut client) = connected(1024).await;
    let closing = tokio::spawn(wire.close(CloseCode::Restart, "the server restarts"));
    let farewell = async {
        assert!(matches!(client.next().await, Some(Ok(Message::Close(_)))));
        assert!(client.next().await.is_none());
    };
    tokio::time::timeout(LINGER / 2, farewell)
        .await
        .expect("the client need not wait until the server gives up reading");
    drop(client);
    closing.await.unwrap();
}

#[tokio::test]
async fn a_long_answer_alone_is_no_backlog() {
    let (mut wire, _client) = connected(64).await;
    let small = text(10).len();
    for (len, backlog) in [(10, 0), (1 << 24, small), (10, 2 * small)] {
        wire.send(text(len));
        assert_eq!(wire.backlog(), backlog);
    }
}

#[tokio::test]
async fn a_wire_that_was_backed_up_reads_again_once_the_client_does() {
    let (mut wire, mut client) = connected(1 << 10).await;
    wire.send(text(READ_BELOW));
    assert!(wire.is_held_up());
    let client = async {
        client.next().await.unwrap().unwrap();
        client.send(Message::text("here")).await.unwrap();
        client
    };
    let (incoming, _client) = tokio::join!(wire.turn(LIMIT), client);
    assert!(matches!(incoming, Incoming::Text(text) if text == "here"));
}
