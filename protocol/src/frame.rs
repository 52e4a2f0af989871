//! The chunk frame: 20 bytes of header, then the payload, in one binary WebSocket message.
//!
//! | 0 | 1 | 2–3 | 4–7 | 8–15 | 16–19 | 20… |
//! |---|---|---|---|---|---|---|
//! | `0x01` | flags 0 | 0 | stream | offset | CRC-32C of payload | payload |
//!
//! All numbers are big-endian.

use bytes::{BufMut, Bytes, BytesMut};

/// Length of the header in bytes.
pub const HEADER_LEN: usize = 20;

const KIND_CHUNK: u8 = 0x01;

/// A chunk as received: its checksum is *not* yet verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The client's number of the stream.
    pub stream: u32,
    /// Where in the file the payload begins.
    pub offset: u64,
    /// CRC-32C that the sender computed of the payload.
    pub crc: u32,
    /// The bytes.
    pub payload: Bytes,
}

/// A binary message that is not a chunk frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Shorter than a header.
    #[error("a chunk frame has a header of {HEADER_LEN} bytes; this message has {0}")]
    TooShort(usize),
    /// The first byte is not a known kind.
    #[error("unknown frame kind {0:#04x}; chunks are 0x01")]
    UnknownKind(u8),
    /// A reserved bit is set.
    #[error("bytes 1 to 3 of a chunk frame are zero")]
    ReservedSet,
    /// No payload.
    #[error("a chunk has at least one byte of payload")]
    Empty,
}

impl Chunk {
    /// A chunk of `payload`, its checksum computed.
    #[must_use]
    pub fn new(stream: u32, offset: u64, payload: Bytes) -> Self {
        let crc = crc32c::crc32c(&payload);
        Self {
            stream,
            offset,
            crc,
            payload,
        }
    }

    /// Whether the payload is what the sender checksummed.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        crc32c::crc32c(&self.payload) == self.crc
    }

    /// Length of the payload in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.payload.len() as u64
    }

    /// Whether there is no payload; never so for a decoded chunk.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.payload.is_empty()
    }

    /// Reads a binary message. The payload is a slice of `message`, not a copy.
    ///
    /// # Errors
    /// When `message` is no chunk frame.
    pub fn decode(message: Bytes) -> Result<Self, FrameError> {
        let header = message
            .first_chunk::<HEADER_LEN>()
            .ok_or(FrameError::TooShort(message.len()))?;
        let [
            kind,
            reserved @ ..,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
        ] = *header;
        if kind != KIND_CHUNK {
            return Err(FrameError::UnknownKind(kind));
        }
        if reserved != [0; 3] {
            return Err(FrameError::ReservedSet);
        }
        if message.len() == HEADER_LEN {
            return Err(FrameError::Empty);
        }
        let stream = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        let offset = u64::from_be_bytes([
            header[8], header[9], header[10], header[11], header[12], header[13], header[14],
            header[15],
        ]);
        let crc = u32::from_be_bytes([header[16], header[17], header[18], header[19]]);
        Ok(Self {
            stream,
            offset,
            crc,
            payload: message.slice(HEADER_LEN..),
        })
    }

    /// Writes the frame as one message.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut message = BytesMut::with_capacity(HEADER_LEN + self.payload.len());
        message.put_slice(&[KIND_CHUNK, 0, 0, 0]);
        message.put_u32(self.stream);
        message.put_u64(self.offset);
        message.put_u32(self.crc);
        message.put_slice(&self.payload);
        message.freeze()
    }
}

/// The stream number of a frame whose rest may be unreadable, so that an error can name it.
#[must_use]
pub fn peek_stream(message: &[u8]) -> Option<u32> {
    match message {
        [KIND_CHUNK, _, _, _, a, b, c, d, ..] => Some(u32::from_be_bytes([*a, *b, *c, *d])),
        _ => None,
    }
}
