//! Who hears which log.

use super::Hint;
use std::{collections::HashMap, sync::Arc};
use storage::events::Shard;
use tokio::sync::mpsc;

/// Who hears which log.
pub(super) struct Listeners {
    logs: HashMap<Arc<str>, Vec<mpsc::Sender<Hint>>>,
    /// Logs that are listened to, by shard.
    per_shard: Vec<usize>,
}

impl Default for Listeners {
    fn default() -> Self {
        Self {
            logs: HashMap::new(),
            per_shard: vec![0; Shard::COUNT],
        }
    }
}

impl Listeners {
    /// Has a session hear a log; once more changes nothing.
    pub(super) fn add(&mut self, log: &Arc<str>, ear: mpsc::Sender<Hint>) {
        let per_shard = &mut self.per_shard;
        let ears = self.logs.entry(log.clone()).or_insert_with(|| {
            per_shard[Shard::of_log(log).index()] += 1;
            Vec::new()
        });
        if !ears.iter().any(|other| other.same_channel(&ear)) {
            ears.push(ear);
        }
    }

    pub(super) fn remove(&mut self, log: &str, ear: &mpsc::Sender<Hint>) {
        self.keep(log, |other| !other.same_channel(ear));
    }

    /// Passes a hint to all who hear a log. One whose queue is full misses it, and finds a gap later.
    pub(super) fn tell(&mut self, log: &str, hint: impl FnOnce(&Arc<str>) -> Hint) {
        let Some((name, ears)) = self.logs.get_key_value(log) else {
            return;
        };
        let hint = hint(name);
        let mut any_closed = false;
        for ear in ears {
            let sent = ear.try_send(hint.clone());
            any_closed |= matches!(sent, Err(mpsc::error::TrySendError::Closed(_)));
        }
        if any_closed {
            self.keep(log, |ear| !ear.is_closed());
        }
    }

    /// Forgets sessions that have ended; answers the logs that are left.
    pub(super) fn present(&mut self) -> Vec<Arc<str>> {
        let per_shard = &mut self.per_shard;
        self.logs.retain(|log, ears| {
            ears.retain(|ear| !ear.is_closed());
            if ears.is_empty() {
                per_shard[Shard::of_log(log).index()] -= 1;
            }
            !ears.is_empty()
        });
        self.logs.keys().cloned().collect()
    }

    /// Whether any log of this shard is listened to.
    pub(super) fn need(&self, shard: Shard) -> bool {
        self.per_shard[shard.index()] > 0
    }

    fn keep(&mut self, log: &str, keep: impl FnMut(&mpsc::Sender<Hint>) -> bool) {
        let Some(ears) = self.logs.get_mut(log) else {
            return;
        };
        ears.retain(keep);
        if ears.is_empty() {
            self.logs.remove(log);
            self.per_shard[Shard::of_log(log).index()] -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_is_needed_as_long_as_one_of_its_logs_is_heard() {
        let mut listeners = Listeners::default();
        let (one, two): (Arc<str>, Arc<str>) = ("user:one".into(), "admin:one".into());
        let needed =
            |listeners: &Listeners| [&one, &two].map(|log| listeners.need(Shard::of_log(log)));
        let head = |log: &Arc<str>| Hint::Head {
            log: log.clone(),
            epoch: "e".into(),
            offset: 1,
        };
        let (ear, mut hints) = mpsc::channel(8);
        let (other, other_hints) = mpsc::channel(8);
        listeners.add(&one, ear.clone());
        listeners.add(&one, ear.clone());
        listeners.add(&one, other.clone());
        listeners.add(&two, other.clone());
        assert_eq!(needed(&listeners), [true, true]);
        listeners.tell(&one, head);
        assert!(hints.try_recv().is_ok());
        assert!(hints.try_recv().is_err(), "each hears it once");

        listeners.remove(&two, &other);
        listeners.remove(&two, &other);
        assert_eq!(needed(&listeners), [true, false]);
        drop(other_hints);
        listeners.remove(&one, &ear);
        assert_eq!(needed(&listeners), [true, false], "not yet noticed");
        listeners.tell(&one, head);
        assert_eq!(needed(&listeners), [false, false]);
        listeners.add(&one, other);
        assert!(listeners.present().is_empty());
        assert_eq!(needed(&listeners), [false, false]);
    }
}
