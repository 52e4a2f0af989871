//! A Redis that is killed, frozen, or far away.

use crate::{append, content, server::Server, start_with, until};
use protocol::UploadId;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};
use storage::{
    chunks::{ChunkError, ChunkOptions, Hold},
    conformance::pattern,
    open_chunks,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

#[tokio::test]
async fn a_restart_with_its_log_loses_nothing() {
    let mut server = Server::start(&["--appendonly yes", "--appendfsync everysec"]).await;
    let cache = server.cache().await;
    let bytes = pattern(1, 2_600_000);
    let (open, mut hold) = start_with(&*cache, bytes.len(), &bytes[..1_300_000]).await;
    let (sealed, sealed_hold) = start_with(&*cache, bytes.len(), &bytes).await;
    cache
        .seal(sealed, sealed_hold.generation)
        .await
        .expect("all is held");

    server.kill();
    let away = append(&*cache, open, hold, &bytes[1_300_000..]).await;
    assert!(matches!(away, Err(ChunkError::Unavailable(_))), "{away:?}");
    server.run().await;
    until("it is reached", async || cache.list().await.is_ok()).await;
    assert!(content(&*cache, sealed).await == bytes);
    // The holder is the holder still.
    until("the writer goes on", async || {
        match append(&*cache, open, hold, &bytes[1_300_000..]).await {
            Ok(held) => {
                hold.held = held;
                true
            }
            Err(ChunkError::Unavailable(_)) => false,
            Err(other) => panic!("{other}"),
        }
    })
    .await;
    assert!(content(&*cache, open).await == bytes);
    let newer = cache.resume(open).await.expect("it is there");
    assert!(newer.generation > hold.generation);
    cache
        .seal(open, newer.generation)
        .await
        .expect("all is held");
    let usage = cache.usage().await.expect("it is known");
    assert_eq!((usage.held, usage.reserved), (5_200_000, 0));
}

/// Connections that broke while nobody used them are not noticed by callers.
#[tokio::test]
async fn broken_connections_are_made_anew() {
    let server = Server::start(&[]).await;
    let cache = server.cache().await;
    let bytes = pattern(2, 90);
    let (upload, mut hold) = start_with(&*cache, 90, &bytes[..10]).await;
    for piece in bytes[10..].chunks(20) {
        server
            .ask::<u64>("CLIENT KILL TYPE normal SKIPME yes")
            .await;
        hold.held = append(&*cache, upload, hold, piece)
            .await
            .expect("it is held");
        server
            .ask::<u64>("CLIENT KILL TYPE normal SKIPME yes")
            .await;
        cache.stat(upload).await.expect("it is there");
        assert_eq!(content(&*cache, upload).await.len() as u64, hold.held);
    }
    server
        .ask::<u64>("CLIENT KILL TYPE normal SKIPME yes")
        .await;
    cache
        .seal(upload, hold.generation)
        .await
        .expect("all is held");
    assert!(content(&*cache, upload).await == bytes);
}

#[tokio::test]
async fn a_frozen_redis_is_unavailable_and_recovers() {
    let server = Server::start(&[]).await;
    let cache = server.cache().await;
    let bytes = pattern(3, 2_000_000);
    let (upload, hold) = start_with(&*cache, bytes.len(), &bytes[..1_000_000]).await;
    let (whole, whole_hold) = start_with(&*cache, 4, b"some").await;
    server.freeze();
    let begun = Instant::now();
    let small = async {
        let (stat, resume, seal, list) = tokio::join!(
            cache.stat(upload),
            cache.resume(whole),
            cache.seal(whole, whole_hold.generation),
            cache.list(),
        );
        for answer in [stat.map(drop), resume.map(drop), seal, list.map(drop)] {
            assert!(
                matches!(answer, Err(ChunkError::Unavailable(_))),
                "{answer:?}"
            );
        }
        assert!(
            begun.elapsed() < Duration::from_secs(7),
            "{:?}",
            begun.elapsed()
        );
    };
    let (append_answer, ()) =
        tokio::join!(append(&*cache, upload, hold, &bytes[1_000_000..]), small);
    assert!(
        matches!(append_answer, Err(ChunkError::Unavailable(_))),
        "{append_answer:?}"
    );
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );

    server.thaw();
    until("it is reached", async || cache.stat(upload).await.is_ok()).await;
    // What was sent before it froze may have been done when it woke: then the writer is told where it stands.
    let hold = Hold {
        held: 1_000_000,
        ..hold
    };
    match append(&*cache, upload, hold, &bytes[1_000_000..]).await {
        Ok(held) => assert_eq!(held, 2_000_000),
        Err(ChunkError::OutOfOrder { expected }) => assert_eq!(expected, 2_000_000),
        Err(other) => panic!("{other}"),
    }
    assert!(content(&*cache, upload).await == bytes);
}

