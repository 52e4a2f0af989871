//! Passwords: hashed with Argon2id off the async threads, a bounded number at a time.

mod argon;
mod pool;

use crate::config::PasswordConfig;
use argon::{Argon, Memory};
use pool::{PoolError, WorkPool};
use secrecy::{ExposeSecret, SecretString};
use std::ops::RangeInclusive;

/// The allowed lengths of a password, in bytes.
const LENGTH: RangeInclusive<usize> = 8..=1024;

/// Hashes and verifies passwords.
pub(crate) struct Passwords {
    argon: Argon,
    pool: WorkPool<Memory>,
    /// The hash of nobody's password, verified in place of that of an unknown user: as costly as another.
    decoy: SecretString,
}

/// Why a password could not be hashed or verified.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// It is too short or too long.
    #[error("a password has {} to {} bytes", LENGTH.start(), LENGTH.end())]
    Length,
    /// Too many passwords wait to be hashed.
    #[error("too many logins at a time, try again in a moment")]
    Busy,
    /// The parameters of the hash are not valid.
    #[error("the cost of password hashes is not valid: {0}")]
    Cost(argon2::Error),
    /// A defect: a stored hash is malformed, or hashing failed.
    #[error("a password could not be hashed: {0}")]
    Failed(String),
}

impl From<PoolError> for PasswordError {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Full => Self::Busy,
            PoolError::Died(reason) => Self::Failed(reason),
        }
    }
}

impl Passwords {
    /// Takes over the cost of a hash. Nothing is hashed: its memory is taken when somebody logs in.
    pub(crate) fn new(config: &PasswordConfig) -> Result<Self, PasswordError> {
        let kib = u32::try_from(config.memory.0 >> 10).unwrap_or(u32::MAX);
        let argon = Argon::new(kib, config.iterations, config.lanes)?;
        Ok(Self {
            decoy: argon.decoy()?.into(),
            pool: WorkPool::new(config.parallel, config.max_waiting),
            argon,
        })
    }

    /// Lets go of memory that hashes have not used for a while, again and again.
    pub(crate) async fn keep_small(&self) {
        self.pool.keep_small().await;
    }

    /// Whether a password may be chosen.
    pub(crate) fn check(password: &SecretString) -> Result<(), PasswordError> {
        if LENGTH.contains(&password.expose_secret().len()) {
            Ok(())
        } else {
            Err(PasswordError::Length)
        }
    }

    /// The hash under which a new password is stored (a PHC string).
    pub(crate) async fn hash(&self, password: SecretString) -> Result<SecretString, PasswordError> {
        Self::check(&password)?;
        let argon = self.argon.clone();
        let hash = self
            .pool
            .run(move |memory| argon.hash(password.expose_secret().as_bytes(), memory))
            .await??;
        Ok(hash.into())
    }

    /// Whether the password is the one that `stored` was made of. Without a hash, because there is no such user, it
    /// takes as long and is not.
    pub(crate) async fn verify(
        &self,
        password: SecretString,
        stored: Option<SecretString>,
    ) -> Result<bool, PasswordError> {
        let argon = self.argon.clone();
        let is_known = stored.is_some();
        let stored = stored.unwrap_or_else(|| self.decoy.clone());
        let verify = move |memory: &mut Memory| {
            argon.verify(
                password.expose_secret().as_bytes(),
                stored.expose_secret(),
                memory,
            )
        };
        let matches = self.pool.run(verify).await??;
        Ok(matches && is_known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use service_kit::config::ByteSize;

    async fn cheap() -> Passwords {
        let config = PasswordConfig {
            memory: ByteSize::kib(8),
            iterations: 1,
            parallel: 1,
            ..PasswordConfig::default()
        };
        Passwords::new(&config).unwrap()
    }

    #[tokio::test]
    async fn the_default_is_what_owasp_recommends() {
        let passwords = Passwords::new(&PasswordConfig::default()).unwrap();
        let hash = passwords.hash("correct horse".into()).await.unwrap();
        let cost = "$argon2id$v=19$m=19456,t=2,p=1$";
        assert!(
            hash.expose_secret().starts_with(cost),
            "{}",
            hash.expose_secret()
        );
        assert!(
            passwords.decoy.expose_secret().starts_with(cost),
            "an unknown user must cost the same"
        );
        let lengths = [&hash, &passwords.decoy].map(|hash| hash.expose_secret().len());
        assert_eq!(lengths[0], lengths[1], "the output is as long");
    }

    #[tokio::test]
    async fn only_the_right_password_verifies() {
        let passwords = cheap().await;
        let hash = passwords.hash("correct horse".into()).await.unwrap();
        assert!(
            passwords
                .verify("correct horse".into(), Some(hash.clone()))
                .await
                .unwrap()
        );
        assert!(
            !passwords
                .verify("correct horsf".into(), Some(hash))
                .await
                .unwrap()
        );
    }

    #[tokio::test]
    async fn an_unknown_user_has_no_password() {
        let passwords = cheap().await;
        assert!(
            !passwords
                .verify("nobody's password".into(), None)
                .await
                .unwrap()
        );
    }

    #[tokio::test]
    async fn one_password_has_many_hashes() {
        let passwords = cheap().await;
        let first = passwords.hash("correct horse".into()).await.unwrap();
        let second = passwords.hash("correct horse".into()).await.unwrap();
        assert_ne!(first.expose_secret(), second.expose_secret());
    }

    #[tokio::test]
    async fn a_malformed_hash_is_a_defect_and_not_a_wrong_password() {
        let result = cheap()
            .await
            .verify("correct horse".into(), Some("plain".into()))
            .await;
        assert!(matches!(result, Err(PasswordError::Failed(_))));
    }

    #[test]
    fn the_length_is_counted_in_bytes() {
        for (password, valid) in [("1234567", false), ("12345678", true), ("äöüß", true)] {
            assert_eq!(
                Passwords::check(&password.into()).is_ok(),
                valid,
                "{password}"
            );
        }
        assert!(Passwords::check(&"x".repeat(1024).into()).is_ok());
        assert!(Passwords::check(&"x".repeat(1025).into()).is_err());
    }

    #[tokio::test]
    async fn an_impossible_cost_is_an_error() {
        let config = PasswordConfig {
            memory: ByteSize(1),
            ..PasswordConfig::default()
        };
        assert!(matches!(
            Passwords::new(&config),
            Err(PasswordError::Cost(_))
        ));
    }
}
