//! What a client's frames lead to.

use super::{
    CompleteRef, Output, Phase, Session, StreamUse,
    stream::{Open, State, Stream, Then, Verdict},
};
use crate::{
    error::{ErrorCode, Refusal},
    frame::{self, Chunk},
    ids::UploadId,
    message::{
        AbortUpload, AliveReply, ChunkAcked, ClientMessage, CloseCode, CompleteUpload, Connect,
        RequestId, ServerMessage, StartTransfer, StreamId, UploadRef,
    },
    session::server::Moment,
};
use bytes::Bytes;

/// Streams that are over and still remembered, per session.
const REMEMBERED_STREAMS: usize = 1024;

impl Session {
    pub(super) fn on_text(&mut self, text: &str, now: Moment) {
        if text.len() > self.max_message() {
            return self.close(CloseCode::MessageTooBig, "the message is too big");
        }
        match (ClientMessage::parse(text), &self.phase) {
            (Ok(ClientMessage::Connect(connect)), Phase::Fresh) => self.on_connect(connect),
            // While the token is verified the driver does not read; should it all the same, nothing is taken unverified.
            (Ok(_), Phase::Fresh | Phase::Authenticating(_)) => {
                self.close(CloseCode::Unauthenticated, "connect first");
            }
            (Err(_), Phase::Fresh | Phase::Authenticating(_)) => {
                self.close(CloseCode::Malformed, "the first message is connect");
            }
            (Ok(message), _) => self.on_message(message, now),
            (Err(unreadable), _) => {
                // A start that can't be read is a refused start: what the client pipelined behind it is dropped.
                if let Some(stream) = unreadable.stream.filter(|_| unreadable.is_start) {
                    self.forget_refused(stream, &unreadable.refusal);
                }
                self.refuse(unreadable.id, unreadable.stream, None, unreadable.refusal);
            }
        }
    }

    pub(super) fn on_binary(&mut self, message: Bytes) {
        if message.len() > self.max_message() {
            return self.close(CloseCode::MessageTooBig, "the message is too big");
        }
        if !self.is_connected() {
            return self.close(CloseCode::Unauthenticated, "connect first");
        }
        let stream = frame::peek_stream(&message);
        match Chunk::decode(message) {
            Ok(chunk) if chunk.len() > self.rules.limits.max_chunk_bytes => {
                self.close(CloseCode::MessageTooBig, "the chunk is too big");
            }
            Ok(chunk) => self.on_chunk(chunk),
            Err(error) => {
                let upload_id = stream.and_then(|stream| self.streams.get(&stream)?.upload_id());
                self.refuse(
                    None,
                    stream,
                    upload_id,
                    Refusal::new(ErrorCode::InvalidMessage, error.to_string()),
                );
            }
        }
    }

    fn on_connect(&mut self, connect: Connect) {
        self.phase = Phase::Authenticating(connect.id);
        self.outputs.push_back(Output::Authenticate {
            token: connect.access_token,
            since: connect.since.unwrap_or_default(),
            client: connect.client.unwrap_or_default(),
        });
    }

    fn on_message(&mut self, message: ClientMessage, now: Moment) {
        match message {
            ClientMessage::Connect(connect) => {
                self.refuse(
                    Some(connect.id),
                    None,
                    None,
                    Refusal::new(
                        ErrorCode::InvalidMessage,
                        "this session is already connected",
                    ),
                );
            }
            ClientMessage::StartTransfer(start) => self.on_start(start),
            ClientMessage::CompleteUpload(complete) => self.on_complete(complete),
            ClientMessage::AbortUpload(abort) => self.on_abort(abort),
            ClientMessage::GetHistory(request) => self.ask(Output::History(request)),
            ClientMessage::Subscribe(request) => self.ask(Output::Subscribe(request)),
            ClientMessage::Unsubscribe(request) => self.ask(Output::Unsubscribe(request)),
            ClientMessage::Refresh(request) => self.ask(Output::Refresh {
                id: request.id,
                token: request.access_token,
            }),
            ClientMessage::Acknowledge(request) => {
                let detail = format!("there is no round {:?} to acknowledge", request.round_id);
                self.refuse(
                    Some(request.id),
                    None,
                    None,
                    Refusal::new(ErrorCode::NotFound, detail),
                );
            }
            ClientMessage::Alive(alive) => self.send(ServerMessage::Alive(AliveReply {
                id: alive.id,
                time: now.wall,
            })),
        }
    }

    /// Hands a request to the driver and counts it until it is answered.
    pub(super) fn ask(&mut self, output: Output) {
        self.pending_requests += 1;
        self.outputs.push_back(output);
    }

