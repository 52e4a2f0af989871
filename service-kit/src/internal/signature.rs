//! What is signed of a call, and how.
//!
//! The signature is an HMAC-SHA256 over lines of text, each ended by a line feed:
//!
//! ```text
//! sluice-v1
//! <method>
//! <path and query>
//! <name>:<value>     of each header `x-sluice-…` but the signature itself, sorted by name
//! ```
//!
//! Among these headers are the addressee, the name of the key, the time, the nonce and the digest of the body, but also
//! whatever else the services tell each other in such headers: who is calling, say.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, request};

use super::keys::Keys;

/// What the names of signed headers begin with. No such header may be let in from outside.
pub const PREFIX: &str = "x-sluice-";

/// The header with the addressee: `<service>/<instance>`.
pub const TO: HeaderName = HeaderName::from_static("x-sluice-to");

/// The header with the name of the key.
pub const KEY: HeaderName = HeaderName::from_static("x-sluice-key");

/// The header with the time of signing, in milliseconds since 1970.
pub const TIME: HeaderName = HeaderName::from_static("x-sluice-time");

/// The header with what makes the call unlike any other: 32 hexadecimal digits.
pub const NONCE: HeaderName = HeaderName::from_static("x-sluice-nonce");

/// The header with the SHA-256 of the body, in hexadecimal digits.
pub const CONTENT: HeaderName = HeaderName::from_static("x-sluice-content-sha256");

/// The header with the signature, in hexadecimal digits.
pub const SIGNATURE: HeaderName = HeaderName::from_static("x-sluice-signature");

const VERSION: &str = "sluice-v1";

/// What makes a call unlike any other.
pub type Nonce = [u8; 16];

/// The SHA-256 of a body.
pub type ContentHash = [u8; 32];

/// What the headers of a signed call say. Nothing of it is to be believed before [`Claims::is_signed`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// The service that the call is for.
    pub service: String,
    /// The instance that it is for.
    pub instance: String,
    /// The name of the key.
    pub key: String,
    /// When it was signed, in milliseconds since 1970.
    pub time_ms: u64,
    /// What makes it unlike any other.
    pub nonce: Nonce,
    /// The digest of its body.
    pub content: ContentHash,
    signature: [u8; 32],
}

/// Signs a call to `<service>/<instance>`, whose body has this digest. An earlier signature is replaced.
pub fn sign(
    keys: &Keys,
    (service, instance): (&str, &str),
    content: &ContentHash,
    parts: &mut request::Parts,
) {
    sign_at(
        keys,
        (service, instance),
        content,
        now_ms(),
        &rand::random(),
        parts,
    );
}

/// As [`sign`], with a given time and nonce.
pub fn sign_at(
    keys: &Keys,
    (service, instance): (&str, &str),
    content: &ContentHash,
    time_ms: u64,
    nonce: &Nonce,
    parts: &mut request::Parts,
) {
    let key = keys.signing();
    for (name, value) in [
        (TO, format!("{service}/{instance}")),
        (KEY, key.id.clone()),
        (TIME, time_ms.to_string()),
        (NONCE, hex::encode(nonce)),
        (CONTENT, hex::encode(content)),
    ] {
        set(&mut parts.headers, name, &value);
    }
    let tag = key.sign(&canonical(&parts.method, &parts.uri, &parts.headers));
    set(&mut parts.headers, SIGNATURE, &hex::encode(tag));
}

/// The digest of a body.
pub fn content_hash(body: &[u8]) -> ContentHash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, body).as_ref());
    hash
}

/// Milliseconds since 1970.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

impl Claims {
    /// Reads the headers of a call; none if they are not those of a signed one.
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        let text = |name: &HeaderName| headers.get(name)?.to_str().ok();
        let (service, instance) = text(&TO)?.split_once('/')?;
        Some(Self {
            service: service.to_owned(),
            instance: instance.to_owned(),
            key: text(&KEY)?.to_owned(),
            time_ms: text(&TIME)?.parse().ok()?,
            nonce: bytes(text(&NONCE)?)?,
            content: bytes(text(&CONTENT)?)?,
            signature: bytes(text(&SIGNATURE)?)?,
        })
    }

    /// Whether one of the keys has signed the call with these headers.
    pub fn is_signed(&self, keys: &Keys, parts: &request::Parts) -> bool {
        keys.find(&self.key).is_some_and(|key| {
            let text = canonical(&parts.method, &parts.uri, &parts.headers);
            key.verifies(&text, &self.signature)
        })
    }
}

fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(bytes)
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    // A name of a service with a line feed cannot be sent; the call is then refused for want of an addressee.
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// The text that is signed. A header's value has no line feed, so no two calls have the same text.
fn canonical(method: &Method, uri: &Uri, headers: &HeaderMap) -> Vec<u8> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut text = format!("{VERSION}\n{method}\n{path}\n").into_bytes();
    let mut signed: Vec<_> = headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with(PREFIX) && **name != SIGNATURE)
        .collect();
    // Stable: several values of a name keep their order, as they do on the way.
    signed.sort_by_key(|(name, _)| name.as_str());
    for (name, value) in signed {
        text.extend_from_slice(name.as_str().as_bytes());
        text.push(b':');
        // Spaces around a value do not arrive.
        text.extend_from_slice(value.as_bytes().trim_ascii());
        text.push(b'\n');
    }
    text
}

#[cfg(test)]
mod tests;
