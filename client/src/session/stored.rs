//! Files that the server holds and has not yet stored: waits for the news, and asks when none comes.

use crate::{
    Error, UploadError,
    upload::{FileOutcome, Progress, UploadState},
};
use protocol::{TransferStatus, UploadId};
use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};
use tokio::{sync::watch, time::Instant};

/// Time without news after which the server is asked: news are hints that can be lost.
const ASK_AFTER: Duration = Duration::from_secs(5);

/// News of files that nobody waits for yet: they may overtake the reply to `complete-upload`.
const EARLY_NEWS: usize = 1024;

/// What is known of a file that was heard of early.
type News = (UploadId, TransferStatus, Option<String>);

/// The files that are waited for.
#[derive(Default)]
pub(super) struct Storing {
    files: HashMap<UploadId, Waiting>,
    early: VecDeque<News>,
}

struct Waiting {
    outcome: FileOutcome,
    progress: watch::Sender<Progress>,
    /// When to ask; none while asking.
    ask_at: Option<Instant>,
}

impl Storing {
    /// Waits for a file to be stored.
    pub(super) fn add(&mut self, outcome: FileOutcome, progress: watch::Sender<Progress>) {
        let upload = outcome.upload_id;
        let waiting = Waiting {
            outcome,
            progress,
            ask_at: Some(Instant::now() + ASK_AFTER),
        };
        self.files.insert(upload, waiting);
        self.news(upload, outcome.status, None);
        if let Some((_, status, reason)) = self
            .early
            .iter()
            .rfind(|(early, ..)| *early == upload)
            .cloned()
        {
            self.news(upload, status, reason.as_deref());
        }
    }

    /// Takes the status of a file.
    pub(super) fn news(&mut self, upload: UploadId, status: TransferStatus, reason: Option<&str>) {
        let Some(waiting) = self.files.get_mut(&upload) else {
            if self.early.len() == EARLY_NEWS {
                self.early.pop_front();
            }
            return self
                .early
                .push_back((upload, status, reason.map(str::to_owned)));
        };
        waiting.ask_at = Some(Instant::now() + ASK_AFTER);
        waiting.outcome.status = status;
        let outcome = waiting.outcome;
        let state = match status {
            TransferStatus::UploadedSuccessfully => UploadState::Stored(outcome),
            status if status.is_final() => {
                let reason = reason
                    .unwrap_or("it gives no reason; see the history")
                    .to_owned();
                UploadState::Failed(UploadError::NotStored { reason })
            }
            _ => UploadState::Cached(outcome),
        };
        let over = state.is_final();
        waiting
            .progress
            .send_modify(|progress| progress.state = state);
        if over {
            self.files.remove(&upload);
        }
    }

    /// The server was asked and did not tell.
    pub(super) fn no_news(&mut self, upload: UploadId, error: &Error) {
        tracing::debug!(%upload, %error, "can't learn what became of an upload, asking again later");
        if let Some(waiting) = self.files.get_mut(&upload) {
            waiting.ask_at = Some(Instant::now() + ASK_AFTER);
        }
    }

    pub(super) fn unsure(&mut self) {
        let now = Instant::now();
        self.files
            .values_mut()
            .for_each(|waiting| waiting.ask_at = Some(now));
    }

    pub(super) fn next_lookup(&mut self, now: Instant) -> Option<UploadId> {
        self.files
            .retain(|_, waiting| !waiting.progress.is_closed());
        let due = self
            .files
            .iter_mut()
            .find(|(_, waiting)| waiting.ask_at.is_some_and(|at| at <= now));
        due.map(|(upload, waiting)| {
            waiting.ask_at = None;
            *upload
        })
    }

    pub(super) fn next_lookup_at(&self) -> Option<Instant> {
        self.files
            .values()
            .filter_map(|waiting| waiting.ask_at)
            .min()
    }

    pub(super) fn fail_all(&mut self, error: &UploadError) {
        for (_, waiting) in self.files.drain() {
            waiting
                .progress
                .send_modify(|progress| progress.state = UploadState::Failed(error.clone()));
        }
    }
}
