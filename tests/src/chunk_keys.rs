//! What Redis holds of uploads, seen without the server's own eyes.

use protocol::UploadId;
use std::collections::BTreeSet;

/// The uploads that a key beginning with `prefix` names, whatever kind of key it is.
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
    keys.iter().flat_map(|key| named(key)).collect()
}

/// The ids of uploads in a key.
fn named(key: &str) -> impl Iterator<Item = String> {
    let words = key.split(|sign: char| !sign.is_ascii_alphanumeric() && sign != '-');
    let ids = words.filter(|word| word.parse::<UploadId>().is_ok());
    ids.map(str::to_owned)
}
