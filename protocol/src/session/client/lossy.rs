//! The sender against a model of a server over a link that breaks: whatever happens, every file arrives whole and once.

use super::*;
use crate::{
    ErrorCode,
    digest::DigestAlgorithm,
    message::{ChunkAcked, ErrorMessage, ServerMessage, TransferStarted, UploadCompleted},
};
use jiff::Timestamp;
use proptest::{collection::vec, prelude::*};
use std::collections::BTreeMap;
use uuid::Uuid;

const LIMITS: Limits = Limits {
    max_chunk_bytes: 32,
    window_bytes: 96,
    max_file_bytes: 1 << 20,
    max_open_uploads: 3,
    max_message_bytes: 1 << 16,
};

/// What goes wrong, or right, next.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// So many frames arrive at the server.
    Up(usize),
    /// So many messages arrive at the client.
    Down(usize),
    /// The connection breaks: what is on its way is lost.
    Break,
    /// The server crashes and has lost up to so many bytes of each open upload.
    Crash(usize),
    /// The next chunk is damaged on its way.
    Damage,
    /// The server can't do the next thing it is asked for.
    Busy,
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let fate = prop_oneof![
        8 => (1_usize..6).prop_map(Fate::Up),
        8 => (1_usize..6).prop_map(Fate::Down),
        1 => Just(Fate::Break),
        1 => (0_usize..80).prop_map(Fate::Crash),
        1 => Just(Fate::Damage),
        1 => Just(Fate::Busy),
    ];
    vec(fate, 0..120)
}

/// What travels from the client to the server.
#[allow(clippy::large_enum_variant, reason = "a test keeps few of them")]
enum Frame {
    Message(ClientMessage),
    Chunk(ChunkRef, Vec<u8>),
}

#[derive(Default)]
struct Upload {
    size: usize,
    data: Vec<u8>,
    cached: bool,
}

#[derive(Default)]
struct Server {
    uploads: BTreeMap<UploadKey, Upload>,
    streams: BTreeMap<StreamId, UploadKey>,
    /// Streams whose further chunks are dropped until the expected one comes.
    gone_back: BTreeMap<StreamId, u64>,
    damage: bool,
    busy: bool,
    replies: VecDeque<ServerMessage>,
}

impl Server {
    fn take(&mut self, frame: Frame) {
        match frame {
            Frame::Chunk(chunk, payload) => self.chunk(chunk, &payload),
            Frame::Message(ClientMessage::StartTransfer(start)) => self.start(start),
            Frame::Message(ClientMessage::CompleteUpload(complete)) => self.complete(complete),
            Frame::Message(other) => panic!("unexpected {other:?}"),
        }
    }

    fn refuse(&mut self, id: Option<RequestId>, stream: Option<StreamId>, refusal: Refusal) {
        self.replies.push_back(ServerMessage::Error(ErrorMessage {
            id,
            stream,
            ..ErrorMessage::new(refusal)
        }));
    }

    fn is_busy(&mut self, id: Option<RequestId>, stream: Option<StreamId>) -> bool {
        let busy = std::mem::take(&mut self.busy);
        if busy {
            self.refuse(
                id,
                stream,
                Refusal::bare(ErrorCode::Unavailable).retry_after_ms(300),
            );
        }
        busy
    }

    fn start(&mut self, start: StartTransfer) {
        let Start::Open {
            key: Some(key),
            meta,
        } = start.what
        else {
            panic!("every start has a key")
        };
        if self.is_busy(Some(start.id), Some(start.stream)) {
            return;
        }
        if meta.size == 0 {
            return self.refuse(
                Some(start.id),
                Some(start.stream),
                Refusal::bare(ErrorCode::EmptyFile),
            );
        }
        let size = usize::try_from(meta.size).unwrap();
        let upload = self.uploads.entry(key).or_insert_with(|| Upload {
            size,
            ..Upload::default()
        });
        let status = if upload.cached {
            TransferStatus::Cached
        } else {
            TransferStatus::Open
        };
        let offset = upload.data.len() as u64;
        self.streams.retain(|_, open| *open != key);
        self.streams.insert(start.stream, key);
        let open = self
            .streams
            .values()
            .filter(|key| !self.uploads[key].cached)
            .count();
        assert!(
            open <= LIMITS.max_open_uploads as usize,
            "no more uploads are open than allowed"
        );
        self.replies
            .push_back(ServerMessage::TransferStarted(TransferStarted {
                id: start.id,
                stream: start.stream,
                upload_id: UploadId(key.0),
                offset,
                status,
                file_id: None,
                chunk_bytes: 20,
                expires_at: Timestamp::UNIX_EPOCH,
            }));
    }

