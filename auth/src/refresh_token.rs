//! Refresh tokens: random, opaque, known to the server by their hashes only.

use aws_lc_rs::{digest, rand};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

const FAMILY_LEN: usize = 16;
const SECRET_LEN: usize = 32;

/// A refresh token: the secret of its family, shared by all tokens of a login, and 256 bits of its own.
///
/// The family is in no other token, so whoever shows it has held a refresh token of that login.
pub(crate) struct RefreshToken {
    bytes: [u8; FAMILY_LEN + SECRET_LEN],
}

impl RefreshToken {
    /// The first token of a family.
    pub(crate) fn generate() -> Self {
        let mut bytes = [0; FAMILY_LEN + SECRET_LEN];
        fill(&mut bytes);
        Self { bytes }
    }

    /// Another token of the same family.
    pub(crate) fn successor(&self) -> Self {
        let mut bytes = self.bytes;
        fill(&mut bytes[FAMILY_LEN..]);
        Self { bytes }
    }

    /// Reads a token as clients send it. Nothing is told of one that is malformed.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
        Some(Self {
            bytes: bytes.try_into().ok()?,
        })
    }

    /// The token as clients keep it.
    pub(crate) fn encode(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.bytes)
    }

    /// By what the server finds the login.
    pub(crate) fn family_hash(&self) -> String {
        hash(&self.bytes[..FAMILY_LEN])
    }

    /// By what the server knows this token.
    pub(crate) fn hash(&self) -> String {
        hash(&self.bytes)
    }
}

/// What is hashed is random, so a fast hash without salt is as good as any.
fn hash(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, bytes))
}

#[allow(
    clippy::expect_used,
    reason = "a process without random numbers must not go on"
)]
fn fill(bytes: &mut [u8]) {
    rand::fill(bytes).expect("the system gives random numbers");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_the_way_to_the_client_and_back() {
        let token = RefreshToken::generate();
        let back = RefreshToken::parse(&token.encode()).unwrap();
        assert_eq!(
            (back.family_hash(), back.hash()),
            (token.family_hash(), token.hash())
        );
    }

    #[test]
    fn successors_share_the_family_only() {
        let token = RefreshToken::generate();
        let successor = token.successor();
        assert_eq!(successor.family_hash(), token.family_hash());
        assert_ne!(successor.hash(), token.hash());
        assert_ne!(RefreshToken::generate().family_hash(), token.family_hash());
    }

    #[test]
    fn what_is_stored_is_not_what_is_sent() {
        let token = RefreshToken::generate();
        assert!(!token.encode().contains(&token.hash()));
        assert!(!token.encode().contains(&token.family_hash()));
    }

    #[test]
    fn malformed_tokens_are_refused() {
        let good = RefreshToken::generate().encode();
        for text in [
            "",
            "x",
            "ä",
            &good[1..],
            &format!("{good}AAAA"),
            &good.replace(&good[..1], "+"),
        ] {
            assert!(RefreshToken::parse(text).is_none(), "{text:?} is accepted");
        }
    }
}
