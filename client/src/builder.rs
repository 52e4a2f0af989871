//! A client: how it is set up, and what can be asked of it.

use crate::{
    Error, Events, FixedToken, HttpApi, ServerUrl, Tokens, Upload, UploadHandle, UploadState,
    events::Hub,
    session::{Command, NewUpload, Request, Session},
    tls,
    upload::Progress,
};
use protocol::{
    Topic,
    message::{
        ClientInfo, ClientMessage, ConnectedUser, GetHistory, History, RequestId, ServerMessage,
        Subscribe, Unsubscribe,
    },
    topic::{Since, TopicState},
};
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

/// Commands that wait for the session.
const COMMANDS: usize = 64;

/// Uploads handed over and not yet at the server; further ones wait in [`Client::upload`].
const QUEUED_UPLOADS: usize = 1024;

/// How a session is held; made by [`Builder`].
pub(crate) struct Config {
    pub(crate) server: ServerUrl,
    pub(crate) tokens: Arc<dyn Tokens>,
    pub(crate) info: ClientInfo,
    pub(crate) parallel: u32,
    pub(crate) first_patience: Duration,
    pub(crate) patience: Duration,
}

/// Sets up a [`Client`].
pub struct Builder {
    config: Config,
    since: Since,
}

impl Builder {
    /// Where tokens come from. Without any the server refuses the session.
    #[must_use]
    pub fn tokens(mut self, tokens: impl Tokens) -> Self {
        self.config.tokens = Arc::new(tokens);
        self
    }

    /// Like [`Builder::tokens`], for tokens that are used elsewhere too.
    #[must_use]
    pub fn shared_tokens(mut self, tokens: Arc<dyn Tokens>) -> Self {
        self.config.tokens = tokens;
        self
    }

    /// The name and version of the program, for the server's logs.
    #[must_use]
    pub fn program(mut self, name: impl Into<String>, version: impl Into<String>) -> Self {
        self.config.info = ClientInfo {
            name: name.into(),
            version: version.into(),
        };
        self
    }

    /// How many uploads are sent at once, 8 if not told; the server may allow fewer.
    #[must_use]
    pub fn parallel(mut self, uploads: u32) -> Self {
        self.config.parallel = uploads.max(1);
        self
    }

    /// What was heard of the topics before: see [`Events::positions`].
    #[must_use]
    pub fn since(mut self, since: Since) -> Self {
        self.since = since;
        self
    }

    /// How long the server may be out of reach before the client gives up: before the first session (5 s if not told), and
    /// afterwards (for ever if not told).
    #[must_use]
    pub fn patience(mut self, first: Duration, later: Duration) -> Self {
        self.config.first_patience = first;
        self.config.patience = later;
        self
    }

    /// Opens a session.
    ///
    /// # Errors
    /// If the server can't be reached in time, or will not have this client.
    pub async fn connect(self) -> Result<Client, Error> {
        Ok(self.connect_with_events().await?.0)
    }

    /// Like [`Builder::connect`], with the events from the very beginning: what was missed [since](Builder::since) included.
    ///
    /// # Errors
    /// As [`Builder::connect`].
    pub async fn connect_with_events(self) -> Result<(Client, Events), Error> {
        tls::install_provider();
        let mut hub = Hub::new(self.since);
        let events = hub.listen();
        let hub = Arc::new(Mutex::new(hub));
        let api = HttpApi::new(self.config.server.clone()).with_tokens(self.config.tokens.clone());
        let (commands, receiver) = mpsc::channel(COMMANDS);
        let (connection_sender, mut connection) = watch::channel(Connection::Connecting);
        let session = Session::new(
            self.config,
            api.clone(),
            hub.clone(),
            receiver,
            connection_sender,
        );
        tokio::spawn(session.run());
        let queue = Arc::new(Semaphore::new(QUEUED_UPLOADS));
        let inner = Inner {
            commands,
            connection: connection.clone(),
            hub,
            api,
            queue,
            tickets: AtomicU64::new(0),
        };
        let settled = connection
            .wait_for(|now| matches!(now, Connection::Connected(_) | Connection::Closed(_)))
            .await;
        match settled.map(|now| now.clone()) {
            Ok(Connection::Closed(error)) => Err(error),
            Ok(_) => Ok((
                Client {
                    inner: Arc::new(inner),
                },
                events,
            )),
            Err(_) => Err(Error::Closed),
        }
    }
}

/// How the connection of a client stands.
#[derive(Clone, Debug)]
pub enum Connection {
    /// It is being opened.
    Connecting,
    /// It is open.
    Connected(ConnectedUser),
    /// It is lost and will be opened again.
    Waiting {
        /// What happened.
        reason: String,
        /// How long it waits before trying.
        retry_in: Duration,
    },
    /// The client has given up or was closed.
    Closed(Error),
}

