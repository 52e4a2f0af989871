//! The uploader owns the state of every upload, from its opening until its file is stored or given up.
//!
//! It opens uploads, verifies and seals finished ones, queues each file to be stored, counts the attempts, and keeps the log
//! of what users and admins are told. It never reads a file's bytes.
//!
//! - [`router`]: what other services call, see [`protocol::upload`] for the bodies.
//! - [`run`]: the relay (outbox → queue), the sweeper, and the announcer (log → listeners).
//! - [`store::Store`]: the port to the database.
//!
//! Two rules carry the rest. A status changes in one transaction with the outbox and the log, and only from the state the
//! change starts from: whoever loses a race changes nothing and answers how things stand. And bytes are freed only after the
//! commit that makes them useless: a crash between the two is the sweeper's to repair.

mod announcer;
mod clock;
mod config;
mod error;
mod files;
mod metric;
mod notifications;
mod recent;
mod relay;
mod router;
pub mod store;
mod sweeper;
mod uploader;
mod uploads;

pub use clock::Clock;
pub use config::Config;
pub use router::router;
pub use store::StoreError;
pub use sweeper::{SweepError, Swept, sweep};
pub use uploader::Uploader;

use tokio_util::sync::CancellationToken;

/// Runs the background work until `shutdown`.
///
/// # Errors
/// [`StoreError::Closed`] when the store has stopped; everything else is tried again.
pub async fn run(uploader: Uploader, shutdown: CancellationToken) -> Result<(), StoreError> {
    let work = async {
        tokio::try_join!(
            relay::run(&uploader, &shutdown),
            sweeper::run(&uploader, &shutdown),
            announcer::run(&uploader, &shutdown),
        )
    };
    tokio::select! {
        ended = work => ended.map(|_| ()),
        () = uploader.store.stopped() => Err(StoreError::Closed),
    }
}
