//! Verifies access tokens without asking anyone: keys and revocations are followed in the background.

mod checked;
mod floors;

use crate::refusals;
use checked::Checked;
use floors::Floors;
use http::Method;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use protocol::{
    ErrorCode, Refusal, UserId,
    identity::Caller,
    token::{Claims, Jwks, Revocation, Revocations},
};
use service_kit::peer::{Peer, PeerError};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};
use tokio::{
    sync::{broadcast, watch},
    time::Instant,
};

/// How long one look at the revocations waits for news.
const POLL: Duration = Duration::from_millis(200);

/// Older than this, the revocations known say nothing: tokens are refused rather than guessed about.
const STALE: Duration = Duration::from_secs(1);

/// How long one replica of auth is waited for: longer than a busy one needs, and so short that another one can be asked,
/// which waits for news as long, before the revocations known are stale.
const ATTEMPT: Duration = Duration::from_millis(450);

/// Older than this, what is known is brought up to date at once, without waiting for news.
const BEHIND: Duration = Duration::from_millis(300);

/// How long to wait after none could be read.
const PAUSE: Duration = Duration::from_millis(100);

/// Keys are asked for again at most this often when tokens name an unknown one.
const KEYS_EVERY: Duration = Duration::from_secs(1);

/// A token that was found good.
#[derive(Clone, Debug)]
pub(crate) struct Verified {
    pub(crate) caller: Caller,
    pub(crate) generation: u64,
    pub(crate) expires_at: Timestamp,
}

/// What a token must say to be one of ours.
#[derive(Clone, Debug)]
pub struct TokenRules {
    /// Who signs.
    pub issuer: String,
    /// For whom.
    pub audience: String,
}

/// What the gateway knows of tokens.
pub(crate) struct Tokens {
    auth: Peer,
    rules: TokenRules,
    keys: RwLock<HashMap<String, DecodingKey>>,
    keys_asked: tokio::sync::Mutex<Option<Instant>>,
    floors: Mutex<Floors>,
    checked: Checked,
    seen: watch::Sender<Seen>,
    revoked: broadcast::Sender<(UserId, u64)>,
}

#[derive(Clone, Copy, Default)]
struct Seen {
    seq: u64,
    at: Option<Instant>,
}

impl Tokens {
    pub(crate) fn new(auth: Peer, rules: TokenRules) -> Arc<Self> {
        Arc::new(Self {
            auth,
            rules,
            keys: RwLock::default(),
            keys_asked: tokio::sync::Mutex::default(),
            floors: Mutex::default(),
            checked: Checked::default(),
            seen: watch::Sender::default(),
            revoked: broadcast::Sender::new(1024),
        })
    }

    /// Revocations as they become known: tokens of the user below the generation are good no more. Who lags behind asks
    /// [`is_revoked`](Self::is_revoked) of all it cares for.
    pub(crate) fn revocations(&self) -> broadcast::Receiver<(UserId, u64)> {
        self.revoked.subscribe()
    }

    /// Verifies a token.
    ///
    /// # Errors
    /// `unauthenticated` for a token that is no good; `unavailable` when keys or revocations can't be learned of.
    pub(crate) async fn verify(&self, token: &str) -> Result<Verified, Refusal> {
        let claims = self.decode(token).await?;
        if self.seen.borrow().at.is_none_or(|at| at.elapsed() > STALE) {
            self.wait_until_fresh().await?;
        }
        if self.is_revoked(claims.sub, claims.generation) {
            return Err(unauthenticated("the user has logged out; log in again"));
        }
        let expires_at = i64::try_from(claims.exp)
            .ok()
            .and_then(|exp| Timestamp::from_second(exp).ok());
        Ok(Verified {
            expires_at: expires_at
                .ok_or_else(|| unauthenticated("the token's expiry makes no sense"))?,
            generation: claims.generation,
            caller: claims.into(),
        })
    }

    /// Whether tokens of this generation are good no more.
    pub(crate) fn is_revoked(&self, user: UserId, generation: u64) -> bool {
        self.floors().is_revoked(user, generation)
    }

    fn floors(&self) -> MutexGuard<'_, Floors> {
        self.floors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the revocation of this number is known here, so that whoever caused it can rely on it.
    pub(crate) async fn wait_for(&self, seq: u64) {
        let mut seen = self.seen.subscribe();
        let known = seen.wait_for(|seen| seen.seq >= seq);
        // After this time tokens are refused anyway, since the revocations known are stale.
        let _ = tokio::time::timeout(STALE, known).await;
    }

    /// Whether tokens can be judged: what is known of logouts is fresh.
    pub(crate) fn is_fresh(&self) -> bool {
        self.seen
            .borrow()
            .at
            .is_some_and(|at| at.elapsed() <= STALE)
    }

