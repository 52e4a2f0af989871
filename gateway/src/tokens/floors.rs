//! Up to where the tokens of users have been revoked, for as long as that matters.

use protocol::{UserId, token::Revocation};
use std::collections::HashMap;

/// How many users are remembered at least before it is asked who still matters.
const MANY: usize = 4096;

/// Each user's lowest generation that is still good. Whoever is not among them has no good token of an earlier one.
pub(super) struct Floors {
    of: HashMap<UserId, u64>,
    /// Beyond this many, those that matter no more are to be forgotten.
    many: usize,
}

impl Default for Floors {
    fn default() -> Self {
        Self {
            of: HashMap::new(),
            many: MANY,
        }
    }
}

impl Floors {
    /// Whether tokens of this generation are good no more.
    pub(super) fn is_revoked(&self, user: UserId, generation: u64) -> bool {
        self.of.get(&user).is_some_and(|floor| generation < *floor)
    }

    /// Whether it is time to [`replace`](Self::replace) them.
    pub(super) fn are_many(&self) -> bool {
        self.of.len() > self.many
    }

    /// Takes over revocations, and answers those that were not known.
    pub(super) fn raise(&mut self, revocations: &[Revocation]) -> Vec<Revocation> {
        let mut unknown = Vec::new();
        for revocation in revocations {
            let floor = self.of.entry(revocation.user_id).or_default();
            if *floor < revocation.generation {
                *floor = revocation.generation;
                unknown.push(*revocation);
            }
        }
        unknown
    }

    /// Forgets everything but `all`, which are the revocations of all tokens that could still be good, and answers those that
    /// were not known.
    pub(super) fn replace(&mut self, all: &[Revocation]) -> Vec<Revocation> {
        let unknown = self.raise(all);
        let of = all.iter().map(|revocation| revocation.user_id);
        self.of = of
            .filter_map(|user| Some((user, *self.of.get(&user)?)))
            .collect();
        // Twice as many: the work of replacing them stays in proportion to what was learned in between.
        self.many = MANY.max(2 * self.of.len());
        unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revocation(user_id: UserId, generation: u64) -> Revocation {
        Revocation {
            user_id,
            generation,
        }
    }

    #[test]
    fn a_floor_only_rises_and_what_is_known_is_no_news() {
        let (ada, bob) = (UserId::new(), UserId::new());
        let mut floors = Floors::default();
        let first = [revocation(ada, 3), revocation(bob, 2)];
        assert_eq!(floors.raise(&first), first);
        assert_eq!(
            floors.raise(&[revocation(ada, 2), revocation(bob, 4)]),
            [revocation(bob, 4)]
        );
        assert!(floors.is_revoked(ada, 2) && !floors.is_revoked(ada, 3));
        assert!(floors.is_revoked(bob, 3) && !floors.is_revoked(UserId::new(), 0));
    }

    #[test]
    fn those_that_matter_no_more_are_forgotten() {
        let mut floors = Floors::default();
        let kept = revocation(UserId::new(), 2);
        floors.raise(&[kept]);
        while !floors.are_many() {
            floors.raise(&[revocation(UserId::new(), 2)]);
        }
        let news = revocation(UserId::new(), 5);
        assert_eq!(floors.replace(&[kept, news]), [news]);
        assert_eq!(floors.of.len(), 2);
        assert!(floors.is_revoked(kept.user_id, 1) && !floors.are_many());
    }

    #[test]
    fn as_many_as_matter_may_stay() {
        let mut floors = Floors::default();
        let all: Vec<_> = (0..3 * MANY)
            .map(|_| revocation(UserId::new(), 2))
            .collect();
        floors.replace(&all);
        assert!(!floors.are_many());
        assert!(all.iter().all(|one| floors.is_revoked(one.user_id, 1)));
    }
}
