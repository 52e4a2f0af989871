//! The settings of the service.

use serde::{Deserialize, Serialize};
use service_kit::config::Millis;
use std::num::{NonZeroU32, NonZeroUsize};

/// How files are stored and looked up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How many files are put into the blob store at once. Eight times as many may be in hand, to be indexed and reported.
    pub parallel: NonZeroUsize,
    /// How many connections read the index at once.
    pub index_readers: NonZeroU32,
    /// The time between two searches for blobs that belong to no file.
    pub sweep_interval: Millis,
    /// How long a blob is left alone after it was stored, whether or not it belongs to a file.
    pub sweep_grace: Millis,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            parallel: const { NonZeroUsize::new(4).unwrap() },
            index_readers: const { NonZeroU32::new(4).unwrap() },
            sweep_interval: Millis::hours(1),
            sweep_grace: Millis::hours(1),
        }
    }
}
