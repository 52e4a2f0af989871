//! Ports for servers that come back at the same address.

use std::{
    hash::{BuildHasher, RandomState},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::atomic::{AtomicU16, Ordering},
};

/// Below those that the kernel gives to outgoing connections: such a one could otherwise hold the port of a server that was
/// killed and is about to be started again.
const FIRST: u16 = 11_000;
const COUNT: u16 = 20_000;

/// An address of this machine at which nobody listens. No two calls within a process answer the same one.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn free() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    static START: std::sync::OnceLock<u16> = std::sync::OnceLock::new();
    // Several processes that look for ports begin at different places.
    let start = START.get_or_init(|| (RandomState::new().hash_one(0) % u64::from(COUNT)) as u16);
    for _ in 0..COUNT {
        let next = NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        let port = FIRST + (start + next) % COUNT;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("every port from {FIRST} on is taken");
}