/// A session with a server that is opened again whenever it breaks. Cheap to clone; the session lasts as long as any
/// clone or [`UploadHandle`] does.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    commands: mpsc::Sender<Command>,
    connection: watch::Receiver<Connection>,
    hub: Arc<Mutex<Hub>>,
    api: HttpApi,
    queue: Arc<Semaphore>,
    tickets: AtomicU64,
}

impl Client {
    /// A client of this server, to be set up.
    #[must_use]
    pub fn builder(server: ServerUrl) -> Builder {
        let config = Config {
            server,
            tokens: Arc::new(FixedToken::new("")),
            info: ClientInfo {
                name: "sluice-client".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
            },
            parallel: 8,
            first_patience: Duration::from_secs(5),
            patience: Duration::MAX,
        };
        Builder {
            config,
            since: Since::new(),
        }
    }

    /// Hands a file over. Waits only while very many are handed over already.
    ///
    /// # Errors
    /// If the session is over for good.
    pub async fn upload(&self, upload: Upload) -> Result<UploadHandle, Error> {
        let permit = self
            .inner
            .queue
            .clone()
            .acquire_owned()
            .await
            .map_err(|_| Error::Closed)?;
        let ticket = self.inner.tickets.fetch_add(1, Ordering::Relaxed);
        let size = upload.source.size();
        let (sender, progress) = watch::channel(Progress {
            size,
            sent: 0,
            acked: 0,
            state: UploadState::Queued,
        });
        let new = NewUpload {
            upload,
            ticket,
            progress: sender,
            permit,
        };
        self.command(Command::Upload(Box::new(new))).await?;
        Ok(UploadHandle {
            ticket,
            progress,
            commands: self.inner.commands.clone(),
        })
    }

    /// A page of files, newest first. `query.id` is not used.
    ///
    /// # Errors
    /// If the server refuses it or the session is over for good.
    pub async fn history(&self, query: GetHistory) -> Result<History, Error> {
        match self
            .request(move |id| {
                ClientMessage::GetHistory(GetHistory {
                    id,
                    ..query.clone()
                })
            })
            .await?
        {
            ServerMessage::History(history) => Ok(history),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Hears a topic from now on, also after reconnecting; its notifications come with the [events](Client::events).
    ///
    /// # Errors
    /// If the server refuses it or the session is over for good.
    pub async fn subscribe(&self, topic: Topic) -> Result<TopicState, Error> {
        let since = self.hub().position(topic);
        match self
            .request(move |id| {
                ClientMessage::Subscribe(Subscribe {
                    id,
                    topic,
                    since: since.clone(),
                })
            })
            .await?
        {
            ServerMessage::Subscribed(subscribed) => Ok(subscribed.state),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Hears a topic no more.
    ///
    /// # Errors
    /// If the server refuses it or the session is over for good.
    pub async fn unsubscribe(&self, topic: Topic) -> Result<(), Error> {
        match self
            .request(move |id| ClientMessage::Unsubscribe(Unsubscribe { id, topic }))
            .await?
        {
            ServerMessage::Unsubscribed(_) => Ok(()),
            other => Err(self.unexpected(&other)),
        }
    }

    /// The events from now on.
    #[must_use]
    pub fn events(&self) -> Events {
        self.hub().listen()
    }

    /// How the connection stands, and a way to hear of changes.
    #[must_use]
    pub fn connection(&self) -> watch::Receiver<Connection> {
        self.inner.connection.clone()
    }

    /// The same server by HTTP, with the same tokens.
    #[must_use]
    pub fn http(&self) -> &HttpApi {
        &self.inner.api
    }

    /// Ends the session in order. Uploads under way end as failed here, and can be continued by a later client.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.command(Command::Close(done)).await.is_ok() {
            // The session being gone is as good as being told.
            let _ = closed.await;
        }
    }

    async fn request(
        &self,
        make: impl Fn(RequestId) -> ClientMessage + Send + 'static,
    ) -> Result<ServerMessage, Error> {
        let (reply, answer) = oneshot::channel();
        self.command(Command::Request(Request {
            make: Box::new(make),
            reply,
        }))
        .await?;
        answer.await.map_err(|_| self.closed())?
    }

    async fn command(&self, command: Command) -> Result<(), Error> {
        self.inner
            .commands
            .send(command)
            .await
            .map_err(|_| self.closed())
    }

    /// Why the session is over.
    fn closed(&self) -> Error {
        match &*self.inner.connection.borrow() {
            Connection::Closed(error) => error.clone(),
            _ => Error::Closed,
        }
    }

    fn unexpected(&self, message: &ServerMessage) -> Error {
        let server = self.inner.api.server().to_string();
        Error::Incompatible {
            server,
            reason: format!("an unexpected reply: {}", message.to_json()),
        }
    }

    fn hub(&self) -> std::sync::MutexGuard<'_, Hub> {
        self.inner
            .hub
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
