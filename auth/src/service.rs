//! The service: what its use cases share.

use crate::{
    config::Config,
    error::{AuthError, OpenError},
    passwords::Passwords,
    revocations::Feed,
    throttle::Throttle,
    tokens::{StoredKey, Tokens},
    users::{self, Users},
};
use jiff::{SignedDuration, Timestamp};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// How far the clock of who verifies a token may be behind, beyond which nobody takes an expired token for a good one.
const CLOCK_SKEW: Duration = Duration::from_secs(120);

/// Tokens are signed with keys that were read no longer ago. A key that another instance retires meanwhile stays published
/// for [`CLOCK_SKEW`] longer than the tokens that it signs are good.
const MAX_KEYS_AGE: Duration = Duration::from_secs(90);

/// The service of accounts. Clones are handles to the same one.
#[derive(Clone)]
pub struct Auth {
    pub(crate) config: Arc<Config>,
    pub(crate) users: Arc<dyn Users>,
    pub(crate) passwords: Arc<Passwords>,
    pub(crate) throttle: Arc<Throttle>,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) feed: Feed,
}

impl Auth {
    /// Opens the database that `database_url` names: `sqlite:<path>`, which is created if it is not there, or
    /// `postgres://…`, in the schema `auth`. What is missing in it is made, down to the first signing key.
    ///
    /// A server that cannot be reached is no error: until [`run`](crate::run) has reached it, requests are answered with
    /// `unavailable`, and [`ready`](Self::ready) says why.
    ///
    /// # Errors
    /// If there is no such database, it refuses for a reason that waiting does not change, or the cost of passwords in
    /// `config` is impossible.
    pub async fn open(config: Config, database_url: &str) -> Result<Self, OpenError> {
        let users = users::open(database_url).await?;
        let passwords = Passwords::new(&config.passwords)?;
        let auth = Self {
            users,
            passwords: Arc::new(passwords),
            throttle: Arc::new(Throttle::new(config.login_limits.clone())),
            tokens: Arc::new(Tokens::new(&config)),
            feed: Feed::default(),
            config: Arc::new(config),
        };
        match auth.prepare(Timestamp::now()).await {
            Err(error) if error.may_pass() => {
                tracing::warn!(%error, "requests are not served until the accounts are available");
            }
            prepared => prepared?,
        }
        Ok(auth)
    }

    /// Makes what is missing in the database.
    pub(crate) async fn prepare(&self, now: Timestamp) -> Result<(), OpenError> {
        self.users.prepare().await?;
        self.renew_keys(now).await?;
        self.reload_keys(now).await
    }

    /// Whether requests can be served now: the database answers.
    ///
    /// # Errors
    /// What is missing, for operators.
    pub async fn ready(&self) -> Result<(), String> {
        self.users.check().await.map_err(|error| error.to_string())
    }

    /// A service on the file `auth.db` in `folder`, whose hashes cost next to nothing.
    #[cfg(test)]
    pub(crate) async fn for_tests(folder: &tempfile::TempDir) -> Self {
        let url = format!("sqlite:{}", folder.path().join("auth.db").display());
        Self::open(Self::cheap(), &url).await.unwrap()
    }

    /// A configuration whose hashes cost next to nothing.
    #[cfg(test)]
    pub(crate) fn cheap() -> Config {
        use crate::config::PasswordConfig;
        use service_kit::config::ByteSize;

        let passwords = PasswordConfig {
            memory: ByteSize::kib(8),
            iterations: 1,
            ..PasswordConfig::default()
        };
        Config {
            passwords,
            ..Config::default()
        }
    }

    /// Makes a new signing key if there is none that is young enough.
    pub(crate) async fn renew_keys(&self, now: Timestamp) -> Result<(), OpenError> {
        let renew_before = earlier(now, self.config.signing_key_lifetime.duration());
        let candidate = StoredKey::generate(now)?;
        Ok(self
            .users
            .ensure_signing_key(&candidate, renew_before)
            .await?)
    }

    /// Sees to it that the key that signs was not retired by another instance so long ago that nobody knows it any more.
    pub(crate) async fn refresh_keys(&self, now: Timestamp) -> Result<(), AuthError> {
        if self.tokens.age().is_none_or(|age| age > MAX_KEYS_AGE) {
            self.reload_keys(now).await?;
        }
        Ok(())
    }

    /// Takes over keys that this or another instance has made.
    pub(crate) async fn reload_keys(&self, now: Timestamp) -> Result<(), OpenError> {
        // Before it is known how long reading takes.
        let read_at = Instant::now();
        let keys = self.users.signing_keys(self.outdated(now)).await?;
        Ok(self.tokens.reload(&keys, read_at)?)
    }

    /// The time before which nothing matters any more to tokens that are still good at `now`.
    pub(crate) fn outdated(&self, now: Timestamp) -> Timestamp {
        let lifetime = self.config.access_lifetime.duration();
        earlier(now, lifetime.saturating_add(CLOCK_SKEW))
    }
}

/// The time that long before `now`, or the earliest there is.
pub(crate) fn earlier(now: Timestamp, by: Duration) -> Timestamp {
    let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
    now.checked_sub(by).unwrap_or(Timestamp::MIN)
}

/// The time that long after `now`, or the latest there is.
pub(crate) fn later(now: Timestamp, by: Duration) -> Timestamp {
    let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
    now.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
