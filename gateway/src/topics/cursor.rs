//! How far a session has come in a topic, so that each notification is sent once and in order.

use super::{Hint, encode};
use bytes::Bytes;
use protocol::{
    Topic,
    upload::{LogHead, LogPage},
};
use std::sync::Arc;

/// How far one session has come in one topic.
#[derive(Clone, Debug)]
pub(crate) struct Cursor {
    pub(crate) topic: Topic,
    pub(crate) log: Arc<str>,
    epoch: Arc<str>,
    /// Number of the last notification sent.
    sent: u64,
    /// The largest number known to exist.
    head: u64,
    /// Whether another epoch was heard of: the log may have begun anew.
    in_doubt: bool,
    /// Whether the log is being read.
    reading: bool,
}

impl Cursor {
    /// A cursor in the log that has come as far as `head`; everything up to `sent` is known to the client.
    pub(super) fn new(topic: Topic, log: Arc<str>, epoch: Arc<str>, head: u64, sent: u64) -> Self {
        Self {
            topic,
            log,
            epoch,
            sent,
            head,
            in_doubt: false,
            reading: false,
        }
    }

    /// Takes a hint; has its notifications sent if they are the next ones. What `send` refuses is read from the log later.
    pub(super) fn hear(&mut self, hint: &Hint, send: impl FnOnce(&Bytes) -> bool) {
        if *hint.epoch != *self.epoch {
            self.in_doubt = true;
            return;
        }
        self.head = self.head.max(hint.offset);
        if let Some(frames) = &hint.frames
            && !self.reading
            && hint.first == self.sent + 1
            && send(frames)
        {
            self.sent = hint.offset;
        }
    }

    /// Whether the client has not been sent everything up to this head.
    pub(super) fn lacks(&self, head: &LogHead) -> bool {
        *self.epoch != *head.epoch || self.sent < head.head
    }

    /// Learns what the cursor before it knew of the log.
    pub(super) fn catch_up_with(&mut self, before: &Self) {
        match self.epoch == before.epoch {
            true => self.head = self.head.max(before.head),
            false => self.in_doubt = true,
        }
    }

    /// Whether the log must be read, and nobody is reading yet.
    pub(super) fn is_behind(&self) -> bool {
        !self.reading && (self.in_doubt || self.sent < self.head)
    }

    /// The number after which the log must be read now, if it must.
    pub(super) fn start_reading(&mut self) -> Option<u64> {
        self.is_behind().then(|| {
            (self.reading, self.in_doubt) = (true, false);
            self.sent
        })
    }

    /// Takes what was read; answers the frames to send.
    pub(super) fn read(&mut self, page: LogPage) -> Vec<Bytes> {
        self.reading = false;
        if *self.epoch != *page.epoch {
            // The history was lost under our feet: go on from the new head.
            self.epoch = page.epoch.as_str().into();
            (self.sent, self.head) = (page.head, page.head);
            return Vec::new();
        }
        self.head = self.head.max(page.head);
        // What the log has forgotten meanwhile can't be sent any more.
        self.sent = self.sent.max(page.oldest.saturating_sub(1));
        let mut frames = Vec::with_capacity(page.notifications.len());
        for notification in page.notifications {
            // A page that was read for an earlier subscription may begin elsewhere.
            if notification.offset == self.sent + 1 {
                self.sent = notification.offset;
                frames.push(encode(notification));
            }
        }
        frames
    }

