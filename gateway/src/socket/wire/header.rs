//! The header of a frame, as a server may take it.

use super::reader::Fault;
use std::io::Cursor;
use tokio_tungstenite::tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Control, Data, OpCode},
};

/// Longest payload of a control frame.
const MAX_CONTROL: u64 = 125;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Continue,
    Text,
    Binary,
    Ping,
    Pong,
    Close,
}

/// A frame whose payload is coming.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) op: Op,
    /// Whether it ends its message.
    pub(super) is_last: bool,
    /// Bytes of the payload that are still to come.
    pub(super) left: usize,
    /// The mask of the next of them.
    pub(super) key: [u8; 4],
}

impl Op {
    pub(super) fn is_control(self) -> bool {
        matches!(self, Self::Ping | Self::Pong | Self::Close)
    }
}

impl Frame {
    /// Reads a header, unless it is not all here, and tells its length. No payload may be larger than `limit`.
    pub(super) fn parse(bytes: &[u8], limit: usize) -> Result<Option<(Self, usize)>, Fault> {
        let mut cursor = Cursor::new(bytes);
        let parsed = FrameHeader::parse(&mut cursor).map_err(|_| Fault::Malformed)?;
        let Some((header, payload)) = parsed else {
            return Ok(None);
        };
        let left = usize::try_from(payload).unwrap_or(usize::MAX);
        if left > limit {
            return Err(Fault::TooBig);
        }
        let op = match header.opcode {
            OpCode::Data(Data::Continue) => Op::Continue,
            OpCode::Data(Data::Text) => Op::Text,
            OpCode::Data(Data::Binary) => Op::Binary,
            OpCode::Control(Control::Ping) => Op::Ping,
            OpCode::Control(Control::Pong) => Op::Pong,
            OpCode::Control(Control::Close) => Op::Close,
            OpCode::Data(Data::Reserved(_)) | OpCode::Control(Control::Reserved(_)) => {
                return Err(Fault::Malformed);
            }
        };
        let is_extended = header.rsv1 || header.rsv2 || header.rsv3;
        let is_bad_control = op.is_control() && (!header.is_final || payload > MAX_CONTROL);
        match header.mask {
            // Clients always mask, and no extension gives the reserved bits a meaning.
            Some(key) if !is_extended && !is_bad_control => {
                let (is_last, length) = (header.is_final, cursor.position());
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                Ok(Some((
                    Self {
                        op,
                        is_last,
                        left,
                        key,
                    },
                    length,
                )))
            }
            _ => Err(Fault::Malformed),
        }
    }
}
