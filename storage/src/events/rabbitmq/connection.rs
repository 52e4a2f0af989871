//! One connection to the broker, on which every call has a deadline.

use super::{address::Address, topology::Topology};
use crate::events::EventError;
use futures::StreamExt;
use lapin::{
    AsyncTcpStream, Channel, Confirmation, Connection, ConnectionProperties, Error, ErrorKind,
    protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError},
    tcp::OwnedTLSConfig,
    uri::{AMQPScheme, AMQPUri},
};
use std::{
    future::Future,
    io,
    net::{Shutdown, TcpStream},
    os::fd::AsFd,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// How long the broker has to answer before it counts as unavailable.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);

/// How often to look whether the connection is still there; events of the library tell sooner.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Why there is no connection.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) reason: String,
    /// Whether trying again can't help: the password or the URL is wrong, or the queues are somebody else's.
    pub(super) is_permanent: bool,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self {
            is_permanent: is_permanent(&error),
            reason: error.to_string(),
        }
    }
}

fn is_permanent(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::ProtocolError(error) => matches!(
            error.kind(),
            AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED | AMQPHardError::NOTIMPLEMENTED)
                | AMQPErrorKind::Soft(
                    AMQPSoftError::ACCESSREFUSED | AMQPSoftError::PRECONDITIONFAILED
                )
        ),
        ErrorKind::InvalidProtocolVersion(_)
        | ErrorKind::ParsingError(_)
        | ErrorKind::AuthProviderError(_) => true,
        _ => false,
    }
}

/// One connection, with the topology declared.
pub(super) struct Session {
    connection: Connection,
    socket: Socket,
    broken: CancellationToken,
}

impl Session {
    /// Connects and declares what is not there yet.
    pub(super) async fn open(
        address: &Address,
        topology: &Topology,
        purpose: &str,
    ) -> Result<Self, Failure> {
        let socket = Socket::default();
        let opening = async {
            let connection = connect(address, purpose, socket.clone()).await?;
            let channel = connection.create_channel().await?;
            topology.declare(&channel).await?;
            Ok(connection)
        };
        let opened = tokio::time::timeout(DEADLINE, opening).await;
        let opened = opened.unwrap_or_else(|_| {
            Err(Failure {
                reason: format!("no answer within {DEADLINE:?}"),
                is_permanent: false,
            })
        });
        match opened {
            Ok(connection) => Ok(Self {
                connection,
                socket,
                broken: CancellationToken::new(),
            }),
            Err(failure) => {
                socket.cut();
                Err(failure)
            }
        }
    }

    /// Whether it may still be used.
    pub(super) fn is_alive(&self) -> bool {
        !self.broken.is_cancelled() && self.connection.status().connected()
    }

    /// Whether the broker takes nothing from publishers, for want of memory or disk.
    pub(super) fn is_blocked(&self) -> bool {
        self.connection.status().blocked()
    }

    /// A channel of its own.
    pub(super) async fn channel(&self) -> Result<Channel, EventError> {
        self.call("opening a channel", self.connection.create_channel())
            .await
    }

    /// Waits for an answer, at most until the deadline: a broker that is silent counts as lost.
    pub(super) async fn call<T>(
        &self,
        what: &str,
        answer: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, EventError> {
        if !self.is_alive() {
            let reason = format!("{what}: the connection is lost");
            return Err(EventError::Unavailable(reason));
        }
        match tokio::time::timeout(DEADLINE, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(EventError::Unavailable(format!("{what}: {error}"))),
            Err(_) if self.is_blocked() => Err(EventError::Unavailable(format!(
                "{what}: the broker is short of memory or disk and takes nothing"
            ))),
            Err(_) => {
                self.give_up();
                Err(EventError::Unavailable(format!(
                    "{what}: no answer within {DEADLINE:?}"
                )))
            }
        }
    }

    /// Waits for the broker's word on a message.
    pub(super) async fn confirmed(
        &self,
        confirm: impl Future<Output = Result<Confirmation, Error>>,
    ) -> Result<(), EventError> {
        match self.call("publishing", confirm).await? {
            Confirmation::Ack(None) | Confirmation::NotRequested => Ok(()),
            Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_)) => {
                // Somebody deleted the queue: it is declared again with the next connection.
                self.give_up();
                Err(EventError::Unavailable(
                    "publishing: the queue is gone".to_owned(),
                ))
            }
            Confirmation::Nack(None) => Err(EventError::Unavailable(
                "publishing: the broker refused, the queue may be full".to_owned(),
            )),
        }
    }

    /// Has the supervisor make another connection.
    pub(super) fn give_up(&self) {
        self.broken.cancel();
    }

    /// Waits until it is of no more use, and cuts it.
    pub(super) async fn lost(&self) -> String {
        let mut events = self.connection.events_listener().boxed();
        let gone = async {
            let mut reason = None;
            while self.connection.status().connected() {
                // An error of a channel alone is no loss of the connection.
                let event = tokio::time::timeout(LOOK_EVERY, events.next()).await;
                if let Ok(Some(lapin::Event::Error(error))) = event {
                    reason = Some(error.to_string());
                }
            }
            reason.unwrap_or_else(|| "it was closed".to_owned())
        };
        let reason = tokio::select! {
            () = self.broken.cancelled() => "it does not answer as it should".to_owned(),
            reason = gone => reason,
        };
        self.broken.cancel();
        self.socket.cut();
        reason
    }
}

/// The socket beneath a connection, so that a silent broker can be left without its consent: the library would wait for it.
#[derive(Clone, Default)]
struct Socket(Arc<Mutex<Option<TcpStream>>>);

impl Socket {
    fn set(&self, stream: &impl AsFd) -> io::Result<()> {
        let stream = TcpStream::from(stream.as_fd().try_clone_to_owned()?);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(stream);
        Ok(())
    }

    fn cut(&self) {
        if let Some(stream) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            // It may be cut already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

async fn connect(address: &Address, purpose: &str, socket: Socket) -> Result<Connection, Failure> {
    let name = format!("{} {purpose} {}", address.prefix, std::process::id());
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let runtime = lapin::runtime::default_runtime()?;
    let reactor = runtime.clone();
    let dial = async move |uri: AMQPUri, _| {
        let (host, port) = (uri.authority.host.as_str(), uri.authority.port);
        // The library connects on a thread of its own, which must not wait for ever either.
        let dialing = async {
            let addresses: Vec<_> = tokio::net::lookup_host((host, port)).await?.collect();
            let stream = AsyncTcpStream::connect(&reactor, addresses).await?;
            if let AsyncTcpStream::Plain(plain) = &stream {
                socket.set(plain.get_ref())?;
            }
            match uri.scheme {
                AMQPScheme::AMQP => Ok(stream),
                AMQPScheme::AMQPS => {
                    stream
                        .into_tls(host, OwnedTLSConfig::default().as_ref())
                        .await
                }
            }
        };
        let dialed = tokio::time::timeout(DEADLINE, dialing).await;
        dialed
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(Error::from)
    };
    Ok(Connection::connector(address.uri.clone(), runtime, dial, properties).await?)
}