    fn chunk(&mut self, chunk: ChunkRef, payload: &[u8]) {
        let stream = chunk.stream;
        // A stream that was refused: its chunks are dropped silently.
        let Some(&key) = self.streams.get(&stream) else {
            return;
        };
        let upload = self.uploads.get_mut(&key).unwrap();
        let (expected, upload_id) = (upload.data.len() as u64, UploadId(key.0));
        if upload.cached {
            return;
        }
        if self
            .gone_back
            .get(&stream)
            .is_some_and(|expected| chunk.offset > *expected)
        {
            return;
        }
        let code = if std::mem::take(&mut self.damage) {
            Some(ErrorCode::ChecksumMismatch)
        } else if chunk.offset + chunk.len <= expected {
            None
        } else if chunk.offset != expected {
            Some(ErrorCode::OffsetMismatch)
        } else {
            upload.data.extend_from_slice(payload);
            self.gone_back.remove(&stream);
            None
        };
        if let Some(code) = code {
            self.gone_back.insert(stream, expected);
            return self.refuse(None, Some(stream), Refusal::bare(code).expecting(expected));
        }
        let offset = self.uploads[&key].data.len() as u64;
        self.replies
            .push_back(ServerMessage::ChunkAcked(ChunkAcked {
                stream,
                upload_id,
                offset,
            }));
    }

    fn complete(&mut self, complete: CompleteUpload) {
        let key = match complete.upload {
            UploadRef::Upload(upload) => UploadKey(upload.0),
            UploadRef::Stream(stream) => match self.streams.get(&stream) {
                Some(key) => *key,
                None => {
                    return self.refuse(
                        Some(complete.id),
                        None,
                        Refusal::bare(ErrorCode::EmptyFile),
                    );
                }
            },
        };
        if self.is_busy(Some(complete.id), None) {
            return;
        }
        let upload = self.uploads.get_mut(&key).unwrap();
        if upload.data.len() < upload.size {
            let refusal = Refusal::bare(ErrorCode::Incomplete).expecting(upload.data.len() as u64);
            return self.refuse(Some(complete.id), None, refusal);
        }
        upload.cached = true;
        self.streams.retain(|_, open| *open != key);
        self.replies
            .push_back(ServerMessage::UploadCompleted(UploadCompleted {
                id: complete.id,
                upload_id: UploadId(key.0),
                file_id: FileId(key.0),
                size: upload.size as u64,
                digest: Digest::new(DigestAlgorithm::Sha256, [0; 32]),
                status: TransferStatus::Cached,
            }));
    }

    fn disconnect(&mut self) {
        self.streams.clear();
        self.gone_back.clear();
        self.replies.clear();
        self.damage = false;
        self.busy = false;
    }

    fn lose(&mut self, bytes: usize) {
        for upload in self.uploads.values_mut().filter(|upload| !upload.cached) {
            upload
                .data
                .truncate(upload.data.len().saturating_sub(bytes));
        }
    }
}

fn content(file: usize, range: std::ops::Range<u64>) -> Vec<u8> {
    range
        .map(|offset| (offset * 7 + file as u64 * 13) as u8)
        .collect()
}

/// Both peers, the link between them, and what the client may rely on.
struct World {
    sender: Sender,
    server: Server,
    sizes: Vec<u64>,
    up: VecDeque<Frame>,
    now: Duration,
    /// Bytes of each file that the client knows to be held.
    known: BTreeMap<TransferId, u64>,
    outcomes: BTreeMap<TransferId, Outcome>,
}

