//! What the gateway can be told.

use protocol::{frame, message::Limits, session::server::Rules};
use serde::{Deserialize, Serialize};
use service_kit::config::{ByteSize, Millis};
use std::time::Duration;

/// Below it, no line is quick enough; most likely seconds were meant.
const MIN_HEARTBEAT: Duration = Duration::from_millis(100);

/// Limits and rules of the public edge.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Largest payload of a chunk.
    pub max_chunk_bytes: ByteSize,
    /// Payload size recommended to clients.
    pub chunk_bytes: ByteSize,
    /// Bytes of one stream that may be received and not yet stored.
    pub window_bytes: ByteSize,
    /// The same for all streams of a session.
    pub session_window_bytes: ByteSize,
    /// The same for all sessions of the process: beyond it sockets are not read.
    pub process_window_bytes: ByteSize,
    /// Uploads open at once in a session.
    pub max_open_uploads: u32,
    /// Requests of a session worked on at once; beyond it the socket is not read.
    pub max_pending_requests: usize,
    /// Sessions of one user at once.
    pub max_sessions_per_user: usize,
    /// Time between pings; silence for two closes the socket.
    pub heartbeat: Millis,
    /// Time for a valid `connect` to come.
    pub connect_deadline: Millis,
    /// Largest message before `connected`.
    pub max_message_before_connected: ByteSize,
    /// Bytes waiting for a slow reader, beside the largest message, before it is closed with 4410.
    pub slow_reader_bytes: ByteSize,
    /// How long before its expiry a token is announced to expire.
    pub token_warning: Millis,
    /// Notifications that are replayed at most; who has missed more is told that it did not recover.
    pub replay_limit: u64,
    /// How often topic heads are compared with the log, since a lost hint is otherwise never noticed.
    pub compare_heads_every: Millis,
    /// Longest time after which clients come back when the server restarts; each is told another one below it.
    pub drain_spread: Millis,
    /// Origins of browser pages that may open a socket, beside the gateway's own (`https://app.example.org`).
    pub allowed_origins: Vec<String>,
    /// What is not accepted.
    pub forbidden: Forbidden,
}

/// Types of files that are refused: by name, by declared type, by first bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Forbidden {
    /// File name extensions, lower case, without the dot. Also the types that are recognised by the first bytes are named by
    /// their extension.
    pub extensions: Vec<String>,
    /// Media types, lower case.
    pub content_types: Vec<String>,
}

impl Default for Forbidden {
    /// Executables of the common systems, and what their shells run by a double click.
    fn default() -> Self {
        let owned = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
        Self {
            extensions: owned(&[
                "exe", "dll", "com", "scr", "msi", "msp", "cpl", "sys", "bat", "cmd", "ps1", "vbs",
                "vbe", "wsf", "hta", "jar", "elf", "so", "run", "sh", "app", "dmg", "pkg", "mach",
                "dylib", "deb", "rpm", "apk", "dex", "class", "wasm",
            ]),
            content_types: owned(&[
                "application/x-msdownload",
                "application/x-msdos-program",
                "application/x-dosexec",
                "application/vnd.microsoft.portable-executable",
                "application/x-executable",
                "application/x-elf",
                "application/x-sharedlib",
                "application/x-mach-binary",
                "application/x-msi",
                "application/x-ms-installer",
                "application/x-sh",
                "application/x-shellscript",
                "text/x-shellscript",
                "application/x-bat",
                "application/java-archive",
                "application/java-vm",
                "application/vnd.android.package-archive",
                "application/vnd.debian.binary-package",
                "application/x-rpm",
                "application/wasm",
            ]),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_chunk_bytes: ByteSize::kib(256),
            chunk_bytes: ByteSize::kib(256),
            window_bytes: ByteSize::mib(2),
            session_window_bytes: ByteSize::mib(8),
            process_window_bytes: ByteSize::mib(32),
            max_open_uploads: 64,
            max_pending_requests: 64,
            max_sessions_per_user: 1000,
            heartbeat: Millis::secs(30),
            connect_deadline: Millis::secs(10),
            max_message_before_connected: ByteSize::kib(64),
            slow_reader_bytes: ByteSize::mib(1),
            token_warning: Millis::secs(60),
            replay_limit: 10_000,
            compare_heads_every: Millis::secs(5),
            drain_spread: Millis::secs(5),
            allowed_origins: Vec::new(),
            forbidden: Forbidden::default(),
        }
    }
}

/// Values that the contract promises or that the parts need of one another do not fit.
#[derive(Debug, thiserror::Error)]
#[error("gateway.{key}: {reason}")]
pub struct InvalidConfig {
    key: &'static str,
    reason: &'static str,
}

impl Config {
    /// Checks what can't be expressed by types.
    ///
    /// # Errors
    /// When a limit is below the floor that clients may rely on, or below another that it must hold.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        let checks = [
            (
                self.max_chunk_bytes.0 >= 64 << 10,
                "max_chunk_bytes",
                "clients may rely on at least 64 KiB",
            ),
            (
                self.window_bytes.0 >= 1 << 20,
                "window_bytes",
                "clients may rely on at least 1 MiB",
            ),
            (
                self.window_bytes.0 >= self.max_chunk_bytes.0,
                "window_bytes",
                "must hold a chunk",
            ),
            (
                self.session_window_bytes.0 >= self.window_bytes.0,
                "session_window_bytes",
                "must hold the window of a stream",
            ),
            (
                self.process_window_bytes.0 >= self.max_chunk_bytes.0,
                "process_window_bytes",
                "must hold a chunk",
            ),
            (
                self.process_window_bytes.0 <= u64::from(u32::MAX),
                "process_window_bytes",
                "must be below 4 GiB",
            ),
            (
                self.max_open_uploads >= 32,
                "max_open_uploads",
                "clients may rely on at least 32",
            ),
            (
                self.chunk_bytes.0 <= self.max_chunk_bytes.0,
                "chunk_bytes",
                "must not be larger than max_chunk_bytes",
            ),
            (
                self.max_pending_requests >= 1,
                "max_pending_requests",
                "must be at least 1",
            ),
            (
                self.heartbeat.duration() >= MIN_HEARTBEAT,
                "heartbeat",
                "must be at least 100 ms; a bare number counts milliseconds",
            ),
        ];
        match checks.into_iter().find(|(holds, ..)| !holds) {
            Some((_, key, reason)) => Err(InvalidConfig { key, reason }),
            None => Ok(()),
        }
    }

    pub(crate) fn rules(&self, max_file_bytes: u64) -> Rules {
        let max_message_bytes = self.max_chunk_bytes.0 + MESSAGE_ROOM;
        Rules {
            limits: Limits {
                max_chunk_bytes: self.max_chunk_bytes.0,
                window_bytes: self.window_bytes.0,
                max_file_bytes,
                max_open_uploads: self.max_open_uploads,
                max_message_bytes,
            },
            chunk_bytes: self.chunk_bytes.0,
            heartbeat: self.heartbeat.duration(),
            connect_deadline: self.connect_deadline.duration(),
            max_message_before_connected: self.max_message_before_connected.as_usize(),
            session_window_bytes: self.session_window_bytes.0,
            max_pending_requests: self.max_pending_requests,
            token_warning: self.token_warning.duration(),
        }
    }
}

/// What a message may have beyond the largest payload: a chunk's header, with room for a longer one.
const MESSAGE_ROOM: u64 = 4096;
const _: () = assert!(frame::HEADER_LEN as u64 <= MESSAGE_ROOM);