    /// Forgets the gap until the next comparison of heads: a log that can't be read now is not asked again at once.
    pub(super) fn reading_failed(&mut self) {
        self.reading = false;
        self.head = self.sent;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use protocol::event::Notification;

    fn cursor(sent: u64, head: u64) -> Cursor {
        Cursor::new(
            Topic::Admin,
            "admin:default".into(),
            "one".into(),
            head,
            sent,
        )
    }

    fn hint(cursor: &Cursor, epoch: &str, offset: u64) -> Hint {
        Hint {
            log: cursor.log.clone(),
            epoch: epoch.into(),
            offset,
            first: offset,
            frames: Some(format!("{epoch} {offset}").into()),
        }
    }

    /// Whether the notification is sent, to a line that takes everything.
    fn hear(cursor: &mut Cursor, epoch: &str, offset: u64) -> bool {
        let mut sent = false;
        let hint = hint(cursor, epoch, offset);
        cursor.hear(&hint, |_| {
            sent = true;
            true
        });
        sent
    }

    fn page(epoch: &str, oldest: u64, offsets: std::ops::RangeInclusive<u64>) -> LogPage {
        LogPage {
            epoch: epoch.to_owned(),
            head: *offsets.end(),
            oldest,
            notifications: offsets
                .map(|offset| Notification {
                    topic: Topic::Admin,
                    epoch: epoch.to_owned(),
                    offset,
                    event: "file.cached".to_owned(),
                    time: Timestamp::UNIX_EPOCH,
                    data: serde_json::Value::Null,
                })
                .collect(),
        }
    }

    #[test]
    fn the_next_one_is_passed_on_and_a_gap_is_read_once() {
        let mut cursor = cursor(1, 1);
        assert!(hear(&mut cursor, "one", 2));
        assert!(!hear(&mut cursor, "one", 2), "doubled");
        assert!(!cursor.is_behind());
        assert!(!hear(&mut cursor, "one", 5), "a gap");
        assert_eq!(cursor.start_reading(), Some(2));
        assert_eq!(cursor.start_reading(), None);
        assert!(!hear(&mut cursor, "one", 3), "the page will have it");
        assert_eq!(cursor.read(page("one", 1, 3..=5)).len(), 3);
        assert_eq!(cursor.start_reading(), None);
    }

    #[test]
    fn several_that_follow_each_other_are_sent_together_or_read() {
        let mut cursor = cursor(1, 1);
        let mut several = Hint {
            first: 2,
            ..hint(&cursor, "one", 4)
        };
        cursor.hear(&several, |_| true);
        assert!(!cursor.is_behind());
        // Some of them are known already.
        (several.first, several.offset) = (4, 6);
        cursor.hear(&several, |_| panic!("one would be sent twice"));
        assert_eq!(cursor.start_reading(), Some(4));
    }

    #[test]
    fn what_the_line_refuses_is_read_later() {
        let mut cursor = cursor(1, 1);
        let refused = hint(&cursor, "one", 2);
        cursor.hear(&refused, |_| false);
        assert!(!hear(&mut cursor, "one", 3));
        assert_eq!(cursor.start_reading(), Some(1));
    }

    #[test]
    fn who_subscribes_once_more_knows_how_far_the_log_has_come() {
        let mut before = cursor(1, 1);
        assert!(hear(&mut before, "one", 2));
        let mut again = cursor(1, 1);
        again.catch_up_with(&before);
        assert_eq!(again.start_reading(), Some(1));
    }

    #[test]
    fn a_page_for_an_earlier_subscription_leaves_no_hole() {
        let mut cursor = cursor(1, 5);
        assert!(cursor.read(page("one", 1, 4..=5)).is_empty());
        assert_eq!(cursor.start_reading(), Some(1));
    }

    #[test]
    fn what_the_log_has_forgotten_is_not_asked_for_again_and_again() {
        let mut cursor = cursor(1, 9);
        assert_eq!(cursor.start_reading(), Some(1));
        assert_eq!(cursor.read(page("one", 8, 8..=9)).len(), 2);
        assert_eq!(cursor.start_reading(), None);
    }

    #[test]
    fn a_log_that_cannot_be_read_waits_for_the_next_comparison() {
        let mut cursor = cursor(1, 2);
        assert_eq!(cursor.start_reading(), Some(1));
        cursor.reading_failed();
        assert_eq!(cursor.start_reading(), None);
        let head = Hint {
            frames: None,
            ..hint(&cursor, "one", 2)
        };
        cursor.hear(&head, |_| panic!("there is nothing to send"));
        assert_eq!(cursor.start_reading(), Some(1));
    }

    #[test]
    fn another_epoch_is_noticed_however_short_its_log_is() {
        let mut cursor = cursor(100, 100);
        assert!(!hear(&mut cursor, "two", 1));
        assert_eq!(cursor.start_reading(), Some(100));
        assert!(cursor.read(page("two", 1, 1..=1)).is_empty());
        assert!(hear(&mut cursor, "two", 2));
        assert!(!hear(&mut cursor, "one", 101), "late");
        assert_eq!(cursor.start_reading(), Some(2));
        assert!(cursor.read(page("two", 1, 2..=2)).is_empty());
        assert_eq!(cursor.start_reading(), None);
    }
}
