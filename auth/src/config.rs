//! What can be configured about accounts, passwords and tokens.

use serde::{Deserialize, Serialize};
use service_kit::config::{ByteSize, Millis};
use std::{num::NonZero, thread};

/// The most memory that hashes take together by default.
const DEFAULT_HASH_MEMORY: ByteSize = ByteSize::mib(48);

/// The configuration of this service.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The claim `iss` of tokens: who signed them.
    pub issuer: String,
    /// The claim `aud` of tokens: for whom they are meant.
    pub audience: String,
    /// How long an access token is good.
    pub access_lifetime: Millis,
    /// How long a refresh token is good, counted from when it was given out.
    pub refresh_lifetime: Millis,
    /// How long a refresh token may be used once more, in case that the answer to its use was lost.
    pub refresh_grace: Millis,
    /// The age at which the signing key is replaced.
    pub signing_key_lifetime: Millis,
    /// How many logins of one user live at a time; one more ends the one that was refreshed longest ago.
    pub max_sessions_per_user: u32,
    /// How passwords are hashed.
    pub passwords: PasswordConfig,
    /// How many failed logins are too many, for each process.
    pub login_limits: LoginLimits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            issuer: "sluice".to_owned(),
            audience: "sluice".to_owned(),
            access_lifetime: Millis::mins(15),
            refresh_lifetime: Millis::days(30),
            refresh_grace: Millis::secs(10),
            signing_key_lifetime: Millis::days(90),
            max_sessions_per_user: 1000,
            passwords: PasswordConfig::default(),
            login_limits: LoginLimits::default(),
        }
    }
}

/// The cost of an Argon2id hash, and how many are computed at a time.
///
/// The defaults are what OWASP's Password Storage Cheat Sheet recommends (19 MiB, 2 iterations, 1 lane).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct PasswordConfig {
    /// The memory that one hash takes.
    pub memory: ByteSize,
    /// How often that memory is passed over.
    pub iterations: u32,
    /// The lanes that the memory is divided into.
    pub lanes: u32,
    /// How many hashes are computed at a time. The default is the number of cores, or fewer so that hashes take at most
    /// 48 MiB together.
    pub parallel: usize,
    /// How many hashes may wait for their turn; further ones are refused at once.
    pub max_waiting: usize,
}

impl Default for PasswordConfig {
    fn default() -> Self {
        let memory = ByteSize::mib(19);
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let that_fit = (DEFAULT_HASH_MEMORY.0 / memory.0) as usize;
        Self {
            memory,
            iterations: 2,
            lanes: 1,
            parallel: cores.min(that_fit),
            max_waiting: 128,
        }
    }
}

/// How many failed logins are too many, per user name. Each process counts for itself: where several play this role, as many
/// times more may fail in all.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoginLimits {
    /// Failures within the window after which further logins are refused.
    pub max_failures: usize,
    /// How long a failure counts.
    pub window: Millis,
}

impl Default for LoginLimits {
    fn default() -> Self {
        Self {
            max_failures: 10,
            window: Millis::mins(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_survives_being_written_and_read() {
        let config = Config::default();
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<Config>(&text).unwrap(), config);
    }

    #[test]
    fn unknown_keys_are_refused() {
        assert!(serde_json::from_str::<Config>(r#"{"passwords": {"memroy": 1}}"#).is_err());
    }

    #[test]
    fn hashes_fit_into_their_memory_by_default() {
        let config = PasswordConfig::default();
        assert!(config.parallel >= 1);
        assert!(config.memory.0 * config.parallel as u64 <= DEFAULT_HASH_MEMORY.0);
    }
}
