//! Against a server that repeats what it is told.

use super::*;
use crate::until;
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Repeats what comes on each connection; `name` is said first.
async fn echo(name: u8) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                stream.write_u8(name).await?;
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await
            });
        }
    });
    address
}

async fn connect(proxy: &Proxy) -> TcpStream {
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'a');
    stream
}

async fn round_trip(stream: &mut TcpStream, data: &[u8]) -> std::io::Result<()> {
    stream.write_all(data).await?;
    let mut back = vec![0; data.len()];
    stream.read_exact(&mut back).await?;
    assert_eq!(back, data);
    Ok(())
}

/// Nothing comes and nothing ends for a while.
async fn silent(stream: &mut TcpStream) {
    let read = tokio::time::timeout(Duration::from_millis(200), stream.read_u8()).await;
    assert!(read.is_err(), "{read:?}");
}

#[tokio::test]
async fn everything_passes_until_told_otherwise() {
    let proxy = Proxy::before(echo(b'a').await).await;
    let mut stream = connect(&proxy).await;
    round_trip(&mut stream, b"hello").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty(), "the end passes, too");
}

#[tokio::test]
async fn a_cut_closes_and_refuses_until_it_is_over() {
    let proxy = Proxy::before(echo(b'a').await).await;
    let mut stream = connect(&proxy).await;
    proxy.set(Link::Cut);
    assert!(round_trip(&mut stream, b"hello").await.is_err());
    until("new connections to be refused", async || {
        TcpStream::connect(proxy.address()).await.err()
    })
    .await;
    proxy.set(Link::Pass);
    let mut stream = until("the proxy to listen again", async || {
        TcpStream::connect(proxy.address()).await.ok()
    })
    .await;
    assert_eq!(stream.read_u8().await.unwrap(), b'a');
    round_trip(&mut stream, b"hello").await.unwrap();
}

#[tokio::test]
async fn a_slow_link_has_its_pace_in_the_middle_of_a_connection() {
    let proxy = Proxy::before(echo(b'a').await).await;
    let mut stream = connect(&proxy).await;
    proxy.set(Link::Slow {
        rate: 20_000,
        latency: Duration::from_millis(10),
    });
    let begun = Instant::now();
    round_trip(&mut stream, &[7; 10_000]).await.unwrap();
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(500), "{took:?}");
    proxy.set(Link::Pass);
    let begun = Instant::now();
    round_trip(&mut stream, &[7; 100_000]).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn a_half_open_link_swallows_and_closes_nothing_until_it_is_over() {
    let proxy = Proxy::before(echo(b'a').await).await;
    let (mut busy, mut quiet) = (connect(&proxy).await, connect(&proxy).await);
    proxy.set(Link::HalfOpen);
    busy.write_all(b"hello").await.unwrap();
    let mut late = TcpStream::connect(proxy.address()).await.unwrap();
    silent(&mut busy).await;
    silent(&mut late).await;

    proxy.set(Link::Pass);
    for mut lost in [busy, late] {
        assert!(round_trip(&mut lost, b"hello").await.is_err());
    }
    round_trip(&mut quiet, b"hello").await.unwrap();
    round_trip(&mut connect(&proxy).await, b"hello")
        .await
        .unwrap();
}

#[tokio::test]
async fn several_servers_take_turns_and_one_that_is_away_is_passed_over() {
    let away = crate::ports::free();
    let targets = [echo(b'a').await, away, echo(b'b').await];
    let proxy = Proxy::before_any(&targets).await;
    let mut reached = std::collections::BTreeSet::new();
    for _ in 0..6 {
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        reached.insert(stream.read_u8().await.unwrap());
    }
    assert_eq!(reached, [b'a', b'b'].into());
}
