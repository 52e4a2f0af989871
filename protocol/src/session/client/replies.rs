//! What the server's messages mean for the files under way.

use super::{Asked, Event, Held, Outcome, Sender, TransferId, transfer::Transfer};
use crate::{
    error::{ErrorCode, Refusal},
    message::{
        ChunkAcked, ErrorMessage, RequestId, ServerMessage, TransferStarted, UploadCompleted,
        UploadRef,
    },
    state::TransferStatus,
};
use std::time::Duration;

/// Troubles in a row, without progress, after which a file is given up; those that only ask to wait do not end it.
const MAX_FAILURES: u32 = 12;

/// The first wait after a trouble that came without a time, doubled each time.
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// The longest such wait.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

impl Sender {
    /// Takes a message of the server's. Returns whether it was about a file of this sender.
    pub fn handle(&mut self, message: &ServerMessage, now: Duration) -> bool {
        match message {
            ServerMessage::TransferStarted(started) => self.started(started),
            ServerMessage::ChunkAcked(acked) => self.acked(*acked),
            ServerMessage::UploadCompleted(completed) => self.completed(completed),
            ServerMessage::Error(error) => self.refused(error, now),
            _ => None,
        }
        .is_some()
    }

    fn started(&mut self, message: &TransferStarted) -> Option<()> {
        let id = self.take_request(message.id, Asked::Start)?;
        let transfer = self.transfers.get_mut(&id)?;
        let attached = transfer.attached.as_mut()?;
        attached.started = true;
        attached.chunk_bytes = message.chunk_bytes;
        transfer.upload_id = Some(message.upload_id);
        if attached.first {
            self.pipelining = message.status == TransferStatus::Open && message.offset == 0;
        }
        if message.status != TransferStatus::Open {
            attached.ended = Some(message.status);
            attached.paused_until = None;
            if attached.complete.is_none() {
                let ask = self.ask_completion(id, UploadRef::Upload(message.upload_id), None)?;
                self.messages.push_back(ask);
            }
            return Some(());
        }
        // Acknowledgements may overtake this reply; only a file that waited for it goes where it says.
        if attached.pipelined {
            transfer.acknowledge(message.offset);
        } else {
            transfer.go_to(message.offset);
        }
        self.events.push_back(Event::Started {
            transfer: id,
            upload_id: message.upload_id,
            offset: transfer.acked,
        });
        self.report_progress(id);
        Some(())
    }

    fn acked(&mut self, message: ChunkAcked) -> Option<()> {
        let id = *self.streams.get(&message.stream)?;
        if self.transfers.get_mut(&id)?.acknowledge(message.offset) {
            self.report_progress(id);
        }
        Some(())
    }

    fn completed(&mut self, message: &UploadCompleted) -> Option<()> {
        let id = self.take_request(message.id, Asked::Complete)?;
        let attached = self.transfers.get(&id)?.attached.as_ref()?;
        let held = Held {
            upload_id: message.upload_id,
            file_id: Some(message.file_id),
            digest: Some(message.digest),
            status: attached.ended.unwrap_or(message.status),
            already: attached.first && attached.ended.is_some(),
        };
        self.end(id, Outcome::Held(held));
        Some(())
    }

    fn refused(&mut self, message: &ErrorMessage, now: Duration) -> Option<()> {
        // A request is named by its id alone: a late reply to one that no longer counts must not hit its stream.
        let (id, asked) = match message.id {
            Some(request) => self
                .requests
                .remove(&request)
                .map(|(id, asked)| (id, Some(asked)))?,
            None => (self.by_stream_or_upload(message)?, None),
        };
        let transfer = self.transfers.get_mut(&id)?;
        let attached = transfer.attached.as_mut()?;
        if asked == Some(Asked::Complete) {
            attached.complete = None;
        }
        if let Some(status) = attached.ended {
            let already = attached.first;
            return self.ended_before(id, status, already, &message.refusal);
        }
        transfer.failures += 1;
        let exhausted = transfer.failures > MAX_FAILURES && !asks_to_wait(message.refusal.code);
        if exhausted || !(message.retryable || transfer.may_start_anew(message.refusal.code, asked))
        {
            let refusal = message.refusal.clone();
            self.end(
                id,
                Outcome::Refused {
                    refusal,
                    already: false,
                },
            );
            return Some(());
        }
        self.try_again(id, asked, &message.refusal, now)
    }

