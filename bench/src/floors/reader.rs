//! Reads WebSocket frames from a blocking socket. The payload of a chunk goes straight to where it will be written from, is
//! unmasked there as it arrives, and is summed while it is warm.

use super::aligned::Aligned;
use protocol::frame::HEADER_LEN;
use std::{
    io::{self, IoSliceMut, Read},
    net::TcpStream,
};

/// Room for what is behind a payload: heads of frames and short messages. What of the next payload falls into it is copied, so it
/// is small.
const ROOM: usize = 512;

/// Longest text message.
const MAX_TEXT: usize = 64 << 10;

pub(super) enum Incoming {
    Text(Vec<u8>),
    /// A chunk whose payload is now at the end of the buffer that was given.
    Chunk(Head),
    Closed,
}

/// What is before a chunk's payload.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) stream: u32,
    pub(super) offset: u64,
    pub(super) len: u64,
    pub(super) intact: bool,
}

pub(super) struct Reader {
    socket: TcpStream,
    room: Box<[u8; ROOM]>,
    /// What of `room` has been read and not been taken.
    start: usize,
    end: usize,
}

impl Reader {
    pub(super) fn new(socket: TcpStream) -> Self {
        Self {
            socket,
            room: Box::new([0; ROOM]),
            start: 0,
            end: 0,
        }
    }

    /// The head of the HTTP request that asks for an upgrade; nothing if the client goes away.
    pub(super) fn request(&mut self) -> io::Result<Option<String>> {
        let mut text = Vec::new();
        while !text.ends_with(b"\r\n\r\n") {
            if text.len() > MAX_TEXT || !self.fill(1)? {
                return Ok(None);
            }
            text.push(self.room[self.start]);
            self.start += 1;
        }
        Ok(Some(String::from_utf8_lossy(&text).into_owned()))
    }

    /// The next message. A chunk's payload is added to `buffer`, which has room for the largest one.
    pub(super) fn next(&mut self, buffer: &mut Aligned) -> io::Result<Incoming> {
        loop {
            if !self.fill(2)? {
                return Ok(Incoming::Closed);
            }
            let (kind, short) = (
                self.room[self.start] & 0x0f,
                self.room[self.start + 1] & 0x7f,
            );
            let head = match short {
                126 => 4,
                127 => 10,
                _ => 2,
            };
            if !self.fill(head + 4)? {
                return Ok(Incoming::Closed);
            }
            let bytes = &self.room[self.start..self.start + head + 4];
            let long = bytes[2..head]
                .iter()
                .fold(0, |sum, &byte| sum << 8 | usize::from(byte));
            let len = if head == 2 { usize::from(short) } else { long };
            let mask = [
                bytes[head],
                bytes[head + 1],
                bytes[head + 2],
                bytes[head + 3],
            ];
            self.start += head + 4;
            match kind {
                0x1 => return self.text(len, mask),
                0x2 => return self.chunk(len, mask, buffer),
                0x8 => return Ok(Incoming::Closed),
                // A ping or a pong.
                _ => drop(self.text(len, mask)?),
            }
        }
    }

    fn text(&mut self, len: usize, mask: [u8; 4]) -> io::Result<Incoming> {
        if len > MAX_TEXT {
            return Err(malformed("the message is too long"));
        }
        let mut text = vec![0; len];
        let here = self.take(&mut text);
        self.socket.read_exact(&mut text[here..])?;
        unmask(&mut text, mask, 0);
        Ok(Incoming::Text(text))
    }

    fn chunk(&mut self, len: usize, mask: [u8; 4], buffer: &mut Aligned) -> io::Result<Incoming> {
        if len <= HEADER_LEN || len - HEADER_LEN > buffer.room().len() || !self.fill(HEADER_LEN)? {
            return Err(malformed("no chunk"));
        }
        let mut header = [0; HEADER_LEN];
        self.take(&mut header);
        unmask(&mut header, mask, 0);
        let number = |from: usize, to: usize| {
            header[from..to]
                .iter()
                .fold(0_u64, |sum, &byte| sum << 8 | u64::from(byte))
        };
        let payload = &mut buffer.room()[..len - HEADER_LEN];
        let crc = self.payload(payload, mask)?;
        buffer.len += len - HEADER_LEN;
        Ok(Incoming::Chunk(Head {
            stream: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
            offset: number(8, 16),
            len: (len - HEADER_LEN) as u64,
            intact: u64::from(crc) == number(16, 20),
        }))
    }

    /// Reads a payload whole and answers its sum.
    fn payload(&mut self, payload: &mut [u8], mask: [u8; 4]) -> io::Result<u32> {
        let mut have = self.take(payload);
        let (mut done, mut crc) = (0, 0);
        loop {
            unmask(&mut payload[done..have], mask, done);
            crc = crc32c::crc32c_append(crc, &payload[done..have]);
            done = have;
            if have == payload.len() {
                return Ok(crc);
            }
            // Everything in the room has been taken, so all of it is free.
            let rest = payload.len() - have;
            let mut slices = [
                IoSliceMut::new(&mut payload[have..]),
                IoSliceMut::new(&mut self.room[..]),
            ];
            let read = self.socket.read_vectored(&mut slices)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            have += read.min(rest);
            (self.start, self.end) = (0, read.saturating_sub(rest));
        }
    }

    /// Takes what has been read already, as much as fits.
    fn take(&mut self, into: &mut [u8]) -> usize {
        let len = into.len().min(self.end - self.start);
        into[..len].copy_from_slice(&self.room[self.start..self.start + len]);
        self.start += len;
        len
    }

    /// Reads until so many bytes are in the room; whether they came.
    fn fill(&mut self, len: usize) -> io::Result<bool> {
        if self.start + len > ROOM {
            self.room.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        while self.end - self.start < len {
            match self.socket.read(&mut self.room[self.end..])? {
                0 => return Ok(false),
                read => self.end += read,
            }
        }
        Ok(true)
    }
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Takes the mask off bytes that begin `position` bytes behind a multiple of four of the frame's payload.
fn unmask(bytes: &mut [u8], mut mask: [u8; 4], position: usize) {
    mask.rotate_left(position % 4);
    let [a, b, c, d] = mask;
    let wide = u128::from_ne_bytes([a, b, c, d, a, b, c, d, a, b, c, d, a, b, c, d]);
    let (blocks, rest) = bytes.as_chunks_mut::<16>();
    for block in blocks {
        *block = (u128::from_ne_bytes(*block) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_is_taken_off_piece_by_piece() {
        let plain: Vec<u8> = (0..=255).collect();
        let mask = [1, 2, 3, 4];
        let mut masked: Vec<u8> = plain
            .iter()
            .zip(mask.iter().cycle())
            .map(|(a, b)| a ^ b)
            .collect();
        for (from, to) in [(0, 7), (7, 50), (50, 51), (51, 256)] {
            unmask(&mut masked[from..to], mask, from);
        }
        assert_eq!(masked, plain);
    }
}
