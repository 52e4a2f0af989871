//! A TCP proxy before any address that behaves as badly as it is told to: it cuts, dawdles, or swallows everything.

mod carry;

use carry::carry;
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

/// What this machine takes of a connection before the proxy reads it. If it were as much as usual, megabytes would lie before a
/// slow link, and who sent them would believe that they are on their way.
const BUFFER: u32 = 64 << 10;

/// How the proxy treats its connections, those that are open and those to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Everything passes, as if the proxy were not there.
    Pass,
    /// Every connection is closed, new ones are refused.
    Cut,
    /// What passes in one direction passes with this pace.
    Slow {
        /// Bytes in a second.
        rate: u64,
        /// How long each piece (64 KiB at most) is held back.
        latency: Duration,
    },
    /// Connections are accepted and stay open, and what is sent on them is swallowed: the peer seems to have vanished without
    /// a word. Those that lost bytes are closed when this ends, the others go on.
    HalfOpen,
}

/// The proxy. Its connections end with it.
pub struct Proxy {
    address: SocketAddr,
    link: watch::Sender<Link>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Listens before the server at `target`, which need not run all the time.
    ///
    /// # Panics
    /// When there is no port to listen at.
    pub async fn before(target: SocketAddr) -> Self {
        Self::before_any(&[target]).await
    }

    /// Listens before several servers that do the same: connections go to them in turn, and to another one where one refuses.
    ///
    /// # Panics
    /// When there is no port to listen at, or no target.
    pub async fn before_any(targets: &[SocketAddr]) -> Self {
        assert!(!targets.is_empty(), "a proxy needs a target");
        // Holds the port while nothing listens, so that nobody else gets it.
        let keeper = bound(([127, 0, 0, 1], 0).into());
        let address = keeper.local_addr().expect("it has an address");
        let listener = listen(address);
        let (link, orders) = watch::channel(Link::Pass);
        let targets = Targets {
            all: targets.to_vec(),
            next: AtomicUsize::new(0),
        };
        let accepting = tokio::spawn(accept(keeper, listener, Arc::new(targets), orders));
        Self {
            address,
            link,
            accepting,
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on the connections are treated like this.
    pub fn set(&self, link: Link) {
        self.link.send_replace(link);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

struct Targets {
    all: Vec<SocketAddr>,
    next: AtomicUsize,
}

impl Targets {
    async fn connect(&self) -> std::io::Result<TcpStream> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let mut refused = None;
        for turn in 0..self.all.len() {
            match TcpStream::connect(self.all[(first + turn) % self.all.len()]).await {
                Ok(stream) => return Ok(stream),
                Err(error) => refused = Some(error),
            }
        }
        Err(refused.expect("there is at least one target"))
    }
}

fn bound(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket can be made");
    socket
        .set_reuseport(true)
        .and_then(|()| socket.set_reuseaddr(true))
        .and_then(|()| socket.set_recv_buffer_size(BUFFER))
        .and_then(|()| socket.bind(address))
        .expect("the proxy's port can be had");
    socket
}

fn listen(address: SocketAddr) -> TcpListener {
    bound(address)
        .listen(1024)
        .expect("the proxy can listen at its port")
}

async fn accept(
    _keeper: TcpSocket,
    listener: TcpListener,
    targets: Arc<Targets>,
    mut orders: watch::Receiver<Link>,
) {
    let address = listener.local_addr().expect("it has an address");
    let mut listener = Some(listener);
    let mut connections = JoinSet::new();
    loop {
        if *orders.borrow_and_update() == Link::Cut {
            listener = None;
            connections.shutdown().await;
        } else {
            listener.get_or_insert_with(|| listen(address));
        }
        tokio::select! {
            changed = orders.changed() => if changed.is_err() { return },
            accepted = accept_one(listener.as_ref()) => {
                connections.spawn(connection(accepted, targets.clone(), orders.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn accept_one(listener: Option<&TcpListener>) -> TcpStream {
    let Some(listener) = listener else {
        return std::future::pending().await;
    };
    loop {
        // An error concerns the one that wanted to connect, and it knows.
        if let Ok((stream, _)) = listener.accept().await {
            return stream;
        }
    }
}

async fn connection(client: TcpStream, targets: Arc<Targets>, mut orders: watch::Receiver<Link>) {
    let lost = AtomicBool::new(false);
    let carried = carry_both(client, &targets, orders.clone(), &lost);
    let made_good = async {
        while *orders.borrow_and_update() == Link::HalfOpen || !lost.load(Ordering::Relaxed) {
            if orders.changed().await.is_err() {
                return;
            }
        }
    };
    // How a connection ends is seen by its two ends.
    tokio::select! {
        _ = carried => {}
        () = made_good => {}
    }
}

async fn carry_both(
    client: TcpStream,
    targets: &Targets,
    orders: watch::Receiver<Link>,
    lost: &AtomicBool,
) -> std::io::Result<()> {
    if *orders.borrow() == Link::HalfOpen {
        // There is nobody at the other end: nothing of it can ever be made good.
        lost.store(true, Ordering::Relaxed);
        return std::future::pending().await;
    }
    let server = targets.connect().await?;
    // What is written in one piece should be seen at once: both ends see the delays of this proxy only.
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::try_join!(
        carry(from_client, to_server, orders.clone(), lost),
        carry(from_server, to_client, orders, lost),
    )?;
    Ok(())
}

#[cfg(test)]
mod tests;
