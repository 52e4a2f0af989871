//! What the driver's answers lead to.

use super::{
    Admission, CompleteRef, Completed, Input, Moment, Opened, Output, Phase, Session, StreamUse,
    stream::{Open, State, Stream, Then, Waiting},
};
use crate::{
    error::{ErrorCode, Refusal},
    ids::UploadId,
    message::{
        ChunkAcked, CloseCode, Draining, Refreshed, RequestId, ServerMessage, StreamId,
        TransferStarted, UploadAborted, UploadCompleted, UploadRef,
    },
    state::TransferStatus,
};
use std::time::Duration;

impl Session {
    pub(super) fn on_answer(&mut self, input: Input, now: Moment) {
        match input {
            Input::Authenticated(answer) => {
                self.on_authenticated(answer.map(|admission| *admission), now);
            }
            Input::Started(of, answer) => self.on_started(of, answer.map(|opened| *opened)),
            Input::Stored(of, answer) => self.on_stored(of, answer, now),
            Input::Completed(of, answer) => {
                self.on_completed(of, answer.map(|completed| *completed));
            }
            Input::Aborted(id, upload_id, answer) => self.on_aborted(id, upload_id, answer),
            Input::Replied(message) => {
                self.answered();
                self.send(*message);
            }
            Input::Refreshed(id, answer) => self.on_refreshed(id, answer, now),
            Input::Superseded(of) => {
                // One that is still being opened is left to the store, which refuses its bytes as superseded.
                if self
                    .live(of)
                    .is_some_and(|stream| stream.upload_id().is_some())
                {
                    self.fail_stream(of, Refusal::bare(ErrorCode::Superseded));
                }
            }
            Input::Revoked => self.close(CloseCode::Unauthenticated, "logged out"),
            Input::Drain { retry_after } => self.on_drain(retry_after),
            Input::Text(_) | Input::Binary(_) | Input::Life => {}
        }
    }

    fn answered(&mut self) {
        self.pending_requests = self.pending_requests.saturating_sub(1);
    }

    fn on_authenticated(&mut self, answer: Result<Admission, Refusal>, now: Moment) {
        let Phase::Authenticating(id) = self.phase else {
            return;
        };
        match answer {
            Ok(admission) => self.admit(id, admission, now),
            Err(refusal) => {
                let (code, reason) = match refusal.code {
                    ErrorCode::Unavailable => (CloseCode::Overloaded, "can't verify tokens now"),
                    ErrorCode::RateLimited => (CloseCode::RateLimited, "too many sessions"),
                    ErrorCode::Forbidden => (CloseCode::Forbidden, "not allowed"),
                    ErrorCode::Internal => (CloseCode::Internal, "the server has failed"),
                    _ => (CloseCode::Unauthenticated, "no valid token"),
                };
                self.refuse(Some(id), None, None, refusal);
                self.close(code, reason);
            }
        }
    }

    fn on_started(&mut self, of: StreamUse, answer: Result<Opened, Refusal>) {
        self.answered();
        let Some(Stream {
            state: State::Starting(waiting),
            ..
        }) = self.live(of)
        else {
            return;
        };
        let waiting = std::mem::take(waiting);
        self.in_flight -= waiting.bytes;
        match answer {
            Ok(opened) => self.start(of, &opened, waiting),
            Err(refusal) => {
                self.refuse(
                    Some(waiting.request),
                    Some(of.stream),
                    None,
                    refusal.clone(),
                );
                self.insert(Stream::over(of, None, Err(refusal)));
                self.go_on(of, waiting);
            }
        }
    }

    fn start(&mut self, of: StreamUse, opened: &Opened, waiting: Waiting) {
        let stream = match (opened.status, &opened.ended) {
            (TransferStatus::Open, _) => Stream {
                of,
                state: State::Open(Open::new(opened)),
            },
            (_, Some(refusal)) => Stream::over(of, Some(opened.upload_id), Err(refusal.clone())),
            (_, None) => Stream::over(of, Some(opened.upload_id), Ok(opened.size)),
        };
        self.insert(stream);
        self.send(ServerMessage::TransferStarted(TransferStarted {
            id: waiting.request,
            stream: of.stream,
            upload_id: opened.upload_id,
            offset: opened.offset,
            status: opened.status,
            file_id: Some(opened.file_id),
            chunk_bytes: self.rules.chunk_bytes,
            expires_at: opened.expires_at,
        }));
        self.go_on(of, waiting);
    }

    /// Takes up what the client pipelined behind its start.
    fn go_on(&mut self, of: StreamUse, waiting: Waiting) {
        for chunk in waiting.chunks {
            let Some(stream) = self.streams.get_mut(&of.stream) else {
                return;
            };
            let verdict = match &mut stream.state {
                State::Open(open) => open.judge(chunk),
                State::Over(over) => over.judge(&chunk),
                State::Starting(_) => return,
            };
            self.carry_out(of, verdict);
        }
        for then in waiting.then {
            self.answered();
            let upload = UploadRef::Stream(of.stream);
            match then {
                Then::Complete(id, digest) => {
                    self.on_complete(crate::message::CompleteUpload { id, upload, digest });
                }
                Then::Abort(id) => self.on_abort(crate::message::AbortUpload { id, upload }),
            }
        }
    }

