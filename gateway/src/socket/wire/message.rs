//! A message while it is put together.

use super::reader::{Fault, Heard};
use crate::pool::{Buffer, Kind, Pool, Room};
use bytes::Bytes;
use std::time::Instant;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

/// A message, or the beginning of one.
pub(super) struct Message {
    pub(super) is_text: bool,
    pub(super) body: Body,
    /// Bytes of a text that are known to be UTF-8.
    valid: usize,
    pub(super) begun: Instant,
}

/// Where a message's bytes are.
pub(super) enum Body {
    /// Nowhere yet: such a buffer is wanted.
    Unplaced(Kind),
    Pooled(Buffer),
    /// In memory of its own, which grows with what has come.
    Plain(Vec<u8>),
}

impl Body {
    /// Adds bytes; answers where they are now.
    pub(super) fn append(&mut self, piece: &[u8]) -> &mut [u8] {
        match self {
            Self::Plain(bytes) => append(bytes, piece),
            Self::Pooled(buffer) => {
                let spare = buffer.spare(piece.len());
                let fits = spare.len().min(piece.len());
                spare[..fits].copy_from_slice(&piece[..fits]);
                buffer.fill(fits)
            }
            Self::Unplaced(_) => &mut [],
        }
    }
}

/// Adds bytes; answers where they are now.
pub(super) fn append<'a>(bytes: &'a mut Vec<u8>, piece: &[u8]) -> &'a mut [u8] {
    let from = bytes.len();
    bytes.extend_from_slice(piece);
    &mut bytes[from..]
}

impl Message {
    pub(super) fn text() -> Self {
        Self {
            is_text: true,
            ..Self::binary(Body::Plain(Vec::new()))
        }
    }

    pub(super) fn binary(body: Body) -> Self {
        Self {
            is_text: false,
            body,
            valid: 0,
            begun: Instant::now(),
        }
    }

    pub(super) fn len(&self) -> usize {
        match &self.body {
            Body::Unplaced(_) => 0,
            Body::Pooled(buffer) => buffer.bytes().len(),
            Body::Plain(bytes) => bytes.len(),
        }
    }

    /// Checks what has come of a text: no more than its last character may be incomplete.
    pub(super) fn check_so_far(&mut self) -> Result<(), Fault> {
        let Body::Plain(bytes) = &self.body else {
            return Ok(());
        };
        if self.is_text {
            match std::str::from_utf8(&bytes[self.valid..]) {
                Ok(valid) => self.valid += valid.len(),
                Err(error) if error.error_len().is_none() => self.valid += error.valid_up_to(),
                Err(_) => return Err(Fault::Malformed),
            }
        }
        Ok(())
    }

    /// The whole message; `room` is for bytes that have none yet.
    pub(super) fn finish(self, room: Option<Room>) -> Result<Heard, Fault> {
        match (self.body, room) {
            (Body::Plain(bytes), _) if self.is_text => String::from_utf8(bytes)
                .map(Heard::Text)
                .map_err(|_| Fault::Malformed),
            (Body::Plain(bytes), Some(room)) => Ok(Heard::Binary(Pool::adopt(bytes, room))),
            (Body::Plain(bytes), None) => Ok(Heard::Binary(bytes.into())),
            (Body::Pooled(buffer), _) => Ok(Heard::Binary(buffer.freeze())),
            (Body::Unplaced(_), _) => Ok(Heard::Binary(Bytes::new())),
        }
    }
}

/// Reads the payload of a close frame.
pub(super) fn closing(payload: &[u8]) -> Result<Heard, Fault> {
    match payload {
        [] => Ok(Heard::Close(None)),
        [_] => Err(Fault::Malformed),
        [high, low, reason @ ..] => {
            std::str::from_utf8(reason).map_err(|_| Fault::Malformed)?;
            let code = u16::from_be_bytes([*high, *low]);
            // The answer repeats a code that makes sense.
            let is_allowed = CloseCode::from(code).is_allowed();
            let code = if is_allowed {
                code
            } else {
                CloseCode::Protocol.into()
            };
            Ok(Heard::Close(Some(code)))
        }
    }
}
