//! A server of just enough of `sluice.v1` that the generator can load it: one thread per connection, one upload at a time.

use super::{
    aligned::{Aligned, Pool},
    files::{Direct, INLINE_BATCH, Receiving, Stages},
    reader::{Head, Incoming, Reader},
};
use crate::Result;
use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use protocol::{
    FileId, SUBPROTOCOL, SessionId, TransferStatus, UploadId, UserId,
    identity::Role,
    message::{
        ChunkAcked, ClientMessage, Connected, ConnectedUser, Limits, RequestId, ServerMessage,
        Start, StartTransfer, TransferStarted, UploadCompleted,
    },
};
use std::{
    io::{self, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};
use tokio::net::TcpSocket;

/// As Sluice grants them.
const LIMITS: Limits = Limits {
    max_chunk_bytes: 256 << 10,
    window_bytes: 2 << 20,
    max_file_bytes: 64 << 30,
    max_open_uploads: 64,
    max_message_bytes: 260 << 10,
};

/// Small files received at once; the buffers stay warm when they are few.
const BUFFERS: usize = 64;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 4096;

/// What may be written and not be acknowledged yet.
const ACK_EVERY: u64 = LIMITS.window_bytes / 2;

/// Serves until the process is ended. Files are written to the folder, or nowhere.
pub(super) fn serve(listen: SocketAddr, folder: Option<&Path>) -> Result<ExitCode> {
    let listener = listener(listen)?;
    let pool = Pool::new(BUFFERS, INLINE_BATCH);
    let folder: Option<Arc<Path>> = folder.map(Arc::from);
    loop {
        let (socket, _) = listener.accept()?;
        let (folder, pool) = (folder.clone(), pool.clone());
        std::thread::Builder::new()
            .stack_size(256 << 10)
            .spawn(move || {
                // A client that goes away is no news; one that is wrong finds its connection closed.
                if let Ok(mut session) = Session::new(socket, folder, pool) {
                    let _ = session.run();
                }
            })?;
    }
}

/// A listener at which as many connections may wait as the system grants; the standard library's own takes 128, and whoever comes
/// later tries again after a second.
fn listener(listen: SocketAddr) -> Result<TcpListener> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let _guard = runtime.enter();
    let socket = TcpSocket::new_v4()?;
    socket.bind(listen)?;
    let listener = socket.listen(BACKLOG)?.into_std()?;
    listener.set_nonblocking(false)?;
    Ok(listener)
}

struct Session {
    socket: TcpStream,
    reader: Reader,
    folder: Option<Arc<Path>>,
    upload: Option<Upload>,
    pool: Arc<Pool>,
}

struct Upload {
    id: UploadId,
    file_id: FileId,
    stream: u32,
    size: u64,
    received: u64,
    acked: u64,
    receiving: Receiving,
}