    fn on_stored(&mut self, of: StreamUse, answer: Result<u64, Refusal>, now: Moment) {
        let Some(Stream {
            state: State::Open(open),
            ..
        }) = self.live(of)
        else {
            return;
        };
        match answer {
            Ok(offset) => {
                self.in_flight -= open.stored(offset);
                self.acknowledge(of.stream, now);
                self.submit_if_whole(of.stream);
            }
            Err(refusal) if refusal.code.is_retryable() => {
                let (lost, upload_id, waiting) = (
                    open.fall_back(refusal.expected),
                    open.upload_id,
                    open.completing.take(),
                );
                let refusal = refusal.expecting(open.stored);
                self.in_flight -= lost;
                self.refuse(
                    waiting.map(|(id, _)| id),
                    Some(of.stream),
                    Some(upload_id),
                    refusal,
                );
            }
            Err(refusal) => self.fail_stream(of, refusal),
        }
    }

    /// Tells the client what of an upload is stored, if it is time to.
    pub(super) fn acknowledge(&mut self, stream: StreamId, now: Moment) {
        let window_bytes = self.rules.limits.window_bytes;
        let Some(Stream {
            state: State::Open(open),
            ..
        }) = self.streams.get_mut(&stream)
        else {
            return;
        };
        let upload_id = open.upload_id;
        if let Some(offset) = open.ack(window_bytes, now.elapsed) {
            self.send(ServerMessage::ChunkAcked(ChunkAcked {
                stream,
                upload_id,
                offset,
            }));
        }
    }

    /// Ends a stream and says so.
    fn fail_stream(&mut self, of: StreamUse, refusal: Refusal) {
        let upload_id = self.live(of).and_then(|stream| stream.upload_id());
        self.refuse(None, Some(of.stream), upload_id, refusal.clone());
        self.end_stream(of.stream, refusal);
    }

    fn on_completed(&mut self, of: CompleteRef, answer: Result<Completed, Refusal>) {
        self.answered();
        let number = of.stream.map(|of| of.stream);
        match answer {
            Ok(completed) => {
                if let Some((of, in_flight)) = of
                    .stream
                    .and_then(|of| Some((of, self.live(of)?.in_flight())))
                {
                    self.in_flight -= in_flight;
                    self.insert(Stream::over(
                        of,
                        Some(completed.upload_id),
                        Ok(completed.size),
                    ));
                    self.outputs.push_back(Output::Release(of));
                }
                self.send(ServerMessage::UploadCompleted(UploadCompleted {
                    id: of.id,
                    upload_id: completed.upload_id,
                    file_id: completed.file_id,
                    size: completed.size,
                    digest: completed.digest,
                    status: TransferStatus::Cached,
                }));
            }
            Err(refusal) => {
                self.refuse(Some(of.id), number, Some(of.upload_id), refusal.clone());
                let Some(of) = of.stream else { return };
                if let Some(Stream {
                    state: State::Open(open),
                    ..
                }) = self.live(of)
                {
                    open.submitted = false;
                    if refusal.code.ends_upload() {
                        self.end_stream(of.stream, refusal);
                    } else if refusal.expected.is_some() {
                        let lost = open.fall_back(refusal.expected);
                        self.in_flight -= lost;
                    }
                }
            }
        }
    }

    fn on_aborted(&mut self, id: RequestId, upload_id: UploadId, answer: Result<(), Refusal>) {
        self.answered();
        match answer {
            Ok(()) => self.send(ServerMessage::UploadAborted(UploadAborted {
                id,
                upload_id,
            })),
            Err(refusal) => self.refuse(Some(id), None, Some(upload_id), refusal),
        }
    }

    fn on_refreshed(
        &mut self,
        id: RequestId,
        answer: Result<jiff::Timestamp, Refusal>,
        now: Moment,
    ) {
        self.answered();
        match answer {
            Ok(expires_at) => {
                self.life.connected(expires_at, now);
                self.send(ServerMessage::Refreshed(Refreshed { id, expires_at }));
            }
            Err(refusal) => self.refuse(Some(id), None, None, refusal),
        }
    }

    fn on_drain(&mut self, retry_after: Duration) {
        if self.draining {
            return;
        }
        self.draining = true;
        if self.is_connected() {
            let retry_after_ms = u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX);
            self.send(ServerMessage::Draining(Draining { retry_after_ms }));
        }
    }

    /// The stream of this use, unless it is over or its number is used again.
    fn live(&mut self, of: StreamUse) -> Option<&mut Stream> {
        self.streams
            .get_mut(&of.stream)
            .filter(|stream| stream.of == of && stream.is_live())
    }
}
