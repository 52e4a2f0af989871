use std::sync::atomic::{AtomicUsize, Ordering};

use axum::{extract::Request as AxumRequest, routing::get};
use http::{StatusCode, header};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Notify,
    task::JoinHandle,
    time::timeout,
};

use super::*;

/// Long enough for any machine, short enough for a test that fails.
const PATIENCE: Duration = Duration::from_secs(20);

struct Server {
    address: SocketAddr,
    shutdown: Shutdown,
    serving: JoinHandle<Result<(), Infallible>>,
}

impl Server {
    async fn start(router: Router, limits: HttpLimits) -> Self {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = Shutdown::new();
        let serving = tokio::spawn(serve(listener, router, limits, shutdown.clone()));
        Self {
            address,
            shutdown,
            serving,
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Waits until every connection has ended.
    async fn ended(self) {
        let tracker = self.shutdown.tracker();
        tracker.close();
        timeout(PATIENCE, tracker.wait())
            .await
            .expect("connections are left");
        self.serving.await.unwrap().unwrap();
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn hundreds_may_wait_to_be_accepted() {
    let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let connecting = async {
        let mut waiting = Vec::new();
        for _ in 0..400 {
            waiting.push(TcpStream::connect(address).await.unwrap());
        }
        waiting
    };
    let waiting = timeout(PATIENCE, connecting).await;
    assert_eq!(waiting.expect("there is room for all").len(), 400);
}

async fn send(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
}

/// Reads until `end` has come, or the end of the connection.
async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = Vec::new();
    let reading = async {
        while !text
            .windows(end.len().max(1))
            .any(|part| part == end.as_bytes())
        {
            match stream.read_u8().await {
                Ok(byte) => text.push(byte),
                Err(_) => break,
            }
        }
    };
    timeout(PATIENCE, reading)
        .await
        .expect("the server says nothing");
    String::from_utf8(text).unwrap()
}

async fn read_to_end(stream: &mut TcpStream) -> String {
    read_until(stream, "").await
}

const GET: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";

#[tokio::test]
async fn a_handler_learns_the_address_of_its_client() {
    let router = Router::new().route(
        "/",
        get(async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.to_string()),
    );
    let server = Server::start(router, HttpLimits::default()).await;
    let mut stream = server.connect().await;
    send(&mut stream, GET).await;
    let address = stream.local_addr().unwrap().to_string();
    assert!(
        read_until(&mut stream, &address)
            .await
            .starts_with("HTTP/1.1 200")
    );
}

#[tokio::test]
async fn draining_finishes_requests_and_closes_idle_connections() {
    let (arrived, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (here, there) = (arrived.clone(), go_on.clone());
    let slow = async move || {
        here.notify_one();
        there.notified().await;
        "done"
    };
    let router = Router::new()
        .route("/", get(async || "quick"))
        .route("/slow", get(slow));
    let server = Server::start(router, HttpLimits::default()).await;

    let mut silent = server.connect().await;
    let mut idle = server.connect().await;
    send(&mut idle, GET).await;
    read_until(&mut idle, "quick").await;
    let mut busy = server.connect().await;
    send(&mut busy, "GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await;
    arrived.notified().await;

    server.shutdown.drain();
    assert_eq!(read_to_end(&mut idle).await, "");
    assert_eq!(read_to_end(&mut silent).await, "");
    go_on.notify_one();
    let reply = read_to_end(&mut busy).await;
    assert!(
        reply.contains("connection: close") && reply.ends_with("done"),
        "{reply}"
    );
    let address = server.address;
    server.ended().await;
    assert!(
        TcpStream::connect(address).await.is_err(),
        "nothing listens any more"
    );
}

#[tokio::test]
async fn stage_two_cuts_what_is_left() {
    let arrived = Arc::new(Notify::new());
    let here = arrived.clone();
    let hang = async move || {
        here.notify_one();
        std::future::pending::<StatusCode>().await
    };
    let server = Server::start(Router::new().route("/", get(hang)), HttpLimits::default()).await;
    let mut stream = server.connect().await;
    send(&mut stream, GET).await;
    arrived.notified().await;
    server.shutdown.drain();
    server.shutdown.abort().cancel();
    assert_eq!(read_to_end(&mut stream).await, "");
    server.ended().await;
}

#[tokio::test]
async fn a_head_that_is_too_long_or_too_slow_is_not_waited_for() {
    let limits = HttpLimits {
        max_header_bytes: ByteSize::kib(1),
        header_read_timeout: Millis(50),
        ..HttpLimits::default()
    };
    let server = Server::start(Router::new(), limits).await;
    let mut long = server.connect().await;
    send(
        &mut long,
        &format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(2000)),
    )
    .await;
    assert!(read_to_end(&mut long).await.starts_with("HTTP/1.1 431"));

    let mut slow = server.connect().await;
    send(&mut slow, "GET / HTTP/1.1\r\nhost:").await;
    let reply = read_to_end(&mut slow).await;
    assert!(
        reply.is_empty() || reply.starts_with("HTTP/1.1 408"),
        "{reply}"
    );
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_their_turn() {
    let active = Arc::new(AtomicUsize::new(0));
    let count = active.clone();
    let handler = async move || {
        let others = count.fetch_add(1, Ordering::SeqCst);
        // Gives another connection every chance to be handled at the same time.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        count.fetch_sub(1, Ordering::SeqCst);
        others.to_string()
    };
    let limits = HttpLimits {
        max_connections: 1,
        ..HttpLimits::default()
    };
    let server = Server::start(Router::new().route("/", get(handler)), limits).await;
    let mut clients = Vec::new();
    for _ in 0..5 {
        let mut stream = server.connect().await;
        send(
            &mut stream,
            "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        )
        .await;
        clients.push(stream);
    }
    for stream in &mut clients {
        assert!(
            read_to_end(stream).await.ends_with("\r\n\r\n0"),
            "two were handled at once"
        );
    }
}

#[tokio::test]
async fn an_upgraded_connection_counts_while_it_keeps_its_slot() {
    async fn upgrade(mut request: AxumRequest) -> Response {
        let slot: ConnectionSlot = request.extensions().get().cloned().unwrap();
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut socket = TokioIo::new(upgrade.await.unwrap());
            let byte = socket.read_u8().await.unwrap();
            socket.write_u8(byte).await.unwrap();
            drop((socket, slot));
        });
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response
            .headers_mut()
            .insert(header::CONNECTION, "upgrade".parse().unwrap());
        response
            .headers_mut()
            .insert(header::UPGRADE, "echo".parse().unwrap());
        response
    }
    let limits = HttpLimits {
        max_connections: 1,
        ..HttpLimits::default()
    };
    let router = Router::new()
        .route("/", get(async || "quick"))
        .route("/upgrade", get(upgrade));
    let server = Server::start(router, limits).await;

    let mut socket = server.connect().await;
    send(
        &mut socket,
        "GET /upgrade HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n",
    )
    .await;
    assert!(
        read_until(&mut socket, "\r\n\r\n")
            .await
            .starts_with("HTTP/1.1 101")
    );
    server.shutdown.tracker().close();
    timeout(PATIENCE, server.shutdown.tracker().wait())
        .await
        .expect("the HTTP part of the connection is over");

    let mut next = server.connect().await;
    send(&mut next, GET).await;
    assert_eq!(
        next.try_read(&mut [0]).unwrap_err().kind(),
        io::ErrorKind::WouldBlock
    );
    send(&mut socket, "!").await;
    assert_eq!(read_to_end(&mut socket).await, "!");
    assert!(
        read_until(&mut next, "quick").await.ends_with("quick"),
        "its turn comes with the end of the socket"
    );
}
