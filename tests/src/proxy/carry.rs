//! One direction of a connection of the proxy.

use super::Link;
use std::{
    io,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::tcp::{OwnedReadHalf, OwnedWriteHalf},
    sync::watch,
};

/// What is read at once.
const PIECE: usize = 64 << 10;

/// How often a slow link passes something on, in a second: bytes come evenly.
const STEPS: u64 = 20;

/// Passes on what comes, as the link is told to, until the sender ends its half or an end breaks. What is swallowed is noted
/// in `lost`.
pub(super) async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut orders: watch::Receiver<Link>,
    lost: &AtomicBool,
) -> io::Result<()> {
    let mut buffer = vec![0; PIECE];
    loop {
        let link = *orders.borrow_and_update();
        let room = &mut buffer[..piece(link)];
        let read = tokio::select! {
            biased;
            changed = orders.changed() => match changed {
                Ok(()) => continue,
                // The proxy is gone.
                Err(_) => return Ok(()),
            },
            read = from.read(room) => read,
        };
        if link == Link::HalfOpen {
            lost.store(true, Ordering::Relaxed);
            if !matches!(read, Ok(1..)) {
                // The other end is not told that this one has gone.
                return std::future::pending().await;
            }
            continue;
        }
        match read? {
            0 => return to.shutdown().await,
            read => {
                tokio::time::sleep(delay(link, read)).await;
                to.write_all(&buffer[..read]).await?;
            }
        }
    }
}

fn piece(link: Link) -> usize {
    match link {
        Link::Slow { rate, .. } => {
            usize::try_from(rate / STEPS).map_or(PIECE, |piece| piece.clamp(1, PIECE))
        }
        _ => PIECE,
    }
}

fn delay(link: Link, bytes: usize) -> Duration {
    match link {
        Link::Slow { rate, latency } => {
            latency + Duration::from_secs(1).mul_f64(bytes as f64 / rate.max(1) as f64)
        }
        _ => Duration::ZERO,
    }
}
