//! The public edge of Sluice: the socket, the HTTP surface, and notifications on their way to clients.
//!
//! The gateway knows who is calling and moves bytes; what a file is and where it stands is the other services' to know.

mod blocking;
mod caller;
pub mod config;
mod http;
mod policy;
mod pool;
mod refusals;
mod registry;
mod socket;
mod tokens;
mod topics;
mod uploads;

pub use config::Config;
pub use tokens::TokenRules;

use axum::Router;
use policy::Policy;
use pool::Pool;
use protocol::session::server::Rules;
use registry::{Holders, Sessions};
use service_kit::{lifecycle::Shutdown, peer::Peer};
use std::sync::Arc;
use storage::{chunks::ChunkCache, events::Events};
use tokens::Tokens;
use tokio::sync::{Semaphore, broadcast::error::RecvError};
use topics::Topics;
use uploads::Uploads;

/// Pages of history that are fetched for sockets at once.
const HISTORIES_AT_ONCE: usize = 8;

/// What a gateway works with.
pub struct Parts {
    /// The service that signs tokens.
    pub auth: Peer,
    /// The service that owns uploads and notifications.
    pub uploader: Peer,
    /// The service that owns files.
    pub file_manager: Peer,
    /// Where bytes go.
    pub chunks: Arc<dyn ChunkCache>,
    /// Where news come from.
    pub events: Arc<dyn Events>,
    /// What a token must say.
    pub tokens: TokenRules,
    /// Largest file that the uploader accepts, bytes; told to clients.
    pub max_file_bytes: u64,
}

/// A gateway.
pub struct Gateway {
    config: Config,
    rules: Rules,
    auth: Peer,
    file_manager: Peer,
    uploads: Arc<Uploads>,
    topics: Topics,
    tokens: Arc<Tokens>,
    sessions: Arc<Sessions>,
    holders: Arc<Holders>,
    pool: Pool,
    history_turns: Semaphore,
    shutdown: Shutdown,
}

impl Gateway {
    /// A gateway of these parts. Its sockets end with `shutdown`.
    ///
    /// # Errors
    /// When the configuration makes no sense.
    pub fn new(
        config: Config,
        parts: Parts,
        shutdown: Shutdown,
    ) -> Result<Arc<Self>, config::InvalidConfig> {
        config.validate()?;
        let Parts {
            auth,
            uploader,
            file_manager,
            chunks,
            events,
            tokens,
            max_file_bytes,
        } = parts;
        let rules = config.rules(max_file_bytes);
        let largest = usize::try_from(rules.limits.max_message_bytes).unwrap_or(usize::MAX);
        Ok(Arc::new(Self {
            uploads: Arc::new(Uploads::new(
                uploader.clone(),
                chunks,
                Policy::new(&config.forbidden),
            )),
            topics: Topics::new(uploader, events, config.replay_limit),
            tokens: Tokens::new(auth.clone(), tokens),
            sessions: Arc::default(),
            holders: Arc::default(),
            pool: Pool::new(config.process_window_bytes.as_usize(), largest),
            auth,
            file_manager,
            history_turns: Semaphore::new(HISTORIES_AT_ONCE),
            shutdown,
            rules,
            config,
        }))
    }
}

impl Gateway {
    /// Whether tokens can be judged; all else a client asks for may still be answered when one engine or another is away.
    ///
    /// # Errors
    /// What is missing, to follow its name.
    pub async fn ready(&self) -> Result<(), String> {
        match self.tokens.is_fresh() {
            true => Ok(()),
            false => Err("can't learn of logouts, auth does not answer".to_owned()),
        }
    }
}

/// The public routes.
pub fn router(gateway: Arc<Gateway>) -> Router {
    http::routes(gateway)
}

/// Does the gateway's background work until it is dropped: follows logouts and notifications.
pub async fn run(gateway: Arc<Gateway>) {
    let every = gateway.config.compare_heads_every.duration();
    tokio::join!(
        gateway.tokens.follow(),
        close_revoked(&gateway),
        gateway.topics.fan_out(),
        gateway.topics.compare_heads(every),
        gateway.pool.keep_small()
    );
}

/// Closes the sockets of users who log out.
async fn close_revoked(gateway: &Gateway) {
    let mut revocations = gateway.tokens.revocations();
    loop {
        match revocations.recv().await {
            Ok((user, generation)) => gateway.sessions.revoke(user, generation),
            Err(RecvError::Lagged(_)) => {
                gateway
                    .sessions
                    .revoke_where(|user, generation| gateway.tokens.is_revoked(user, generation));
            }
            Err(RecvError::Closed) => return,
        }
    }
}
