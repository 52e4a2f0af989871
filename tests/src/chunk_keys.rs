//! What Redis holds of uploads, seen without the server's own eyes.

use protocol::UploadId;
use std::collections::BTreeSet;

/// What was being read when it was removed stays so long for its readers, in milliseconds, and goes by itself.
const FOR_READERS: i64 = 60_000;

/// The uploads that a key beginning with `prefix` names, whatever kind of key it is, unless it is about to go by itself.
///
/// # Panics
/// When Redis can't be asked.
#[must_use]
pub fn uploads(redis_url: &str, prefix: &str) -> BTreeSet<String> {
    let client = redis::Client::open(redis_url).expect("a URL of Redis");
    let mut connection = client.get_connection().expect("Redis answers");
    let keys: Vec<String> = redis::cmd("KEYS")
        .arg(format!("{prefix}*"))
        .query(&mut connection)
        .expect("Redis answers");
    if keys.is_empty() {
        return BTreeSet::new();
    }
    let mut left = redis::pipe();
    for key in &keys {
        left.cmd("PTTL").arg(key);
    }
    let left: Vec<i64> = left.query(&mut connection).expect("Redis answers");
    let stay = keys.iter().zip(left);
    let stay = stay.filter(|(_, left)| *left == NO_END || *left > FOR_READERS);
    stay.flat_map(|(key, _)| named(key)).collect()
}

/// What `PTTL` says of a key that stays until it is removed.
const NO_END: i64 = -1;

/// The ids of uploads in a key.
fn named(key: &str) -> impl Iterator<Item = String> {
    let words = key.split(|sign: char| !sign.is_ascii_alphanumeric() && sign != '-');
    let ids = words.filter(|word| word.parse::<UploadId>().is_ok());
    ids.map(str::to_owned)
}