    /// A trouble that can pass: goes back, waits, or starts anew, as the refusal says.
    fn try_again(
        &mut self,
        id: TransferId,
        asked: Option<Asked>,
        refusal: &Refusal,
        now: Duration,
    ) -> Option<()> {
        let transfer = self.transfers.get_mut(&id)?;
        let attached = transfer.attached.as_mut()?;
        let told_to_wait = refusal.retry_after_ms.map(Duration::from_millis);
        if let (Some(expected), true) = (refusal.expected, asked != Some(Asked::Start)) {
            // The answer to a completion sent before is known: bytes are missing. It counts no longer.
            if let Some(request) = attached.complete.take() {
                self.requests.remove(&request);
            }
            attached.paused_until = told_to_wait.map(|wait| now + wait);
            transfer.go_to(expected);
            self.report_progress(id);
        } else {
            let wait = told_to_wait.unwrap_or_else(|| backoff(transfer.failures));
            if asked == Some(Asked::Complete) && refusal.code.is_retryable() {
                attached.paused_until = Some(now + wait);
            } else {
                self.start_again_at(id, now + wait);
            }
        }
        if told_to_wait.is_some() || refusal.expected.is_none() {
            self.events.push_back(Event::Waiting {
                transfer: id,
                refusal: refusal.clone(),
            });
        }
        Some(())
    }

    /// The upload had ended before it was started here, and the server would not say more than `refusal`.
    fn ended_before(
        &mut self,
        id: TransferId,
        status: TransferStatus,
        already: bool,
        refusal: &Refusal,
    ) -> Option<()> {
        let upload_id = self.transfers.get(&id)?.upload_id?;
        let outcome = if status.is_file() {
            Outcome::Held(Held {
                upload_id,
                file_id: None,
                digest: None,
                status,
                already,
            })
        } else {
            let refusal = match status {
                TransferStatus::Expired => Refusal::bare(ErrorCode::Expired),
                TransferStatus::Aborted => Refusal::bare(ErrorCode::Aborted),
                _ => refusal.clone(),
            };
            Outcome::Refused { refusal, already }
        };
        self.end(id, outcome);
        Some(())
    }

    fn take_request(&mut self, request: RequestId, asked: Asked) -> Option<TransferId> {
        let (id, found) = *self.requests.get(&request)?;
        if found != asked {
            return None;
        }
        self.requests.remove(&request);
        Some(id)
    }

    fn by_stream_or_upload(&self, message: &ErrorMessage) -> Option<TransferId> {
        if let Some(stream) = message.stream {
            return self.streams.get(&stream).copied();
        }
        let upload_id = message.upload_id?;
        self.ring.iter().copied().find(|id| {
            self.transfers
                .get(id)
                .is_some_and(|transfer| transfer.upload_id == Some(upload_id))
        })
    }

    fn report_progress(&mut self, id: TransferId) {
        if let Some(transfer) = self.transfers.get(&id) {
            let (sent, acked) = (transfer.sent, transfer.acked);
            self.events.push_back(Event::Progress {
                transfer: id,
                sent,
                acked,
            });
        }
    }
}

impl Transfer {
    /// Whether starting the file again helps although the same request, sent again, would not.
    fn may_start_anew(&mut self, code: ErrorCode, asked: Option<Asked>) -> bool {
        match code {
            // The session is about to be closed; the next one has a fresh token.
            ErrorCode::Unauthenticated => true,
            // The server no longer knows the stream: it does know the key.
            ErrorCode::NotFound => asked != Some(Asked::Start),
            // After a lost connection, the one who took over may be our own old session, read late by the server.
            ErrorCode::Superseded => {
                let ours = self
                    .attached
                    .as_ref()
                    .is_some_and(|attached| !attached.first);
                ours && !std::mem::replace(&mut self.retaken, true)
            }
            _ => false,
        }
    }
}

/// Whether the code says that nothing is wrong with this file.
fn asks_to_wait(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::Unavailable
            | ErrorCode::StorageFull
            | ErrorCode::RateLimited
            | ErrorCode::TooManyUploads
            | ErrorCode::Unauthenticated
    )
}

fn backoff(failures: u32) -> Duration {
    FIRST_WAIT
        .saturating_mul(1 << failures.saturating_sub(1).min(10))
        .min(LONGEST_WAIT)
}