    fn on_start(&mut self, start: StartTransfer) {
        let StartTransfer { id, stream, what } = start;
        if self.streams.get(&stream).is_some_and(Stream::is_live) {
            let refusal = Refusal::new(
                ErrorCode::Conflict,
                "this stream number is in use by an open upload; pick another",
            );
            return self.refuse(Some(id), Some(stream), None, refusal);
        }
        let limit = self.rules.limits.max_open_uploads;
        if self.open_uploads() >= limit as usize {
            let refusal = Refusal::new(
                ErrorCode::TooManyUploads,
                format!("{limit} uploads are open in this session; complete one first"),
            );
            self.forget_refused(stream, &refusal);
            return self.refuse(Some(id), Some(stream), None, refusal);
        }
        let of = self.new_use(stream);
        self.insert(Stream::starting(of, id));
        self.ask(Output::Start(of, what));
    }

    pub(super) fn on_complete(&mut self, complete: CompleteUpload) {
        let CompleteUpload { id, upload, digest } = complete;
        let stream = match self.find(upload) {
            Ok(stream) => stream,
            Err(None) => return self.refuse_unknown(id, upload),
            Err(Some(upload_id)) => {
                let of = CompleteRef {
                    id,
                    upload_id,
                    stream: None,
                };
                return self.ask(Output::Complete { of, digest });
            }
        };
        let number = stream.of.stream;
        match &mut stream.state {
            State::Starting(waiting) => {
                waiting.then.push(Then::Complete(id, digest));
                self.pending_requests += 1;
            }
            State::Open(open) if open.completing.is_some() || open.submitted => {
                let (upload_id, refusal) = (
                    open.upload_id,
                    Refusal::new(ErrorCode::Conflict, "this upload is being completed"),
                );
                self.refuse(Some(id), Some(number), Some(upload_id), refusal);
            }
            State::Open(open) if open.expected < open.size => {
                let text = format!("{} of {} bytes are here", open.expected, open.size);
                let refusal = Refusal::new(ErrorCode::Incomplete, text).expecting(open.expected);
                let upload_id = open.upload_id;
                self.refuse(Some(id), Some(number), Some(upload_id), refusal);
            }
            State::Open(open) => {
                open.completing = Some((id, digest));
                self.submit_if_whole(number);
            }
            State::Over(over) => match (&over.end, over.upload_id) {
                (Ok(_), Some(upload_id)) => {
                    let of = CompleteRef {
                        id,
                        upload_id,
                        stream: None,
                    };
                    self.ask(Output::Complete { of, digest });
                }
                (Err(refusal), upload_id) => {
                    let refusal = refusal.clone();
                    self.refuse(Some(id), Some(number), upload_id, refusal);
                }
                (Ok(_), None) => self.refuse_unknown(id, upload),
            },
        }
    }

    /// Asks the driver to make the upload a file, once all of its bytes are stored and the client has asked for it.
    pub(super) fn submit_if_whole(&mut self, stream: StreamId) {
        let Some(Stream {
            of,
            state: State::Open(open),
        }) = self.streams.get_mut(&stream)
        else {
            return;
        };
        if !open.is_whole() {
            return;
        }
        if let Some((id, digest)) = open.completing.take() {
            open.submitted = true;
            let of = open.complete_ref(*of, id);
            self.ask(Output::Complete { of, digest });
        }
    }

    pub(super) fn on_abort(&mut self, abort: AbortUpload) {
        let AbortUpload { id, upload } = abort;
        let stream = match self.find(upload) {
            Ok(stream) => stream,
            Err(None) => return self.refuse_unknown(id, upload),
            Err(Some(upload_id)) => return self.ask(Output::Abort(id, upload_id)),
        };
        let number = stream.of.stream;
        match &mut stream.state {
            State::Starting(waiting) => {
                waiting.then.push(Then::Abort(id));
                self.pending_requests += 1;
            }
            // It is being made a file: what comes of that ends the stream.
            State::Open(Open {
                upload_id,
                submitted: true,
                ..
            }) => {
                let upload_id = *upload_id;
                self.ask(Output::Abort(id, upload_id));
            }
            State::Open(open) => {
                let upload_id = open.upload_id;
                self.end_stream(number, Refusal::bare(ErrorCode::Aborted));
                self.ask(Output::Abort(id, upload_id));
            }
            State::Over(over) => match over.upload_id {
                Some(upload_id) => self.ask(Output::Abort(id, upload_id)),
                None => self.refuse_unknown(id, upload),
            },
        }
    }

