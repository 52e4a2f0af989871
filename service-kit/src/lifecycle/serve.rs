//! The accept loop: HTTP/1 with upgrades, with a limit on everything, and an orderly end.

use std::{convert::Infallible, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::ConnectInfo, response::Response};
use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::{Deserialize, Serialize};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::sleep,
};
use tower::ServiceExt;

use super::Shutdown;
use crate::config::{ByteSize, Millis};

/// How long to wait after the system refused a connection for want of memory or files.
const ACCEPT_RETRY: Duration = Duration::from_millis(200);

/// Connections that may wait to be accepted, if the system allows as many (`net.core.somaxconn`). Where there is no room left for
/// one, its client tries again after a second.
const BACKLOG: u32 = 4096;

/// Bytes of an answer that wait for a connection to take them, beside the piece that was added last: so few that a slow client
/// does not make the server hold much of a file.
const BUFFERED: usize = 64 << 10;

/// What one listener takes at most.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpLimits {
    /// Connections at a time, upgraded ones included where they keep their [`ConnectionSlot`]. Further ones wait in the
    /// queue of the operating system.
    pub max_connections: usize,
    /// Size of a request's head (request line and headers), in bytes; more is answered with 431.
    pub max_header_bytes: ByteSize,
    /// Time for the head of a request to arrive, also counted while a kept-alive connection waits for its next one.
    pub header_read_timeout: Millis,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            max_header_bytes: ByteSize::kib(16),
            header_read_timeout: Millis::secs(30),
        }
    }
}

/// The place of a connection among [`HttpLimits::max_connections`], found in the extensions of each request.
///
/// A socket that outlives its HTTP connection keeps it, and so goes on counting.
#[derive(Debug, Clone)]
pub struct ConnectionSlot(
    #[expect(dead_code, reason = "held, never read")] Arc<OwnedSemaphorePermit>,
);

/// Listens at this address; hundreds of clients may connect at once. Must be called within a runtime.
///
/// # Errors
/// When the address is taken, or is not one of this machine.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // As the standard library does: connections of a process that has ended do not keep the address.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves `router` until shutdown begins, then stops accepting and returns; connections end under the tracker.
///
/// Each request carries `ConnectInfo<SocketAddr>` and a [`ConnectionSlot`]. While draining, idle connections are closed
/// and busy ones finish their request; at stage 2 they are cut.
///
/// It never fails: what happens on a connection stays there, and want of memory or files is waited out.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: HttpLimits,
    shutdown: Shutdown,
) -> Result<(), Infallible> {
    let http = builder(&limits);
    let slots = Arc::new(Semaphore::new(limits.max_connections));
    loop {
        let next = accept(&listener, &slots);
        let Some((stream, peer, slot)) = shutdown.draining().run_until_cancelled(next).await else {
            return Ok(());
        };
        let connection = Connection {
            peer,
            slot,
            router: router.clone(),
            shutdown: shutdown.clone(),
        };
        shutdown.spawn(connection.run(http.clone(), stream));
    }
}

fn builder(limits: &HttpLimits) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.header_read_timeout.duration())
        .max_header_size(limits.max_header_bytes.as_usize())
        .max_buf_size(BUFFERED.max(2 * limits.max_header_bytes.as_usize()));
    http
}

/// The next connection, once there is a slot for it.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, ConnectionSlot) {
    let permit = match slots.clone().acquire_owned().await {
        Ok(permit) => permit,
        // Nobody closes the semaphore.
        Err(_closed) => return std::future::pending().await,
    };
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return (stream, peer, ConnectionSlot(Arc::new(permit))),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections, trying again");
                sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

/// Whether the client gave up before it was accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}

struct Connection {
    peer: SocketAddr,
    slot: ConnectionSlot,
    router: Router,
    shutdown: Shutdown,
}

impl Connection {
    async fn run(self, http: http1::Builder, stream: TcpStream) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "the connection is gone already");
            return;
        }
        let Self {
            peer,
            slot,
            router,
            shutdown,
        } = self;
        let service =
            service_fn(move |request| answer(router.clone(), request, peer, slot.clone()));
        let mut connection = pin!(
            http.serve_connection(TokioIo::new(stream), service)
                .with_upgrades()
        );
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = shutdown.draining().cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            // Clients leave as they like; this is news only to who looks for it.
            tracing::debug!(%peer, %error, "the connection ended with an error");
        }
    }
}

async fn answer(
    router: Router,
    request: Request<Incoming>,
    peer: SocketAddr,
    slot: ConnectionSlot,
) -> Result<Response, Infallible> {
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(ConnectInfo(peer));
    request.extensions_mut().insert(slot);
    router.oneshot(request).await
}

#[cfg(test)]
mod tests;
