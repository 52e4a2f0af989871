//! One suite per port that every adapter passes. The suites know nothing but the ports.
//!
//! An adapter's test gives a function that makes a fixture with an empty store; each case gets one of its own and may open
//! the adapter over it again, once what it opened before is dropped. A failed expectation panics.

mod blobs;
mod chunks;
mod events;
mod samples;

pub use blobs::{BlobFixture, blobs};
pub use chunks::{ChunkFixture, chunks};
pub use events::{EventFixture, events};
pub use samples::{collect, digest, news, pattern, work};

use std::{future::Future, time::Duration};

/// No case takes nearly as long unless it hangs.
const DEADLINE: Duration = Duration::from_secs(120);

/// Runs a case, and panics with its name if it hangs.
async fn case(name: &str, case: impl Future<Output = ()>) {
    assert!(
        tokio::time::timeout(DEADLINE, case).await.is_ok(),
        "case {name:?} hangs"
    );
}