    async fn wait_until_fresh(&self) -> Result<(), Refusal> {
        let mut seen = self.seen.subscribe();
        let fresh = seen.wait_for(|seen| seen.at.is_some_and(|at| at.elapsed() <= STALE));
        match tokio::time::timeout(STALE, fresh).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(refusals::unavailable(
                "logouts can't be learned of at the moment",
            )),
        }
    }

    /// What a token says, whose signature is checked once, however often it is shown.
    async fn decode(&self, token: &str) -> Result<Claims, Refusal> {
        let now = Timestamp::now();
        if let Some(claims) = self.checked.find(token, now) {
            return Ok(claims);
        }
        let claims = self.check(token).await?;
        self.checked.remember(token, &claims, now);
        Ok(claims)
    }

    async fn check(&self, token: &str) -> Result<Claims, Refusal> {
        let bad = |_| unauthenticated("the token is not one of ours, or has expired; log in again");
        let header = jsonwebtoken::decode_header(token).map_err(bad)?;
        let key_id = header
            .kid
            .ok_or_else(|| unauthenticated("the token names no key"))?;
        let key = match self.key(&key_id) {
            Some(key) => key,
            None => {
                self.load_keys(&key_id)
                    .await
                    .map_err(|error| refusals::unavailable(error.to_string()))?;
                self.key(&key_id)
                    .ok_or_else(|| unauthenticated("the token is signed with an unknown key"))?
            }
        };
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.leeway = 0;
        // The library would take a token for the whole second that begins with its expiry, when sockets are closed already.
        validation.reject_tokens_expiring_in_less_than = 1;
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.set_issuer(&[&self.rules.issuer]);
        validation.set_audience(&[&self.rules.audience]);
        Ok(jsonwebtoken::decode::<Claims>(token, &key, &validation)
            .map_err(bad)?
            .claims)
    }

    fn key(&self, id: &str) -> Option<DecodingKey> {
        self.keys
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(id)
            .cloned()
    }

    /// Learns of the keys that there are now, for want of this one.
    async fn load_keys(&self, id: &str) -> Result<(), PeerError> {
        let wanted = Instant::now();
        let mut asked = self.keys_asked.lock().await;
        // Many clients that connect to a new process want the same key: the first one learns of it for all.
        if self.key(id).is_some() {
            return Ok(());
        }
        if let Some(at) = *asked {
            if at > wanted {
                return Ok(());
            }
            // A key may be younger than the last answer, and whoever holds its token must not be told that it is no good.
            tokio::time::sleep_until(at + KEYS_EVERY).await;
        }
        let asking = Instant::now();
        let jwks: Jwks = self.auth.get_json("/.well-known/jwks.json").await?;
        let keys = jwks
            .keys
            .into_iter()
            .filter_map(|key| Some((key.kid, DecodingKey::from_ed_components(&key.x).ok()?)));
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys.collect();
        // A key may be among them no more, whose tokens are good no more.
        self.checked.forget_all();
        *asked = Some(asking);
        Ok(())
    }

    /// Follows revocations for ever.
    pub(crate) async fn follow(&self) {
        loop {
            if let Err(error) = self.ask_for_news().await {
                tracing::warn!(%error, "can't learn of logouts; refusing tokens until it is possible again");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    async fn ask_for_news(&self) -> Result<(), PeerError> {
        let begun = Instant::now();
        let Seen { seq, at } = *self.seen.borrow();
        let is_anew = self.floors().are_many();
        // From the beginning on one is told of all that still matter.
        let seq = if is_anew { 0 } else { seq };
        let is_behind = at.is_none_or(|at| begun - at > BEHIND);
        let wait = if is_behind { Duration::ZERO } else { POLL };
        let path = format!("/auth/revocations?after={seq}&wait_ms={}", wait.as_millis());
        let call = self.auth.request(Method::GET, path);
        let news: Revocations = call
            .deadline(STALE)
            .attempt_timeout(ATTEMPT)
            .receive()
            .await?;
        // When the answer came says nothing: this process may have been frozen since. There was no news until the wait was over.
        let known_at = if news.seq == seq { begun + wait } else { begun };
        let unknown = if is_anew {
            self.floors().replace(&news.revoked)
        } else {
            self.floors().raise(&news.revoked)
        };
        self.learn(news.seq, &unknown, known_at.min(Instant::now()));
        Ok(())
    }

    /// Tells of what is revoked, all of which was known at this time.
    fn learn(&self, seq: u64, unknown: &[Revocation], at: Instant) {
        for revocation in unknown {
            // Nobody listening is fine: there is no session to close.
            let _ = self
                .revoked
                .send((revocation.user_id, revocation.generation));
        }
        self.seen.send_replace(Seen { seq, at: Some(at) });
    }
}

fn unauthenticated(detail: &str) -> Refusal {
    Refusal::new(ErrorCode::Unauthenticated, detail)
}

#[cfg(test)]
mod tests;
