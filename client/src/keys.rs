//! Keys of uploads: by the same key the server knows the same file again, across restarts of the client.

use aws_lc_rs::digest::{Context, SHA256};
use protocol::UploadKey;
use uuid::{Builder, Uuid};

/// The keys under which one file may be sent, one after another: the next one is for sending it once more.
///
/// Derived keys need no journal on disk: whoever derives them from the same facts gets the same ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    seed: [u8; 32],
    sequence: u32,
}

impl Keys {
    /// Keys that nobody has used, or will find again.
    #[must_use]
    pub fn random() -> Self {
        Self::derived([Uuid::new_v4().as_bytes(), Uuid::new_v4().as_bytes()])
    }

    /// The keys that belong to these facts, in this order: such as the server, the user, the path, size and time of change.
    #[must_use]
    pub fn derived<Fact: AsRef<[u8]>>(facts: impl IntoIterator<Item = Fact>) -> Self {
        let mut context = Context::new(&SHA256);
        for fact in facts {
            // Each is told with its length, so that no two lists of facts read the same.
            context.update(&(fact.as_ref().len() as u64).to_be_bytes());
            context.update(fact.as_ref());
        }
        let mut seed = [0; 32];
        seed.copy_from_slice(context.finish().as_ref());
        Self { seed, sequence: 0 }
    }

    /// The present key: a UUID of version 8.
    #[must_use]
    pub fn current(&self) -> UploadKey {
        let mut context = Context::new(&SHA256);
        context.update(&self.seed);
        context.update(&self.sequence.to_be_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&context.finish().as_ref()[..16]);
        UploadKey(Builder::from_custom_bytes(bytes).into_uuid())
    }

    /// Goes on to the next key. Returns whether there is one: a bound against servers that know every key.
    pub(crate) fn advance(&mut self) -> bool {
        const MAX_SEQUENCE: u32 = 1000;
        self.sequence += 1;
        self.sequence <= MAX_SEQUENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_same_facts_give_the_same_keys() {
        let keys = || Keys::derived(["http://h", "anna", "/photos/a.jpg"]);
        assert_eq!(keys().current(), keys().current());
        // Fixed for all versions of this client: otherwise an update would send everything again.
        assert_eq!(
            keys().current().to_string(),
            "ade35485-0e31-8bdd-841c-2fb38a745e81"
        );
        assert_eq!(keys().current().0.get_version_num(), 8);
    }

    #[test]
    fn other_facts_give_other_keys() {
        let mut next = Keys::derived(["ab", "c"]);
        next.advance();
        let all = [
            Keys::derived(["ab", "c"]),
            Keys::derived(["a", "bc"]),
            Keys::derived(["abc"]),
            Keys::derived(["abc", ""]),
            next,
            Keys::random(),
            Keys::random(),
        ];
        let keys: BTreeSet<_> = all.iter().map(Keys::current).collect();
        assert_eq!(keys.len(), all.len());
    }
}
