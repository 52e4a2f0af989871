//! The service: what its use cases share.

use crate::{
    config::Config,
    error::OpenError,
    passwords::Passwords,
    revocations::Feed,
    throttle::Throttle,
    tokens::{StoredKey, Tokens},
    users::{Users, sqlite::SqliteUsers},
};
use jiff::{SignedDuration, Timestamp};
use std::{path::Path, sync::Arc, time::Duration};

/// How far the clock of who verifies a token may be behind, beyond which nobody takes an expired token for a good one.
const CLOCK_SKEW: Duration = Duration::from_secs(120);

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
    /// Opens the database file at `path`, or creates it with its first signing key.
    ///
    /// # Errors
    /// If the file cannot be used, or the cost of passwords in `config` is impossible.
    pub async fn open(config: Config, path: &Path) -> Result<Self, OpenError> {
        let users = SqliteUsers::open(path).await?;
        Self::over(config, Arc::new(users), Timestamp::now()).await
    }

    async fn over(
        config: Config,
        users: Arc<dyn Users>,
        now: Timestamp,
    ) -> Result<Self, OpenError> {
        let passwords = Passwords::new(&config.passwords).await?;
        ensure_key(&*users, &config, now).await?;
        let keys = users.signing_keys(outdated(&config, now)).await?;
        Ok(Self {
            users,
            passwords: Arc::new(passwords),
            throttle: Arc::new(Throttle::new(config.login_limits.clone())),
            tokens: Arc::new(Tokens::new(&config, &keys)?),
            feed: Feed::default(),
            config: Arc::new(config),
        })
    }

    /// A service on the file `auth.db` in `folder`, whose hashes cost next to nothing.
    #[cfg(test)]
    pub(crate) async fn for_tests(folder: &tempfile::TempDir) -> Self {
        use crate::config::PasswordConfig;
        use service_kit::config::ByteSize;

        let passwords = PasswordConfig {
            memory: ByteSize::kib(8),
            iterations: 1,
            ..PasswordConfig::default()
        };
        let config = Config {
            passwords,
            ..Config::default()
        };
        Self::open(config, &folder.path().join("auth.db"))
            .await
            .unwrap()
    }

    /// Makes a new signing key if there is none that is young enough.
    pub(crate) async fn renew_keys(&self, now: Timestamp) -> Result<(), OpenError> {
        ensure_key(&*self.users, &self.config, now).await
    }

    /// Takes over keys that this or another instance has made.
    pub(crate) async fn reload_keys(&self, now: Timestamp) -> Result<(), OpenError> {
        let keys = self.users.signing_keys(self.outdated(now)).await?;
        Ok(self.tokens.reload(&keys)?)
    }

    /// The time before which nothing matters any more to tokens that are still good at `now`.
    pub(crate) fn outdated(&self, now: Timestamp) -> Timestamp {
        outdated(&self.config, now)
    }
}

async fn ensure_key(users: &dyn Users, config: &Config, now: Timestamp) -> Result<(), OpenError> {
    let renew_before = earlier(now, config.signing_key_lifetime.duration());
    Ok(users
        .ensure_signing_key(&StoredKey::generate(now)?, renew_before)
        .await?)
}

fn outdated(config: &Config, now: Timestamp) -> Timestamp {
    earlier(
        now,
        config.access_lifetime.duration().saturating_add(CLOCK_SKEW),
    )
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
