//! Access tokens: JWTs signed with Ed25519, and the keys by which others verify them.

use crate::{config::Config, users::User};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use protocol::token::{Claims, Jwk, Jwks};
use secrecy::{ExposeSecret, SecretSlice};
use std::{
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};
use uuid::Uuid;

/// A signing key as it is kept.
pub(crate) struct StoredKey {
    pub(crate) kid: String,
    /// The key pair in PKCS#8.
    pub(crate) pkcs8: SecretSlice<u8>,
    pub(crate) created_at: Timestamp,
}

/// A signing key that cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// No key pair could be generated.
    #[error("no signing key can be made")]
    Generate,
    /// A stored key is damaged.
    #[error(
        "the signing key {0} is damaged, delete it from the table signing_keys to have a new one made"
    )]
    Damaged(String),
    /// There is none.
    #[error("there is no signing key")]
    None,
}

/// Why no token can be signed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignError {
    /// No key was read yet.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The library refuses.
    #[error(transparent)]
    Encode(#[from] jsonwebtoken::errors::Error),
}

impl StoredKey {
    /// A new key.
    pub(crate) fn generate(now: Timestamp) -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::generate().map_err(|_| KeyError::Generate)?;
        let pkcs8 = pair.to_pkcs8().map_err(|_| KeyError::Generate)?;
        Ok(Self {
            kid: Uuid::now_v7().simple().to_string(),
            pkcs8: pkcs8.as_ref().to_vec().into(),
            created_at: now,
        })
    }

    fn public(&self) -> Result<Jwk, KeyError> {
        let pair = Ed25519KeyPair::from_pkcs8(self.pkcs8.expose_secret())
            .map_err(|_| KeyError::Damaged(self.kid.clone()))?;
        Ok(Jwk {
            kid: self.kid.clone(),
            kty: "OKP".to_owned(),
            crv: "Ed25519".to_owned(),
            alg: "EdDSA".to_owned(),
            usage: "sig".to_owned(),
            x: BASE64_URL_SAFE_NO_PAD.encode(pair.public_key()),
        })
    }
}

/// Signs access tokens.
pub(crate) struct Tokens {
    issuer: String,
    audience: String,
    lifetime_secs: u64,
    /// None until the database was reached.
    keys: RwLock<Option<Arc<Keys>>>,
}

struct Keys {
    header: Header,
    signing: EncodingKey,
    published: Jwks,
    read_at: Instant,
}

impl Keys {
    /// The first key signs.
    fn load(stored: &[StoredKey], read_at: Instant) -> Result<Arc<Self>, KeyError> {
        let newest = stored.first().ok_or(KeyError::None)?;
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(newest.kid.clone());
        let signing = EncodingKey::from_ed_der(newest.pkcs8.expose_secret());
        let keys = stored
            .iter()
            .map(StoredKey::public)
            .collect::<Result<_, _>>()?;
        Ok(Arc::new(Self {
            header,
            signing,
            published: Jwks { keys },
            read_at,
        }))
    }
}

impl Tokens {
    /// Signs as configured, as soon as there are keys.
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            issuer: config.issuer.clone(),
            audience: config.audience.clone(),
            lifetime_secs: config.access_lifetime.duration().as_secs(),
            keys: RwLock::default(),
        }
    }

    /// Signs with the first of `keys`, which were read at `read_at`, and publishes all.
    pub(crate) fn reload(&self, keys: &[StoredKey], read_at: Instant) -> Result<(), KeyError> {
        let keys = Keys::load(keys, read_at)?;
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Some(keys);
        Ok(())
    }

    /// The token of a user for one login.
    pub(crate) fn sign(
        &self,
        user: &User,
        session: Uuid,
        now: Timestamp,
    ) -> Result<String, SignError> {
        let issued_at = now.as_second().max(0).cast_unsigned();
        let claims = Claims {
            iss: self.issuer.clone(),
            aud: self.audience.clone(),
            sub: user.id,
            name: user.name.clone(),
            role: user.role,
            tenant: user.tenant.clone(),
            sid: session,
            generation: user.generation,
            iat: issued_at,
            exp: issued_at.saturating_add(self.lifetime_secs),
        };
        let keys = self.current().ok_or(KeyError::None)?;
        Ok(jsonwebtoken::encode(&keys.header, &claims, &keys.signing)?)
    }

    /// The keys by which tokens are verified.
    pub(crate) fn published(&self) -> Jwks {
        self.current()
            .map_or_else(Jwks::default, |keys| keys.published.clone())
    }

    /// How long ago the keys were read, if there are any.
    pub(crate) fn age(&self) -> Option<Duration> {
        self.current().map(|keys| keys.read_at.elapsed())
    }

    /// How long a token is good, in seconds.
    pub(crate) fn lifetime_secs(&self) -> u64 {
        self.lifetime_secs
    }

    fn current(&self) -> Option<Arc<Keys>> {
        self.keys
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