    fn on_chunk(&mut self, chunk: Chunk) {
        let number = chunk.stream;
        let Some(stream) = self.streams.get_mut(&number) else {
            let refusal = Refusal::new(ErrorCode::NotFound, "no upload was started on this stream");
            return self.refuse(None, Some(number), None, refusal);
        };
        let of = stream.of;
        let verdict = match &mut stream.state {
            State::Starting(waiting) => {
                waiting.bytes += chunk.len();
                self.in_flight += chunk.len();
                waiting.chunks.push_back(chunk);
                return;
            }
            State::Open(open) => open.judge(chunk),
            State::Over(over) => over.judge(&chunk),
        };
        self.carry_out(of, verdict);
    }

    pub(super) fn carry_out(&mut self, of: StreamUse, verdict: Verdict) {
        match verdict {
            Verdict::Store(chunk) => {
                self.in_flight += chunk.len();
                self.outputs.push_back(Output::Store {
                    of,
                    offset: chunk.offset,
                    payload: chunk.payload,
                    crc: chunk.crc,
                });
            }
            Verdict::AckAgain(upload_id, offset) => {
                self.send(ServerMessage::ChunkAcked(ChunkAcked {
                    stream: of.stream,
                    upload_id,
                    offset,
                }));
            }
            Verdict::Refuse(upload_id, refusal) => {
                self.refuse(None, Some(of.stream), Some(upload_id), refusal);
            }
            Verdict::End(upload_id, refusal) => {
                self.refuse(None, Some(of.stream), Some(upload_id), refusal.clone());
                self.end_stream(of.stream, refusal.clone());
                self.outputs.push_back(Output::Reject(upload_id, refusal));
            }
            Verdict::Drop => {}
        }
    }

    /// Makes the stream one that is over, for this reason; a request waiting on it is refused with it.
    pub(super) fn end_stream(&mut self, stream: StreamId, refusal: Refusal) {
        let Some(ended) = self.streams.get_mut(&stream) else {
            return;
        };
        let (of, in_flight) = (ended.of, ended.in_flight());
        let State::Open(open) = &mut ended.state else {
            return;
        };
        let (upload_id, waiting) = (open.upload_id, open.completing.take());
        self.in_flight -= in_flight;
        self.insert(Stream::over(of, Some(upload_id), Err(refusal.clone())));
        self.outputs.push_back(Output::Release(of));
        if let Some((id, _)) = waiting {
            self.refuse(Some(id), Some(stream), Some(upload_id), refusal);
        }
    }

    /// Remembers that the start on this stream was refused, so that its chunks are dropped silently.
    fn forget_refused(&mut self, stream: StreamId, refusal: &Refusal) {
        if !self.streams.get(&stream).is_some_and(Stream::is_live) {
            let of = self.new_use(stream);
            self.insert(Stream::over(of, None, Err(refusal.clone())));
        }
    }

    fn new_use(&mut self, stream: StreamId) -> StreamUse {
        self.next_serial += 1;
        StreamUse {
            stream,
            serial: self.next_serial,
        }
    }

    /// Puts a stream in its place. Of those that are over only the newest are remembered.
    pub(super) fn insert(&mut self, stream: Stream) {
        let of = stream.of;
        if stream.is_live() {
            self.live.insert(of.stream);
        } else {
            self.live.remove(&of.stream);
            self.over.push_back(of);
        }
        self.streams.insert(of.stream, stream);
        while self.over.len() > REMEMBERED_STREAMS {
            let Some(oldest) = self.over.pop_front() else {
                break;
            };
            if self
                .streams
                .get(&oldest.stream)
                .is_some_and(|stream| stream.of == oldest && !stream.is_live())
            {
                self.streams.remove(&oldest.stream);
            }
        }
    }

    /// The stream that a request means; else the id of an upload that this session does not hold, if it named one.
    fn find(&mut self, upload: UploadRef) -> Result<&mut Stream, Option<UploadId>> {
        let found = match upload {
            UploadRef::Stream(stream) => self.streams.get_mut(&stream),
            UploadRef::Upload(upload_id) => {
                let holders = self
                    .streams
                    .values_mut()
                    .filter(|stream| stream.is_live() && stream.upload_id() == Some(upload_id));
                holders.max_by_key(|stream| stream.of.serial)
            }
        };
        found.ok_or(match upload {
            UploadRef::Stream(_) => None,
            UploadRef::Upload(upload_id) => Some(upload_id),
        })
    }

    fn refuse_unknown(&mut self, id: RequestId, upload: UploadRef) {
        let stream = match upload {
            UploadRef::Stream(stream) => Some(stream),
            UploadRef::Upload(_) => None,
        };
        self.refuse(
            Some(id),
            stream,
            None,
            Refusal::new(ErrorCode::NotFound, "no upload was started on this stream"),
        );
    }
}