impl Session {
    fn new(socket: TcpStream, folder: Option<Arc<Path>>, pool: Arc<Pool>) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        Ok(Self {
            reader: Reader::new(socket.try_clone()?),
            socket,
            folder,
            upload: None,
            pool,
        })
    }

    fn run(&mut self) -> io::Result<()> {
        let Some(request) = self.reader.request()? else {
            return Ok(());
        };
        self.socket.write_all(upgrade(&request).as_bytes())?;
        loop {
            let incoming = match &mut self.upload {
                Some(upload) => self.reader.next(upload.receiving.buffer())?,
                // Before an upload there are no chunks, so there need be no room for one.
                None => self.reader.next(&mut Aligned::new(0))?,
            };
            match incoming {
                Incoming::Text(text) => self.message(&text)?,
                Incoming::Chunk(head) => self.chunk(head)?,
                Incoming::Closed => return Ok(()),
            }
        }
    }

    fn message(&mut self, text: &[u8]) -> io::Result<()> {
        match serde_json::from_slice(text)? {
            ClientMessage::Connect(connect) => self.send(&[connected(connect.id)]),
            ClientMessage::StartTransfer(start) => self.start(start),
            ClientMessage::CompleteUpload(complete) => self.complete(complete.id),
            _ => Err(wrong("a message that a floor does not know")),
        }
    }

    fn start(&mut self, start: StartTransfer) -> io::Result<()> {
        let Start::Open { meta, .. } = start.what else {
            return Err(wrong("a floor resumes nothing"));
        };
        let (id, file_id) = (UploadId::new(), FileId::new());
        let path = |folder: &Arc<Path>| -> PathBuf { folder.join(file_id.to_string()) };
        let direct = self
            .folder
            .as_ref()
            .map(path)
            .map(|path| Direct::create(&path, meta.size));
        let direct = direct.transpose()?;
        let receiving = if meta.size > LIMITS.window_bytes {
            let acks = acks(self.socket.try_clone()?, start.stream, id);
            Receiving::Staged(Stages::start(direct, acks))
        } else {
            Receiving::inline(direct, self.pool.take())
        };
        self.upload = Some(Upload {
            id,
            file_id,
            stream: start.stream,
            size: meta.size,
            received: 0,
            acked: 0,
            receiving,
        });
        self.send(&[ServerMessage::TransferStarted(TransferStarted {
            id: start.id,
            stream: start.stream,
            upload_id: id,
            offset: 0,
            status: TransferStatus::Open,
            file_id: Some(file_id),
            chunk_bytes: LIMITS.max_chunk_bytes,
            expires_at: Timestamp::now(),
        })])
    }

    fn chunk(&mut self, head: Head) -> io::Result<()> {
        let upload = self.upload.as_mut().ok_or(wrong("no upload is open"))?;
        if !head.intact || head.stream != upload.stream || head.offset != upload.received {
            return Err(wrong("a chunk that does not fit"));
        }
        upload.received += head.len;
        let written = upload.receiving.added()?;
        if written && upload.received - upload.acked >= ACK_EVERY && upload.received < upload.size {
            upload.acked = upload.received;
            let acked = upload.ack();
            self.send(&[acked])?;
        }
        Ok(())
    }

    fn complete(&mut self, id: RequestId) -> io::Result<()> {
        let upload = self.upload.take().ok_or(wrong("no upload is open"))?;
        if upload.received != upload.size {
            return Err(wrong("bytes are missing"));
        }
        let acked = upload.ack();
        let digest = upload.receiving.finish()?;
        let completed = ServerMessage::UploadCompleted(UploadCompleted {
            id,
            upload_id: upload.id,
            file_id: upload.file_id,
            size: upload.size,
            digest,
            status: TransferStatus::Cached,
        });
        self.send(&[acked, completed])
    }

    fn send(&mut self, messages: &[ServerMessage]) -> io::Result<()> {
        self.socket.write_all(&frames(messages))
    }
}

impl Upload {
    fn ack(&self) -> ServerMessage {
        acked(self.stream, self.id, self.received)
    }
}

/// Acknowledges what another thread has written.
fn acks(mut socket: TcpStream, stream: u32, id: UploadId) -> impl FnMut(u64) -> io::Result<()> {
    let mut last = 0;
    move |length| {
        // Often, so that the next bytes come while these are written.
        if length - last < ACK_EVERY / 2 {
            return Ok(());
        }
        last = length;
        socket.write_all(&frames(&[acked(stream, id, length)]))
    }
}

fn acked(stream: u32, upload_id: UploadId, offset: u64) -> ServerMessage {
    ServerMessage::ChunkAcked(ChunkAcked {
        stream,
        upload_id,
        offset,
    })
}

fn connected(id: RequestId) -> ServerMessage {
    ServerMessage::Connected(Connected {
        id,
        session_id: SessionId::new(),
        user: ConnectedUser {
            id: UserId::new(),
            name: "anyone".to_owned(),
            role: Role::User,
        },
        heartbeat_ms: 30_000,
        limits: LIMITS,
        topics: Vec::new(),
    })
}

/// The answer to the request for an upgrade: RFC 6455, section 4.2.2.
fn upgrade(request: &str) -> String {
    let key = request.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-key")
            .then(|| value.trim())
    });
    let text = format!(
        "{}258EAFA5-E914-47DA-95CA-C5AB0DC85B11",
        key.unwrap_or_default()
    );
    let hash = aws_lc_rs::digest::digest(
        &aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY,
        text.as_bytes(),
    );
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {}\r\nSec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n",
        STANDARD.encode(hash)
    )
}

/// Text frames, one behind the other.
fn frames(messages: &[ServerMessage]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for message in messages {
        let text = message.to_json();
        bytes.push(0x81);
        match u8::try_from(text.len()) {
            Ok(short) if short < 126 => bytes.push(short),
            _ => {
                bytes.push(126);
                let medium = u16::try_from(text.len()).unwrap_or(u16::MAX);
                bytes.extend_from_slice(&medium.to_be_bytes());
            }
        }
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
