//! Which shards of news this gateway hears: those of the logs that its sockets listen to.

use std::{sync::Arc, time::Duration};
use storage::events::{EventError, Events, Shard};
use tokio::{sync::Mutex, time::Instant};

/// How long a shard that nobody needs stays bound: clients that come back soon change nothing then.
const LINGER: Duration = Duration::from_secs(30);

/// How long a subscription waits for its shard. Then it goes on: heads are compared every few seconds.
const PATIENCE: Duration = Duration::from_secs(6);

/// How every shard stands.
pub(super) struct Shards {
    events: Arc<dyn Events>,
    slots: Vec<Mutex<Slot>>,
}

#[derive(Default)]
struct Slot {
    is_bound: bool,
    /// Since when it has been bound for nobody.
    idle_since: Option<Instant>,
}

impl Shards {
    pub(super) fn new(events: Arc<dyn Events>) -> Self {
        let slots = Shard::all().map(|_| Mutex::default()).collect();
        Self { events, slots }
    }

    /// Hears a log from now on: when this returns, its news reach this gateway. If the engine is away, they will once it is
    /// back, and heads are compared then.
    pub(super) async fn need(&self, log: &str) {
        let shard = Shard::of_log(log);
        if tokio::time::timeout(PATIENCE, self.bind(shard))
            .await
            .is_err()
        {
            tracing::warn!(%shard, "a shard of news is not bound yet; sessions read the log instead");
        }
    }

    async fn bind(&self, shard: Shard) {
        let mut slot = self.slot(shard).lock().await;
        slot.idle_since = None;
        if slot.is_bound {
            return;
        }
        match self.events.bind(shard).await {
            Ok(()) => {}
            // The engine keeps the wish.
            Err(EventError::Unavailable(reason)) => {
                tracing::debug!(%shard, reason, "a shard of news will be bound when the engine is back");
            }
            Err(EventError::Closed) => return,
        }
        slot.is_bound = true;
        metrics::gauge!("sluice_bound_shards").increment(1.0);
    }

    /// Unbinds what nobody has needed for a while. `is_needed` is asked while nobody can begin to need the shard.
    pub(super) async fn release(&self, is_needed: impl Fn(Shard) -> bool) {
        for shard in Shard::all() {
            // Whoever holds it is about to bind it.
            let Ok(mut slot) = self.slot(shard).try_lock() else {
                continue;
            };
            if !slot.is_bound {
                continue;
            }
            if is_needed(shard) {
                slot.idle_since = None;
                continue;
            }
            let since = *slot.idle_since.get_or_insert_with(Instant::now);
            if since.elapsed() < LINGER {
                continue;
            }
            *slot = Slot::default();
            metrics::gauge!("sluice_bound_shards").decrement(1.0);
            if let Err(error) = self.events.unbind(shard).await {
                tracing::debug!(%shard, %error, "a shard of news is unbound with the next connection");
            }
        }
    }

    fn slot(&self, shard: Shard) -> &Mutex<Slot> {
        &self.slots[shard.index()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use storage::{
        events::LocalEvents,
        faults::{EventCall, FaultyEvents},
    };

    const LOG: &str = "user:one";

    fn shards() -> (Shards, Arc<FaultyEvents>) {
        let events = Arc::new(FaultyEvents::new(Arc::new(LocalEvents::new())));
        (Shards::new(events.clone()), events)
    }

    fn calls(events: &FaultyEvents) -> (usize, usize) {
        let script = events.script();
        (
            script.calls(EventCall::Bind),
            script.calls(EventCall::Unbind),
        )
    }

    #[tokio::test(start_paused = true)]
    async fn a_shard_is_bound_once_and_stays_for_a_while() {
        let (shards, events) = shards();
        shards.need(LOG).await;
        shards.need(LOG).await;
        shards.release(|shard| shard == Shard::of_log(LOG)).await;
        assert_eq!(calls(&events), (1, 0));

        shards.release(|_| false).await;
        tokio::time::advance(LINGER / 2).await;
        shards.release(|_| false).await;
        shards.need(LOG).await;
        tokio::time::advance(LINGER).await;
        shards.release(|_| false).await;
        assert_eq!(calls(&events), (1, 0), "it was needed in between");
        tokio::time::advance(LINGER).await;
        shards.release(|_| false).await;
        shards.release(|_| false).await;
        assert_eq!(calls(&events), (1, 1));
        shards.need(LOG).await;
        assert_eq!(calls(&events), (2, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_subscription_waits_for_its_shard_but_not_for_ever() {
        let (shards, events) = shards();
        let gate = events.script().gate(EventCall::Bind);
        let first = shards.need(LOG);
        let second = shards.need(LOG);
        tokio::pin!(first, second);
        assert!(first.as_mut().now_or_never().is_none());
        assert!(
            second.as_mut().now_or_never().is_none(),
            "nor does the second"
        );
        shards.release(|_| false).await;
        gate.open();
        tokio::join!(first, second);
        assert_eq!(calls(&events), (1, 0));

        events.script().gate(EventCall::Bind);
        shards.need("user:two").await;
    }

    #[tokio::test]
    async fn an_engine_that_is_away_keeps_the_wish() {
        let (shards, events) = shards();
        events.script().unavailable();
        shards.need(LOG).await;
        shards.need(LOG).await;
        assert_eq!(calls(&events), (1, 0), "others do not wait again");
    }
}
