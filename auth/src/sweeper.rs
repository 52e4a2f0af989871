//! Background work: deletes what no longer matters and renews the signing key in time.

use crate::{error::OpenError, service::Auth};
use jiff::Timestamp;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// Sweeps until `shutdown`. A sweep that fails is logged and done again later: nothing depends on its hour.
pub async fn run(auth: Auth, shutdown: CancellationToken) {
    let mut ticks = interval(SWEEP_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if let Err(error) = auth.sweep(Timestamp::now()).await {
            tracing::warn!(%error, "old logins could not be swept, trying again in a minute");
        }
    }
}

impl Auth {
    async fn sweep(&self, now: Timestamp) -> Result<(), OpenError> {
        let swept = self.users.sweep(now, self.outdated(now)).await?;
        tracing::debug!(?swept, "swept the accounts");
        self.reload_keys(now).await
    }
}
