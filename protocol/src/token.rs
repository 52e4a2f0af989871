//! Access tokens between the service that signs them and those that verify them: claims, keys and revocations.

use crate::{
    identity::{Caller, Role},
    ids::{TenantId, UserId},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The header of a logout's answer that holds the number of its revocation: who has read the feed up to that number
/// knows of the logout.
pub const REVOCATION_HEADER: &str = "x-sluice-revocation";

/// What an access token (a JWT signed with EdDSA) says of its bearer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Who signed it.
    pub iss: String,
    /// For whom it is meant.
    pub aud: String,
    /// The account.
    pub sub: UserId,
    /// Its unique name.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// The tenant it belongs to.
    pub tenant: TenantId,
    /// The login that the token comes from: the same in every token that refreshing gives.
    pub sid: Uuid,
    /// The user's token generation at the time of signing; see [`Revocation::generation`].
    #[serde(rename = "gen")]
    pub generation: u64,
    /// When it was signed, in seconds since the epoch.
    pub iat: u64,
    /// When it expires, in seconds since the epoch.
    pub exp: u64,
}

impl From<Claims> for Caller {
    fn from(claims: Claims) -> Self {
        Self {
            user_id: claims.sub,
            name: claims.name,
            role: claims.role,
            tenant: claims.tenant,
        }
    }
}

/// What `GET /.well-known/jwks.json` answers: the keys with which tokens may be signed now (RFC 7517).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwks {
    /// The keys, newest first. A key that is not among them may be new: ask again before refusing its token.
    pub keys: Vec<Jwk>,
}

/// The public half of an Ed25519 signing key (RFC 8037).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwk {
    /// The key's id, found in the header of the tokens that it signs.
    pub kid: String,
    /// `OKP`.
    pub kty: String,
    /// `Ed25519`.
    pub crv: String,
    /// `EdDSA`.
    pub alg: String,
    /// `sig`.
    #[serde(rename = "use")]
    pub usage: String,
    /// The public key, 32 bytes in base64url without padding.
    pub x: String,
}

/// What `GET /auth/revocations?after=<seq>&wait_ms=<n>` answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocations {
    /// The number of the last revocation: ask for those after it next. One below the number asked with means that the
    /// numbers started anew, and that `revoked` holds everything.
    pub seq: u64,
    /// Each user's last revocation among those asked for.
    pub revoked: Vec<Revocation>,
}

/// The end of every token that a user had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// The account.
    pub user_id: UserId,
    /// The user's token generation from now on: a token of a lower one is no longer good.
    pub generation: u64,
}

impl Revocation {
    /// Whether a token with these claims is no longer good.
    #[must_use]
    pub fn ends(&self, claims: &Claims) -> bool {
        self.user_id == claims.sub && claims.generation < self.generation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(generation: u64) -> Claims {
        Claims {
            iss: "sluice".to_owned(),
            aud: "sluice".to_owned(),
            sub: UserId::new(),
            name: "ada".to_owned(),
            role: Role::User,
            tenant: TenantId::default(),
            sid: Uuid::nil(),
            generation,
            iat: 1,
            exp: 2,
        }
    }

    #[test]
    fn claims_are_written_under_their_registered_names() {
        let json = serde_json::to_value(claims(3)).unwrap();
        let mut names: Vec<_> = json
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "aud", "exp", "gen", "iat", "iss", "name", "role", "sid", "sub", "tenant"
            ]
        );
    }

    #[test]
    fn a_revocation_ends_the_tokens_of_earlier_generations_of_its_user_only() {
        let old = claims(1);
        let revocation = Revocation {
            user_id: old.sub,
            generation: 2,
        };
        assert!(revocation.ends(&old));
        assert!(!revocation.ends(&Claims {
            generation: 2,
            ..old.clone()
        }));
        assert!(!revocation.ends(&Claims {
            sub: UserId::new(),
            ..old
        }));
    }
}
