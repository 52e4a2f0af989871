//! The secrets that calls between services are signed with.

use std::fmt;

use aws_lc_rs::hmac;

use crate::config::Secret;

/// The shortest secret taken, in characters.
pub const MIN_SECRET_CHARS: usize = 32;

/// The longest name of a key, in characters.
const MAX_ID_CHARS: usize = 32;

/// Keys that sign and verify calls: the first one signs, each one verifies.
///
/// To exchange a key, go over all processes three times: add the new one behind the old, put it in front, take the old one
/// away. At each moment everyone knows the keys that anyone signs with.
pub struct Keys {
    keys: Vec<Key>,
}

/// One key and its name, which is sent along with what it has signed.
pub(super) struct Key {
    pub(super) id: String,
    secret: hmac::Key,
}

/// Why a setting holds no keys. The messages never hold a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKeys {
    /// There is no key at all.
    #[error(
        "there are no keys for calls between services, set `id:secret` with a secret of at least {MIN_SECRET_CHARS} characters"
    )]
    None,
    /// An entry has no name.
    #[error("key {0} for calls between services has no name, use the form `id:secret`")]
    NoId(usize),
    /// A name has other characters, or too many.
    #[error(
        "the name of key {0} for calls between services is not valid, use 1 to {MAX_ID_CHARS} letters, digits, `-`, `_` or `.`"
    )]
    BadId(usize),
    /// Two entries have the same name.
    #[error("two keys for calls between services are named `{0}`, give each its own name")]
    TwiceNamed(String),
    /// A secret could be guessed.
    #[error(
        "the secret of key `{id}` for calls between services has {chars} characters, use at least {MIN_SECRET_CHARS}, say of `openssl rand -hex 32`"
    )]
    Short {
        /// The name of the key.
        id: String,
        /// How long its secret is.
        chars: usize,
    },
}

impl Keys {
    /// Reads `id:secret[,id:secret…]`.
    ///
    /// # Errors
    /// See [`InvalidKeys`].
    pub fn parse(setting: &Secret) -> Result<Self, InvalidKeys> {
        let text = setting.expose().trim();
        if text.is_empty() {
            return Err(InvalidKeys::None);
        }
        let mut keys: Vec<Key> = Vec::new();
        for (index, entry) in text.split(',').enumerate() {
            let key = Key::parse(index + 1, entry.trim())?;
            if keys.iter().any(|other| other.id == key.id) {
                return Err(InvalidKeys::TwiceNamed(key.id));
            }
            keys.push(key);
        }
        Ok(Self { keys })
    }

    /// The key that signs.
    pub(super) fn signing(&self) -> &Key {
        // `parse` lets no empty list through.
        &self.keys[0]
    }

    /// The key of this name.
    pub(super) fn find(&self, id: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.id == id)
    }
}

impl Key {
    fn parse(number: usize, entry: &str) -> Result<Self, InvalidKeys> {
        let (id, secret) = entry.split_once(':').ok_or(InvalidKeys::NoId(number))?;
        let is_plain =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if !(1..=MAX_ID_CHARS).contains(&id.len()) || !id.bytes().all(is_plain) {
            return Err(InvalidKeys::BadId(number));
        }
        let chars = secret.chars().count();
        if chars < MIN_SECRET_CHARS {
            let id = id.to_owned();
            return Err(InvalidKeys::Short { id, chars });
        }
        Ok(Self {
            id: id.to_owned(),
            secret: hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()),
        })
    }

    pub(super) fn sign(&self, text: &[u8]) -> hmac::Tag {
        hmac::sign(&self.secret, text)
    }

    /// Compares in a time that does not depend on where the two differ.
    pub(super) fn verifies(&self, text: &[u8], tag: &[u8]) -> bool {
        hmac::verify(&self.secret, text, tag).is_ok()
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.keys.iter().map(|key| &key.id))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn parse(text: &str) -> Result<Keys, InvalidKeys> {
        Keys::parse(&Secret::from(text))
    }

    #[test]
    fn the_first_signs_and_all_verify() {
        let keys = parse(&format!(" new:{SECRET}:x , old:{SECRET}y\n")).unwrap();
        assert_eq!(keys.signing().id, "new");
        let tag = keys.find("old").unwrap().sign(b"text");
        assert!(keys.find("old").unwrap().verifies(b"text", tag.as_ref()));
        assert!(!keys.find("new").unwrap().verifies(b"text", tag.as_ref()));
        assert!(
            !keys
                .find("old")
                .unwrap()
                .verifies(b"text", &tag.as_ref()[..31])
        );
        assert!(keys.find("other").is_none());
    }

    #[test]
    fn what_is_wrong_is_said_without_telling_a_secret() {
        let short = &SECRET[1..];
        for (text, error) in [
            (String::new(), InvalidKeys::None),
            (" \n".to_owned(), InvalidKeys::None),
            (SECRET.to_owned(), InvalidKeys::NoId(1)),
            (format!("a:{SECRET},"), InvalidKeys::NoId(2)),
            (format!(":{SECRET}"), InvalidKeys::BadId(1)),
            (format!("a b:{SECRET}"), InvalidKeys::BadId(1)),
            (
                format!("a:{SECRET},{}:{SECRET}", "x".repeat(33)),
                InvalidKeys::BadId(2),
            ),
            (
                format!("a:{SECRET},a:{SECRET}"),
                InvalidKeys::TwiceNamed("a".to_owned()),
            ),
            (
                format!("a:{short}"),
                InvalidKeys::Short {
                    id: "a".to_owned(),
                    chars: 31,
                },
            ),
        ] {
            let found = parse(&text).unwrap_err();
            assert_eq!(found, error, "{text:?}");
            assert!(!found.to_string().contains(short), "{found}");
        }
    }

    #[test]
    fn keys_are_shown_by_name_only() {
        assert_eq!(
            format!("{:?}", parse(&format!("a:{SECRET}")).unwrap()),
            r#"{"a"}"#
        );
    }
}
