//! Tokens whose signatures were found good, for as long as they are.

use jiff::Timestamp;
use protocol::{Digest, DigestAlgorithm, Hasher, token::Claims};
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// How many are remembered: some hundred bytes each.
const MAX: usize = 8192;

/// What good tokens say, by the digests of the tokens: whoever reads this memory must not find a token in it.
#[derive(Default)]
pub(super) struct Checked(Mutex<HashMap<Digest, Claims>>);

impl Checked {
    /// What a token says that was found good and has not expired since.
    pub(super) fn find(&self, token: &str, now: Timestamp) -> Option<Claims> {
        let known = self.known();
        known
            .get(&key(token))
            .filter(|claims| is_good_at(claims, now))
            .cloned()
    }

    pub(super) fn remember(&self, token: &str, claims: &Claims, now: Timestamp) {
        let mut known = self.known();
        if known.len() >= MAX {
            known.retain(|_, claims| is_good_at(claims, now));
        }
        // Rarely so many are good at once. They are checked again, then.
        if known.len() >= MAX {
            known.clear();
        }
        known.insert(key(token), claims.clone());
    }

    pub(super) fn forget_all(&self) {
        self.known().clear();
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Digest, Claims>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(token: &str) -> Digest {
    let mut hasher = Hasher::new(DigestAlgorithm::Sha256);
    hasher.update(token.as_bytes());
    hasher.finish()
}

/// As when it was checked: a token is good before the second in which it expires.
fn is_good_at(claims: &Claims, now: Timestamp) -> bool {
    u64::try_from(now.as_second()).is_ok_and(|now| now < claims.exp)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(exp: u64) -> Claims {
        Claims {
            iss: "sluice".to_owned(),
            aud: "sluice".to_owned(),
            sub: protocol::UserId::new(),
            name: "ada".to_owned(),
            role: protocol::identity::Role::User,
            tenant: protocol::TenantId::default(),
            sid: protocol::SessionId::new().0,
            generation: 1,
            iat: 0,
            exp,
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn a_token_is_found_until_it_expires() {
        let (checked, claims) = (Checked::default(), claims(100));
        checked.remember("a.b.c", &claims, at(1));
        assert_eq!(checked.find("a.b.c", at(99)), Some(claims));
        assert_eq!(checked.find("a.b.d", at(99)), None);
        assert_eq!(checked.find("a.b.c", at(100)), None);
        checked.forget_all();
        assert_eq!(checked.find("a.b.c", at(1)), None);
    }

    #[test]
    fn those_that_have_expired_make_room() {
        let checked = Checked::default();
        for number in 0..MAX {
            checked.remember(&format!("old {number}"), &claims(10), at(1));
        }
        checked.remember("good", &claims(100), at(2));
        assert_eq!(checked.known().len(), 1, "all were good, and too many");
        for number in 0..MAX - 1 {
            checked.remember(&format!("old {number}"), &claims(10), at(1));
        }
        checked.remember("new", &claims(100), at(20));
        assert_eq!(checked.known().len(), 2);
        assert!(checked.find("good", at(20)).is_some());
    }
}
