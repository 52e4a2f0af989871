//! How far a session has come in a topic, so that each notification is sent once and in order.

use super::{Hint, encode};
use protocol::{Topic, upload::LogPage};
use std::sync::Arc;
use tokio_tungstenite::tungstenite::Utf8Bytes;

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
    /// A cursor in the log that `page` is of; everything up to `sent` is known to the client.
    pub(super) fn new(topic: Topic, log: Arc<str>, page: &LogPage, sent: u64) -> Self {
        Self {
            topic,
            log,
            epoch: page.epoch.as_str().into(),
            sent,
            head: page.head,
            in_doubt: false,
            reading: false,
        }
    }

    /// Takes a hint; answers the text to send, if it is the next one.
    pub(crate) fn hear(&mut self, hint: Hint) -> Option<Utf8Bytes> {
        let (Hint::Head { epoch, offset, .. } | Hint::Notification { epoch, offset, .. }) = &hint;
        if *epoch != self.epoch {
            self.in_doubt = true;
            return None;
        }
        let (offset, is_next) = (*offset, !self.reading && *offset == self.sent + 1);
        self.head = self.head.max(offset);
        match hint {
            Hint::Notification { text, .. } if is_next => {
                self.sent = offset;
                Some(text)
            }
            _ => None,
        }
    }

    /// The number after which the log must be read now, if there is a gap and nobody is reading yet.
    pub(crate) fn start_reading(&mut self) -> Option<u64> {
        let behind = !self.reading && (self.in_doubt || self.sent < self.head);
        behind.then(|| {
            (self.reading, self.in_doubt) = (true, false);
            self.sent
        })
    }

    /// Takes what was read; answers the texts to send.
    pub(crate) fn read(&mut self, page: LogPage) -> Vec<Utf8Bytes> {
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
        let mut texts = Vec::with_capacity(page.notifications.len());
        for notification in page.notifications {
            // A page that was read for an earlier subscription may begin elsewhere.
            if notification.offset == self.sent + 1 {
                self.sent = notification.offset;
                texts.push(encode(notification));
            }
        }
        texts
    }

    /// Forgets the gap until the next comparison of heads: a log that can't be read now is not asked again at once.
    pub(crate) fn reading_failed(&mut self) {
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
            &page("one", 1, 1..=head),
            sent,
        )
    }

    fn hint(cursor: &Cursor, epoch: &str, offset: u64) -> Hint {
        Hint::Notification {
            log: cursor.log.clone(),
            epoch: epoch.into(),
            offset,
            text: format!("{epoch} {offset}").into(),
        }
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
        assert!(cursor.hear(hint(&cursor, "one", 2)).is_some());
        assert!(cursor.hear(hint(&cursor, "one", 2)).is_none(), "doubled");
        assert!(cursor.hear(hint(&cursor, "one", 5)).is_none(), "a gap");
        assert_eq!(cursor.start_reading(), Some(2));
        assert_eq!(cursor.start_reading(), None);
        assert_eq!(cursor.read(page("one", 1, 3..=5)).len(), 3);
        assert_eq!(cursor.start_reading(), None);
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
        let head = Hint::Head {
            log: cursor.log.clone(),
            epoch: "one".into(),
            offset: 2,
        };
        assert!(cursor.hear(head).is_none());
        assert_eq!(cursor.start_reading(), Some(1));
    }

    #[test]
    fn another_epoch_is_noticed_however_short_its_log_is() {
        let mut cursor = cursor(100, 100);
        assert!(cursor.hear(hint(&cursor, "two", 1)).is_none());
        assert_eq!(cursor.start_reading(), Some(100));
        assert!(cursor.read(page("two", 1, 1..=1)).is_empty());
        assert!(cursor.hear(hint(&cursor, "two", 2)).is_some());
        assert!(cursor.hear(hint(&cursor, "one", 101)).is_none(), "late");
        assert_eq!(cursor.start_reading(), Some(2));
        assert!(cursor.read(page("two", 1, 2..=2)).is_empty());
        assert_eq!(cursor.start_reading(), None);
    }
}
