//! The uploads of a client: connects what the sender says of them with those who wait for them.

use super::stored::Storing;
use crate::{
    Error, Upload, UploadError,
    source::Reader,
    upload::{FileOutcome, Progress, UploadState},
};
use protocol::{
    ErrorCode, UploadId,
    event::FileEvent,
    session::client::{Event, Held, Outcome, Outgoing, Sender, TransferId},
    upload::UploadView,
};
use std::{collections::HashMap, sync::Arc};
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::Instant,
};

/// A file handed over by the program.
pub(crate) struct NewUpload {
    pub(crate) upload: Upload,
    pub(crate) ticket: u64,
    pub(crate) progress: watch::Sender<Progress>,
    /// Its place in the queue of the client, free again when this is dropped.
    #[expect(dead_code, reason = "it is held, not read")]
    pub(crate) permit: OwnedSemaphorePermit,
}

/// An upload whose file is not yet at the server.
struct Sending {
    new: NewUpload,
    reader: Arc<Reader>,
    /// What went wrong on this side.
    failure: Option<UploadError>,
}

/// All uploads of a client.
#[derive(Default)]
pub(super) struct Uploads {
    sending: HashMap<TransferId, Sending>,
    storing: Storing,
}

impl Uploads {
    pub(super) fn add(&mut self, sender: &mut Sender, new: NewUpload) {
        let reader = Reader::new(new.upload.source.clone());
        self.start(
            sender,
            Sending {
                new,
                reader,
                failure: None,
            },
        );
    }

    fn start(&mut self, sender: &mut Sender, sending: Sending) {
        let Upload { keys, meta, .. } = &sending.new.upload;
        let id = sender.add(Outgoing {
            key: keys.current(),
            meta: meta.clone(),
        });
        self.sending.insert(id, sending);
    }

    pub(super) fn cancel(&mut self, sender: &mut Sender, ticket: u64) {
        let found = self
            .sending
            .iter()
            .find(|(_, sending)| sending.new.ticket == ticket);
        if let Some((id, _)) = found {
            sender.cancel(*id);
        }
    }

    /// What reads the file of a transfer.
    pub(super) fn reader(&self, id: TransferId) -> Option<Arc<Reader>> {
        self.sending.get(&id).map(|sending| sending.reader.clone())
    }

    /// Something went wrong on this side: the upload is given up.
    pub(super) fn fail(&mut self, sender: &mut Sender, id: TransferId, error: UploadError) {
        if let Some(sending) = self.sending.get_mut(&id) {
            sending.failure = Some(error);
            sender.cancel(id);
        }
    }

    /// Takes what the sender says.
    pub(super) fn hear(&mut self, sender: &mut Sender, event: Event) {
        match event {
            Event::Started { transfer, .. } => {
                self.show(transfer, |progress| progress.state = UploadState::Sending);
            }
            Event::Progress {
                transfer,
                sent,
                acked,
            } => self.show(transfer, |progress| {
                progress.sent = sent;
                progress.acked = acked;
                progress.state = UploadState::Sending;
            }),
            Event::Waiting { transfer, refusal } => {
                self.show(transfer, |progress| {
                    progress.state = UploadState::Waiting(refusal);
                });
            }
            Event::Ended { transfer, outcome } => self.ended(sender, transfer, outcome),
        }
    }

    fn show(&self, id: TransferId, change: impl FnOnce(&mut Progress)) {
        if let Some(sending) = self.sending.get(&id) {
            sending.new.progress.send_modify(change);
        }
    }

    fn ended(&mut self, sender: &mut Sender, id: TransferId, outcome: Outcome) {
        let Some(mut sending) = self.sending.remove(&id) else {
            return;
        };
        if sending.gives_way(&outcome) && sending.new.upload.keys.advance() {
            return self.start(sender, sending);
        }
        let failure = match outcome {
            Outcome::Held(held) => return self.held(sending, held),
            Outcome::Refused { refusal, .. }
                if refusal.code == ErrorCode::DigestMismatch && sending.reader.has_changed() =>
            {
                UploadError::Changed
            }
            Outcome::Refused { refusal, .. } => UploadError::Refused(refusal),
            Outcome::Cancelled => sending.failure.unwrap_or(UploadError::Cancelled),
        };
        sending
            .new
            .progress
            .send_modify(|progress| progress.state = UploadState::Failed(failure));
    }

    fn held(&mut self, sending: Sending, held: Held) {
        let size = sending.new.upload.meta.size;
        let outcome = FileOutcome {
            upload_id: held.upload_id,
            file_id: held.file_id,
            size,
            digest: held.digest,
            status: held.status,
            already: held.already,
        };
        sending.new.progress.send_modify(|progress| {
            progress.sent = size;
            progress.acked = size;
            progress.state = UploadState::Cached(outcome);
        });
        self.storing.add(outcome, sending.new.progress);
    }

    /// Takes the news of a file.
    pub(super) fn file_event(&mut self, event: &FileEvent) {
        self.storing
            .news(event.upload_id, event.status, event.reason.as_deref());
    }

    /// Takes the answer to a question that [`Uploads::next_lookup`] asked for.
    pub(super) fn looked_up(&mut self, upload: UploadId, answer: Result<UploadView, Error>) {
        match answer {
            Ok(view) => self
                .storing
                .news(upload, view.status, view.reason.as_deref()),
            Err(error) => self.storing.no_news(upload, &error),
        }
    }

    /// News may have been missed: all that is waited for is to be looked up.
    pub(super) fn unsure(&mut self) {
        self.storing.unsure();
    }

    /// An upload that nothing was heard of for long.
    pub(super) fn next_lookup(&mut self, now: Instant) -> Option<UploadId> {
        self.storing.next_lookup(now)
    }

    /// When to ask for the next one.
    pub(super) fn next_lookup_at(&self) -> Option<Instant> {
        self.storing.next_lookup_at()
    }

    pub(super) fn fail_all(&mut self, error: &UploadError) {
        for (_, sending) in self.sending.drain() {
            sending
                .new
                .progress
                .send_modify(|progress| progress.state = UploadState::Failed(error.clone()));
        }
        self.storing.fail_all(error);
    }
}

impl Sending {
    /// Whether an upload that had ended earlier is to give way to a new one of the same file.
    fn gives_way(&self, outcome: &Outcome) -> bool {
        use ErrorCode::{EmptyFile, FileTooLarge, NameInvalid, TypeForbidden};
        match outcome {
            Outcome::Held(held) if held.already => {
                self.new.upload.again || held.status == protocol::TransferStatus::UploadFailed
            }
            // What the file is has not changed, but quotas, disks and lifetimes have their ups and downs.
            Outcome::Refused {
                refusal,
                already: true,
            } => {
                self.new.upload.again
                    || !matches!(
                        refusal.code,
                        EmptyFile | FileTooLarge | NameInvalid | TypeForbidden
                    )
            }
            _ => false,
        }
    }
}