impl World {
    fn new(sizes: Vec<u64>) -> Self {
        let mut sender = Sender::new(8);
        for (n, size) in sizes.iter().enumerate() {
            let key = UploadKey(Uuid::from_u128(n as u128));
            sender.add(Outgoing {
                key,
                meta: super::tests::meta(*size),
            });
        }
        sender.connected(LIMITS);
        Self {
            sender,
            server: Server::default(),
            sizes,
            up: VecDeque::new(),
            now: Duration::ZERO,
            known: BTreeMap::new(),
            outcomes: BTreeMap::new(),
        }
    }

    /// Lets the client send all it wants to.
    fn pump(&mut self) {
        self.listen();
        while let Some(output) = self.sender.poll_output(self.now) {
            match output {
                Output::Message(message) => self.up.push_back(Frame::Message(message)),
                Output::Digest(id) => self
                    .sender
                    .set_digest(id, Digest::new(DigestAlgorithm::Sha256, [0; 32])),
                Output::Chunk(chunk) => {
                    let known = self.known.get(&chunk.transfer).copied().unwrap_or(0);
                    let end = chunk.offset + chunk.len;
                    assert!(
                        chunk.offset >= known,
                        "acknowledged bytes are not sent again"
                    );
                    assert!(end - known <= LIMITS.window_bytes, "the window is kept");
                    assert!((1..=LIMITS.max_chunk_bytes).contains(&chunk.len));
                    let file = usize::try_from(chunk.transfer.0).unwrap();
                    self.up
                        .push_back(Frame::Chunk(chunk, content(file, chunk.offset..end)));
                }
            }
        }
        self.listen();
    }

    fn listen(&mut self) {
        while let Some(event) = self.sender.poll_event() {
            match event {
                Event::Progress {
                    transfer, acked, ..
                } => drop(self.known.insert(transfer, acked)),
                Event::Ended { transfer, outcome } => {
                    let before = self.outcomes.insert(transfer, outcome);
                    assert_eq!(before, None, "a file ends once");
                }
                Event::Started { .. } | Event::Waiting { .. } => {}
            }
        }
    }

    fn reconnect(&mut self) {
        self.up.clear();
        self.server.disconnect();
        self.sender.disconnected();
        self.sender.connected(LIMITS);
    }

    fn suffer(&mut self, fate: Fate) {
        match fate {
            Fate::Up(frames) => {
                let frames = frames.min(self.up.len());
                self.up
                    .drain(..frames)
                    .for_each(|frame| self.server.take(frame));
            }
            Fate::Down(messages) => {
                for message in self
                    .server
                    .replies
                    .drain(..messages.min(self.server.replies.len()))
                {
                    self.sender.handle(&message, self.now);
                }
            }
            Fate::Break => self.reconnect(),
            Fate::Crash(bytes) => {
                self.server.lose(bytes);
                self.reconnect();
            }
            Fate::Damage => self.server.damage = true,
            Fate::Busy => self.server.busy = true,
        }
        self.now += Duration::from_millis(50);
        self.pump();
    }

    /// Nothing goes wrong any more: everything ends soon.
    fn calm(&mut self) {
        for _ in 0..200 {
            self.suffer(Fate::Up(usize::MAX));
            self.suffer(Fate::Down(usize::MAX));
            if self.sender.is_idle() {
                return;
            }
            self.now = self.now.max(self.sender.next_timeout().unwrap_or_default());
        }
        panic!("it does not end: {:?}", self.sender);
    }
}

proptest! {
    #[test]
    fn every_file_arrives_whole_and_once(sizes in vec(0_u64..400, 1..6), fates in fates()) {
        let mut world = World::new(sizes);
        world.pump();
        fates.into_iter().for_each(|fate| world.suffer(fate));
        world.calm();
        for (n, size) in world.sizes.iter().enumerate() {
            let outcome = &world.outcomes[&TransferId(n as u64)];
            if *size == 0 {
                let refused = matches!(outcome, Outcome::Refused { refusal, .. } if refusal.code == ErrorCode::EmptyFile);
                prop_assert!(refused, "{outcome:?}");
                continue;
            }
            let held = matches!(outcome, Outcome::Held(held) if held.status == TransferStatus::Cached);
            prop_assert!(held, "{outcome:?}");
            let upload = &world.server.uploads[&UploadKey(Uuid::from_u128(n as u128))];
            prop_assert!(upload.cached);
            prop_assert_eq!(&upload.data, &content(n, 0..*size));
        }
    }
}
