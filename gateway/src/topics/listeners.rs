//! Who hears which log.

use super::Ear;
use protocol::upload::LogHead;
use std::{collections::HashMap, sync::Arc};
use storage::events::Shard;

/// Who hears which log.
pub(super) struct Listeners {
    logs: HashMap<Arc<str>, Ears>,
    /// Logs that are listened to, by shard.
    per_shard: Vec<usize>,
}

/// Those who hear one log. Each keeps its place, so that the places can be gone through while others come and go.
#[derive(Default)]
struct Ears {
    slots: Vec<Option<Arc<Ear>>>,
    free: Vec<usize>,
    /// The epoch heard of last, which all cursors share.
    epoch: Option<Arc<str>>,
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
    /// Has a session hear a log; once more changes nothing. Answers the log's shared name.
    pub(super) fn add(&mut self, log: &str, ear: &Arc<Ear>) -> Arc<str> {
        let log = self.name(log).unwrap_or_else(|| log.into());
        if ear.can_listen_to(&log) {
            let per_shard = &mut self.per_shard;
            let ears = self.logs.entry(log.clone()).or_insert_with(|| {
                per_shard[Shard::of_log(&log).index()] += 1;
                Ears::default()
            });
            ear.remember(&log, ears.add(ear.clone()));
        }
        log
    }

    /// The shared text of a log's epoch.
    pub(super) fn epoch(&mut self, log: &str, epoch: &str) -> Arc<str> {
        match self.logs.get_mut(log) {
            Some(ears) => match &mut ears.epoch {
                Some(known) if **known == *epoch => known.clone(),
                other => other.insert(epoch.into()).clone(),
            },
            None => epoch.into(),
        }
    }

    /// Ends what [`add`](Self::add) began.
    pub(super) fn remove(&mut self, log: &str, ear: &Ear) {
        if let Some(slot) = ear.forget(log) {
            self.free(log, slot);
        }
    }

    /// Has a session hear nothing any more.
    pub(super) fn remove_all(&mut self, ear: &Ear) {
        for (log, slot) in ear.forget_all() {
            self.free(&log, slot);
        }
    }

    fn free(&mut self, log: &str, slot: usize) {
        let Some(ears) = self.logs.get_mut(log) else {
            return;
        };
        ears.slots[slot] = None;
        ears.free.push(slot);
        if ears.free.len() == ears.slots.len() {
            self.logs.remove(log);
            self.per_shard[Shard::of_log(log).index()] -= 1;
        }
    }

    /// The shared name of a log, if it is listened to.
    pub(super) fn name(&self, log: &str) -> Option<Arc<str>> {
        self.logs.get_key_value(log).map(|(log, _)| log.clone())
    }

    /// Adds to `some` those who hear a log, at most `limit` places from `from`; answers where to go on, if there is more.
    pub(super) fn some(
        &self,
        log: &str,
        from: usize,
        limit: usize,
        some: &mut Vec<Arc<Ear>>,
    ) -> Option<usize> {
        let slots = &self.logs.get(log)?.slots;
        let end = slots.len().min(from + limit);
        some.extend(slots.get(from..end)?.iter().flatten().cloned());
        (end < slots.len()).then_some(end)
    }

    /// Whether any of those who hear a log would learn something from this head.
    pub(super) fn lacks(&self, head: &LogHead) -> bool {
        let ears = self.logs.get(&*head.log);
        ears.is_some_and(|ears| ears.slots.iter().flatten().any(|ear| ear.lacks(head)))
    }

    /// The logs that are listened to.
    pub(super) fn present(&self) -> Vec<Arc<str>> {
        self.logs.keys().cloned().collect()
    }

    /// Whether any log of this shard is listened to.
    pub(super) fn need(&self, shard: Shard) -> bool {
        self.per_shard[shard.index()] > 0
    }
}

impl Ears {
    fn add(&mut self, ear: Arc<Ear>) -> usize {
        match self.free.pop() {
            Some(slot) => {
                self.slots[slot] = Some(ear);
                slot
            }
            None => {
                if self.slots.is_empty() {
                    // Most often nobody else will hear the log.
                    self.slots.reserve_exact(1);
                }
                self.slots.push(Some(ear));
                self.slots.len() - 1
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::Listener, *};

    #[test]
    fn a_shard_is_needed_as_long_as_one_of_its_logs_is_heard() {
        let mut listeners = Listeners::default();
        let (one, two) = ("user:one", "admin:one");
        let needed =
            |listeners: &Listeners| [one, two].map(|log| listeners.need(Shard::of_log(log)));
        let (ear, other) = (Listener::new().ear, Listener::new().ear);
        for (log, ear) in [(one, &ear), (one, &ear), (one, &other), (two, &other)] {
            assert_eq!(*listeners.add(log, ear), *log);
        }
        assert_eq!(needed(&listeners), [true, true]);
        listeners.remove(two, &other);
        listeners.remove(two, &other);
        assert_eq!(needed(&listeners), [true, false]);
        listeners.remove_all(&other);
        assert_eq!(needed(&listeners), [true, false]);
        listeners.add(two, &other);
        assert_eq!(needed(&listeners), [true, false], "it is gone");
        listeners.remove_all(&ear);
        assert_eq!(needed(&listeners), [false, false]);
        assert!(listeners.present().is_empty());
    }

    #[test]
    fn whoever_stays_is_met_once_while_others_come_and_go() {
        let mut listeners = Listeners::default();
        let log = "user:one";
        let ears: Vec<_> = (0..7).map(|_| Listener::new().ear).collect();
        ears.iter().for_each(|ear| drop(listeners.add(log, ear)));
        listeners.remove(log, &ears[6]);
        listeners.remove(log, &ears[1]);
        let mut met = Vec::new();
        let mut from = listeners.some(log, 0, 3, &mut met);
        listeners.remove(log, &ears[0]);
        listeners.add(log, &ears[6]);
        while let Some(next) = from {
            from = listeners.some(log, next, 3, &mut met);
        }
        let times = |ear| met.iter().filter(|met| Arc::ptr_eq(met, ear)).count();
        assert_eq!(ears[2..6].iter().map(times).collect::<Vec<_>>(), [1; 4]);
        assert!(times(&ears[6]) <= 1);
        assert_eq!(listeners.some("user:two", 0, 3, &mut met), None);
    }
}
