//! Which of many cases it was that failed.

/// Says so on a panic while it lives.
pub struct Case(String);

impl Case {
    /// The case that begins here.
    pub fn begin(name: impl Into<String>) -> Self {
        Self(name.into())
    }
}

#[expect(clippy::print_stderr, reason = "what a test says when it fails")]
impl Drop for Case {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("among the cases under way: {}", self.0);
        }
    }
}

/// Numbers that look random and are fixed by a seed (SplitMix64).
pub struct Chance(u64);

impl Chance {
    /// The numbers of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A seed that is another one each time, unless `TEST_SEED` gives one.
    ///
    /// # Panics
    /// When that is no number.
    #[must_use]
    pub fn seed() -> u64 {
        use std::hash::{BuildHasher, RandomState};
        match std::env::var("TEST_SEED") {
            Ok(seed) => seed.parse().expect("TEST_SEED is a number"),
            Err(_) => RandomState::new().hash_one(0),
        }
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }
}
