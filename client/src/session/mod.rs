//! The task that holds a session: opens it, opens it again when it breaks, and knows when to give up.

mod live;
mod messages;
mod requests;
mod socket;
mod stored;
mod uploads;
mod verdict;

use crate::{
    Error, HttpApi, UploadError,
    backoff::Backoff,
    builder::{Config, Connection},
    events::Hub,
};
use live::Live;
use protocol::{message::ConnectedUser, session::client::Sender};
pub(crate) use requests::Request;
use requests::Requests;
use socket::Socket;
use std::{
    future::Future,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};
pub(crate) use uploads::NewUpload;
use uploads::Uploads;
use verdict::Verdict;

/// A session that lasted this long shows that the server is well: the next break is a new one.
const STABLE_AFTER: Duration = Duration::from_secs(10);

/// What is asked of the session.
pub(crate) enum Command {
    /// Send a file.
    Upload(Box<NewUpload>),
    /// Give an upload up, by its ticket.
    Cancel(u64),
    /// Ask the server something.
    Request(Request),
    /// End the session, and say when that is done.
    Close(oneshot::Sender<()>),
}

/// How a connection ended, or why there was none.
#[derive(Debug)]
pub(crate) enum End {
    /// It broke, or could not be made.
    Lost(String),
    /// The server closed it.
    Closed {
        /// The close code.
        code: u16,
        /// What the server says.
        reason: String,
        /// When the server wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// It is no use to try again.
    Fatal(Error),
}

/// The session's task.
pub(crate) struct Session {
    config: Config,
    state: State,
    commands: mpsc::Receiver<Command>,
    connection: watch::Sender<Connection>,
    backoff: Backoff,
    ever_connected: bool,
    /// When the connection was lost.
    lost_at: Instant,
    /// The token that was refused last, to be exchanged.
    stale: Option<String>,
    /// Whether the present token was got in exchange and has not yet been accepted.
    exchanged: bool,
}

/// What outlives connections.
pub(crate) struct State {
    api: HttpApi,
    sender: Sender,
    uploads: Uploads,
    requests: Requests,
    hub: Arc<Mutex<Hub>>,
    /// The origin of the sender's clock.
    origin: Instant,
    /// When the server wants to be asked again, if it said so.
    retry_after: Option<Duration>,
    /// Who waits for the end of a closed client.
    closing: Option<oneshot::Sender<()>>,
}

impl State {
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    fn hub(&self) -> MutexGuard<'_, Hub> {
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a command, whether there is a connection or not; none means that nobody is left to give any.
    fn command(&mut self, command: Option<Command>) -> Result<(), End> {
        match command {
            Some(Command::Upload(new)) => self.uploads.add(&mut self.sender, *new),
            Some(Command::Cancel(ticket)) => {
                self.uploads.cancel(&mut self.sender, ticket);
                self.drain_events();
            }
            Some(Command::Request(request)) => self.requests.add(request),
            Some(Command::Close(done)) => {
                self.closing = Some(done);
                return Err(End::Fatal(Error::Closed));
            }
            None => return Err(End::Fatal(Error::Closed)),
        }
        Ok(())
    }

    /// Tells the uploads what the sender has to say.
    fn drain_events(&mut self) {
        while let Some(event) = self.sender.poll_event() {
            self.uploads.hear(&mut self.sender, event);
        }
    }
}

impl Session {
    pub(crate) fn new(
        config: Config,
        api: HttpApi,
        hub: Arc<Mutex<Hub>>,
        commands: mpsc::Receiver<Command>,
        connection: watch::Sender<Connection>,
    ) -> Self {
        let now = Instant::now();
        let state = State {
            api,
            sender: Sender::new(config.parallel),
            uploads: Uploads::default(),
            requests: Requests::default(),
            hub,
            origin: now,
            retry_after: None,
            closing: None,
        };
        Self {
            config,
            state,
            commands,
            connection,
            backoff: Backoff::default(),
            ever_connected: false,
            lost_at: now,
            stale: None,
            exchanged: false,
        }
    }

