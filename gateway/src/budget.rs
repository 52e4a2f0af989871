//! The bytes that all sessions of the process may have received and not yet stored.

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A bound on bytes that sessions share.
#[derive(Clone)]
pub(crate) struct Budget(Arc<Semaphore>);

/// What one session has of the budget, and what it owes: bytes that it has received and not yet found room for. A session that
/// owes does not read on.
pub(crate) struct Share {
    budget: Budget,
    granted: Option<OwnedSemaphorePermit>,
    owed: u32,
}

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes)))
    }

    pub(crate) fn share(&self) -> Share {
        Share {
            budget: self.clone(),
            granted: None,
            owed: 0,
        }
    }
}

impl Share {
    /// Makes the share fit what is in flight: gives back, takes, or owes.
    pub(crate) fn fit(&mut self, in_flight: u64) {
        let in_flight = usize::try_from(in_flight).unwrap_or(usize::MAX);
        let granted = self
            .granted
            .as_ref()
            .map_or(0, OwnedSemaphorePermit::num_permits);
        if in_flight <= granted {
            let surplus = granted - in_flight;
            drop(
                self.granted
                    .as_mut()
                    .and_then(|granted| granted.split(surplus)),
            );
            self.owed = 0;
            return;
        }
        self.owed = u32::try_from(in_flight - granted).unwrap_or(u32::MAX);
        if let Ok(permit) = self.budget.0.clone().try_acquire_many_owned(self.owed) {
            self.receive(permit);
        }
    }

    pub(crate) fn owes(&self) -> bool {
        self.owed > 0
    }

    /// Waits until there is room for what is owed. May be dropped and called again.
    pub(crate) async fn settle(&mut self) {
        // The semaphore is never closed.
        if let Ok(permit) = self.budget.0.clone().acquire_many_owned(self.owed).await {
            self.receive(permit);
        }
    }

    fn receive(&mut self, permit: OwnedSemaphorePermit) {
        self.owed = 0;
        match &mut self.granted {
            Some(granted) => granted.merge(permit),
            none => *none = Some(permit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_comes_too_late_owes_until_others_give_back() {
        let budget = Budget::new(100);
        let (mut first, mut second) = (budget.share(), budget.share());
        first.fit(80);
        second.fit(40);
        assert!(!first.owes() && second.owes());
        first.fit(50);
        second.settle().await;
        assert!(!second.owes());
        first.fit(0);
        second.fit(0);
        assert_eq!(budget.0.available_permits(), 100);
    }

    #[tokio::test]
    async fn a_dropped_share_is_given_back() {
        let budget = Budget::new(100);
        let mut share = budget.share();
        share.fit(100);
        drop(share);
        assert_eq!(budget.0.available_permits(), 100);
    }
}