/// Passes everything on, but cuts the first connection with content once the server has answered that.
async fn cut_once(client: TcpStream, port: u16, is_cut: Arc<AtomicBool>) -> std::io::Result<()> {
    let mut server = TcpStream::connect(("127.0.0.1", port)).await?;
    let mut client = client;
    let (mut asked, mut answered) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut sent = 0;
    loop {
        tokio::select! {
            read = client.read(&mut asked) => match read? {
                0 => return Ok(()),
                read => {
                    sent += read;
                    server.write_all(&asked[..read]).await?;
                }
            },
            read = server.read(&mut answered) => match read? {
                0 => return Ok(()),
                _ if sent > 500_000 && !is_cut.swap(true, SeqCst) => return Ok(()),
                read => client.write_all(&answered[..read]).await?,
            },
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_whose_answer_is_lost_is_done_once() {
    let server = Server::start(&[]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let (target, is_cut) = (server.port, Arc::new(AtomicBool::new(false)));
    let seen = is_cut.clone();
    let proxy = tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(cut_once(client, target, is_cut.clone()));
        }
    });
    let url = format!("redis://127.0.0.1:{port}/0");
    let cache = open_chunks(&url, &ChunkOptions::default())
        .await
        .expect("Redis is fine");
    let bytes = pattern(4, 900_000);
    let (upload, hold) = start_with(&*cache, bytes.len(), &bytes[..600_000]).await;
    assert!(seen.load(SeqCst), "the answer was lost");
    assert_eq!(hold.held, 600_000);
    append(&*cache, upload, hold, &bytes[600_000..])
        .await
        .expect("it is held");
    assert!(content(&*cache, upload).await == bytes);
    proxy.abort();
}

/// Passes on no more than this many bytes a second to the server, on each connection.
const SLOW: usize = 1 << 20;

async fn pass_slowly(client: TcpStream, port: u16) -> std::io::Result<()> {
    let server = TcpStream::connect(("127.0.0.1", port)).await?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let back = tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
    let mut buffer = vec![0; SLOW / 50];
    loop {
        let read = from_client.read(&mut buffer).await?;
        if read == 0 {
            break;
        }
        to_server.write_all(&buffer[..read]).await?;
        tokio::time::sleep(Duration::from_secs_f64(read as f64 / SLOW as f64)).await;
    }
    back.abort();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn content_on_a_slow_line_does_not_delay_what_is_small() {
    let server = Server::start(&[]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let target = server.port;
    let proxy = tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(pass_slowly(client, target));
        }
    });
    let url = format!("redis://127.0.0.1:{port}/0");
    let cache = open_chunks(&url, &ChunkOptions::default())
        .await
        .expect("Redis is fine");
    let upload = UploadId::new();
    let hold = cache.open(upload, 3 << 20).await.expect("there is room");
    let bytes = vec![7; 3 << 20];
    let begun = Instant::now();
    let big = async {
        append(&*cache, upload, hold, &bytes)
            .await
            .expect("it fits");
        begun.elapsed()
    };
    let small = async {
        let mut slowest = Duration::ZERO;
        while cache.stat(upload).await.expect("it is there").held == 0 {
            let asked = Instant::now();
            cache.list().await.expect("it can be listed");
            slowest = slowest.max(asked.elapsed());
        }
        slowest
    };
    let (took, slowest) = tokio::join!(big, small);
    assert!(took > Duration::from_secs(2), "{took:?}");
    assert!(
        slowest < Duration::from_millis(500),
        "{slowest:?} beside {took:?}"
    );
    proxy.abort();
}