    /// Runs until the client is closed or there is no use in going on.
    pub(crate) async fn run(mut self) {
        let error = loop {
            let end = self.connect_and_live().await;
            if let Err(error) = self.prepare_next(end).await {
                break error;
            }
        };
        self.state
            .uploads
            .fail_all(&UploadError::Session(error.clone()));
        self.state.requests.fail_all(&error);
        self.connection.send_replace(Connection::Closed(error));
        // Whoever waits for this sees by the channel's end that it is done.
        drop(self.state.closing.take());
    }

    async fn connect_and_live(&mut self) -> End {
        let token = match self.token().await {
            Ok(token) => token,
            Err(end) => return end,
        };
        let since = self.state.hub().since();
        let id = self.state.sender.next_request_id();
        let connect =
            self.state
                .requests
                .connect_message(id, token.clone(), since, self.config.info.clone());
        let server = self.config.server.clone();
        let opened = self
            .serving(async move { Socket::open(&server, connect).await })
            .await;
        let (socket, connected) = match opened.and_then(|opened| opened) {
            Ok(opened) => opened,
            Err(end) => return self.refuse_token(end, token),
        };
        self.exchanged = false;
        self.ever_connected = true;
        self.state.retry_after = None;
        self.announce(connected.user.clone());
        let began = Instant::now();
        let tokens = self.config.tokens.clone();
        let mut live = Live::new(&mut self.state, socket, &connected, tokens, token);
        let (end, token) = live.run(&mut self.commands).await;
        self.lost_at = Instant::now();
        if began.elapsed() >= STABLE_AFTER {
            self.backoff.reset();
        }
        self.refuse_token(end, token)
    }

    fn announce(&self, user: ConnectedUser) {
        self.connection.send_replace(Connection::Connected(user));
    }

    /// The token to connect with: a fresh one if the last was refused.
    async fn token(&mut self) -> Result<String, End> {
        let tokens = self.config.tokens.clone();
        let stale = self.stale.clone();
        let exchange = stale.is_some();
        let token = self.serving(async move {
            match stale {
                Some(stale) => tokens.refresh(&stale).await,
                None => tokens.access().await,
            }
        });
        match token.await? {
            Ok(token) => {
                self.stale = None;
                self.exchanged = exchange;
                Ok(token)
            }
            Err(Error::Unreachable { reason, .. }) => Err(End::Lost(reason)),
            Err(error) => Err(End::Fatal(error)),
        }
    }

    /// Notes that the server refused this token, if that is how the connection ended.
    fn refuse_token(&mut self, end: End, token: String) -> End {
        match end {
            End::Closed {
                code: verdict::UNAUTHENTICATED,
                reason,
                ..
            } if self.exchanged => {
                let server = self.config.server.to_string();
                End::Fatal(Error::Unauthenticated { server, reason })
            }
            End::Closed {
                code: verdict::UNAUTHENTICATED,
                ..
            } => {
                self.stale = Some(token);
                end
            }
            end => end,
        }
    }

    /// Decides whether to connect again, and waits as long as is due before that.
    async fn prepare_next(&mut self, end: End) -> Result<(), Error> {
        self.state.sender.disconnected();
        self.state.requests.disconnected();
        let announced = self.state.retry_after.take();
        let (reason, wait) = match verdict::after(end, &self.config.server) {
            Verdict::Stop(error) => return Err(error),
            Verdict::ReconnectNow(reason) => (reason, Duration::ZERO),
            Verdict::Reconnect { reason, at_least } => {
                (reason, self.backoff.next(announced.max(at_least)))
            }
        };
        let patience = if self.ever_connected {
            self.config.patience
        } else {
            self.config.first_patience
        };
        if self.lost_at.elapsed() + wait.min(Duration::from_secs(1)) > patience {
            return Err(Error::Unreachable {
                server: self.config.server.to_string(),
                reason,
            });
        }
        tracing::debug!(%reason, ?wait, failures = self.backoff.failures(), "connecting again");
        self.connection.send_replace(Connection::Waiting {
            reason,
            retry_in: wait,
        });
        match self.serving(tokio::time::sleep(wait)).await {
            Err(End::Fatal(error)) => Err(error),
            _ => Ok(()),
        }
    }

    /// Takes commands until `work` is done.
    async fn serving<W: Future>(&mut self, work: W) -> Result<W::Output, End> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Ok(done),
                command = self.commands.recv() => self.state.command(command)?,
            }
        }
    }
}
