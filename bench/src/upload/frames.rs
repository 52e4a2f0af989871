//! What a client of `sluice.v1` sends, as it goes over the wire: built, masked and summed ahead.

use bytes::Bytes;
use protocol::{frame, message::ClientMessage};

/// The stream number of every file: a client sends one after another, and a number is free again when its upload is over. So the
/// frames of a content are the same for each connection.
pub const STREAM: u32 = 1;

/// Payload of a chunk, the size that Sluice recommends.
pub const CHUNK: usize = 256 << 10;

/// The mask of every frame. It is as good as any against what masks are for, which is not at stake here.
pub(crate) const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

const FIN_TEXT: u8 = 0x81;
const FIN_BINARY: u8 = 0x82;
const FIN_PONG: u8 = 0x8a;

/// All chunks of a content, one frame behind the other.
#[derive(Debug)]
pub struct Frames {
    bytes: Bytes,
    /// Of each frame: where its payload ends in the file, and where it ends itself in `bytes`.
    ends: Vec<(u64, usize)>,
}

impl Frames {
    /// Of this content.
    #[must_use]
    pub fn new(content: &[u8]) -> Self {
        let chunks = content.len().div_ceil(CHUNK);
        let mut bytes = Vec::with_capacity(content.len() + chunks * (14 + frame::HEADER_LEN));
        let mut ends = Vec::with_capacity(chunks);
        let mut offset = 0;
        for payload in content.chunks(CHUNK) {
            put_head(&mut bytes, FIN_BINARY, frame::HEADER_LEN + payload.len());
            let start = bytes.len();
            bytes.extend_from_slice(&[1, 0, 0, 0]);
            bytes.extend_from_slice(&STREAM.to_be_bytes());
            bytes.extend_from_slice(&u64::to_be_bytes(offset));
            bytes.extend_from_slice(&crc32c::crc32c(payload).to_be_bytes());
            bytes.extend_from_slice(payload);
            mask(&mut bytes[start..]);
            offset += payload.len() as u64;
            ends.push((offset, bytes.len()));
        }
        Self {
            bytes: bytes.into(),
            ends,
        }
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[u8] {
        &self.bytes
    }

    /// How many bytes from the beginning are the frames whose payloads end at or before this offset of the file.
    #[must_use]
    pub fn until(&self, offset: u64) -> usize {
        let fit = self.ends.partition_point(|(end, _)| *end <= offset);
        fit.checked_sub(1).map_or(0, |last| self.ends[last].1)
    }
}

/// A message as a masked text frame.
#[must_use]
pub fn text(message: &ClientMessage) -> Vec<u8> {
    // Only maps with keys that are no strings can fail to serialise; no message has one.
    control(FIN_TEXT, &serde_json::to_vec(message).unwrap_or_default())
}

/// The answer to a ping.
#[must_use]
pub fn pong(payload: &[u8]) -> Vec<u8> {
    control(FIN_PONG, payload)
}

fn control(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(14 + payload.len());
    put_head(&mut bytes, kind, payload.len());
    let start = bytes.len();
    bytes.extend_from_slice(payload);
    mask(&mut bytes[start..]);
    bytes
}

/// The head of a masked frame: RFC 6455, section 5.2.
fn put_head(bytes: &mut Vec<u8>, kind: u8, len: usize) {
    bytes.push(kind);
    match (u8::try_from(len), u16::try_from(len)) {
        (Ok(short), _) if short < 126 => bytes.push(0x80 | short),
        (_, Ok(medium)) => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&MASK);
}

fn mask(bytes: &mut [u8]) {
    for piece in bytes.chunks_mut(4) {
        for (byte, key) in piece.iter_mut().zip(MASK) {
            *byte ^= key;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{frame::Chunk, message::Alive};

    /// The payload of the first frame, unmasked, and what follows it.
    fn unframe(bytes: &[u8]) -> (u8, Vec<u8>, &[u8]) {
        let (kind, short) = (bytes[0], bytes[1] & 0x7f);
        assert_eq!(bytes[1] & 0x80, 0x80, "masked");
        let (len, start) = match short {
            126 => (usize::from(u16::from_be_bytes([bytes[2], bytes[3]])), 4),
            127 => (
                u64::from_be_bytes(bytes[2..10].try_into().unwrap()) as usize,
                10,
            ),
            short => (usize::from(short), 2),
        };
        let key = &bytes[start..start + 4];
        let (payload, rest) = bytes[start + 4..].split_at(len);
        let plain = payload
            .iter()
            .zip(key.iter().cycle())
            .map(|(byte, key)| byte ^ key);
        (kind, plain.collect(), rest)
    }

    #[test]
    fn frames_are_the_chunks_of_the_protocol() {
        let content: Vec<u8> = (0..2 * CHUNK + 100).map(|at| (at % 251) as u8).collect();
        let frames = Frames::new(&content);
        let (mut rest, mut offset) = (frames.all(), 0);
        for len in [CHUNK, CHUNK, 100] {
            let (kind, message, more) = unframe(rest);
            assert_eq!(kind, FIN_BINARY);
            let payload = Bytes::copy_from_slice(&content[offset..offset + len]);
            assert_eq!(message, Chunk::new(STREAM, offset as u64, payload).encode());
            offset += len;
            assert_eq!(frames.until(offset as u64), frames.all().len() - more.len());
            rest = more;
        }
        assert!(rest.is_empty());
        assert_eq!(frames.until(CHUNK as u64 - 1), 0);
        assert_eq!(frames.until(u64::MAX), frames.all().len());
    }

    #[test]
    fn messages_are_text_frames() {
        let message = ClientMessage::Alive(Alive { id: Some(7) });
        let frame = text(&message);
        let (kind, payload, rest) = unframe(&frame);
        let payload = String::from_utf8(payload).unwrap();
        assert_eq!((kind, rest.len()), (FIN_TEXT, 0));
        assert_eq!(ClientMessage::parse(&payload), Ok(message));
        assert_eq!(unframe(&pong(&[9; 200])).1, [9; 200]);
    }
}
