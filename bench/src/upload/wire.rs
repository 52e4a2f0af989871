//! A session of `sluice.v1` as the generator holds it: as few steps per reply as can be.

use super::{
    frames::{self, Frames},
    pipe::{Outgoing, Pipe},
};
use crate::Result;
use protocol::{
    SUBPROTOCOL,
    message::{ClientMessage, Connect, Limits},
};
use serde::Deserialize;
use std::{net::SocketAddr, time::Instant};

/// An open session.
#[derive(Debug)]
pub struct Session {
    pipe: Pipe,
    limits: Limits,
    /// When the server has said of files that they are stored.
    stored: Vec<Instant>,
}

/// A file as it is to be sent.
#[derive(Debug)]
pub struct Parcel {
    /// `start-transfer`, as a frame.
    pub start: Vec<u8>,
    /// `complete-upload`, as a frame.
    pub complete: Vec<u8>,
    /// The id of the request to complete.
    pub id: i64,
    /// Bytes of the file.
    pub size: u64,
}

/// What the generator wants to know of a reply.
#[derive(Debug)]
enum Reply {
    Connected(Limits),
    Started,
    Acked(u64),
    Completed {
        id: i64,
        file: String,
        digest: String,
    },
    Refused(String),
    /// A file is stored for good.
    Stored,
    Other,
}

#[derive(Deserialize)]
struct Fields<'a> {
    r#type: &'a str,
    #[serde(default)]
    id: i64,
    #[serde(default)]
    offset: u64,
    limits: Option<Limits>,
    file_id: Option<&'a str>,
    digest: Option<&'a str>,
}

impl Session {
    /// Connects, upgrades to a WebSocket and opens a session with this token.
    ///
    /// # Errors
    /// When the server is not there or refuses.
    pub async fn open(address: SocketAddr, token: &str) -> Result<Self> {
        let mut pipe = Pipe::connect(address).await?;
        upgrade(&mut pipe, address).await?;
        let connect = ClientMessage::Connect(Connect {
            access_token: Some(token.to_owned()),
            ..Connect::default()
        });
        pipe.write_all(&[&frames::text(&connect)]).await?;
        let limits = loop {
            match next_reply(&mut pipe)? {
                Some(Reply::Connected(limits)) => break limits,
                Some(Reply::Refused(text)) => return Err(text.into()),
                Some(_) => {}
                None => pipe.read_more().await?,
            }
        };
        if limits.max_chunk_bytes < frames::CHUNK as u64 {
            return Err("the server does not take chunks of 256 KiB".into());
        }
        Ok(Self {
            pipe,
            limits,
            stored: Vec::new(),
        })
    }

    /// Sends a file and waits until the server has confirmed it. Answers the file's id and digest.
    ///
    /// # Errors
    /// When the server refuses anything: a benchmark is not meant to be refused.
    pub async fn upload(&mut self, parcel: &Parcel, frames: &Frames) -> Result<(String, String)> {
        let window = self.limits.window_bytes;
        // Only a file of at most one window may be sent before its start is confirmed.
        let mut started = parcel.size <= window;
        let (mut acked, mut queued) = (0, 0);
        let mut outgoing = Outgoing::new(&[&parcel.start]);
        loop {
            let allowed = if started {
                frames.until(acked + window)
            } else {
                0
            };
            if allowed > queued {
                outgoing.push(&frames.all()[queued..allowed]);
                queued = allowed;
                if queued == frames.all().len() {
                    outgoing.push(&parcel.complete);
                }
            }
            while !outgoing.is_empty() && self.pipe.try_write(&mut outgoing)? {}
            self.pipe.turn(!outgoing.is_empty()).await?;
            while let Some(reply) = next_reply(&mut self.pipe)? {
                match reply {
                    Reply::Started => started = true,
                    Reply::Acked(offset) => acked = acked.max(offset),
                    Reply::Completed { id, file, digest } if id == parcel.id => {
                        return Ok((file, digest));
                    }
                    Reply::Refused(text) => return Err(text.into()),
                    Reply::Stored => self.stored.push(Instant::now()),
                    Reply::Completed { .. } | Reply::Connected(_) | Reply::Other => {}
                }
            }
        }
    }

    /// Waits until the server has said of so many files that they are stored; answers when it said so of each.
    ///
    /// # Errors
    /// When one is not.
    pub async fn until_stored(&mut self, files: usize) -> Result<&[Instant]> {
        while self.stored.len() < files {
            match next_reply(&mut self.pipe)? {
                Some(Reply::Stored) => self.stored.push(Instant::now()),
                Some(Reply::Refused(text)) => return Err(text.into()),
                Some(_) => {}
                None => self.pipe.read_more().await?,
            }
        }
        Ok(&self.stored)
    }
}

async fn upgrade(pipe: &mut Pipe, address: SocketAddr) -> Result<()> {
    let request = format!(
        "GET /ws HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n"
    );
    pipe.write_all(&[request.as_bytes()]).await?;
    loop {
        let input = pipe.input();
        if let Some(end) = input.windows(4).position(|four| four == b"\r\n\r\n") {
            if !input.starts_with(b"HTTP/1.1 101") {
                return Err(format!("no upgrade: {}", String::from_utf8_lossy(input)).into());
            }
            pipe.take(end + 4);
            return Ok(());
        }
        pipe.read_more().await?;
    }
}

/// The next frame of the input, if it is there wholly.
fn next_reply(pipe: &mut Pipe) -> Result<Option<Reply>> {
    let Some((kind, start, end)) = frame_of(pipe.input()) else {
        return Ok(None);
    };
    let payload = &pipe.input()[start..end];
    let reply = match kind {
        0x1 => read(payload)?,
        0x8 => return Err(format!("closed: {}", String::from_utf8_lossy(payload)).into()),
        // Pings need no answer within a benchmark's minute: everything that is sent is a sign of life.
        _ => Reply::Other,
    };
    pipe.take(end);
    Ok(Some(reply))
}

/// Kind, beginning and end of the payload of an unmasked frame: RFC 6455, section 5.2.
fn frame_of(input: &[u8]) -> Option<(u8, usize, usize)> {
    let (&first, &second) = (input.first()?, input.get(1)?);
    let (start, len): (usize, usize) = match second & 0x7f {
        126 => (
            4,
            usize::from(u16::from_be_bytes(input.get(2..4)?.try_into().ok()?)),
        ),
        127 => {
            let len = u64::from_be_bytes(input.get(2..10)?.try_into().ok()?);
            (10, usize::try_from(len).ok()?)
        }
        short => (2, usize::from(short)),
    };
    let end = start.checked_add(len)?;
    (input.len() >= end).then_some((first & 0x0f, start, end))
}

fn read(payload: &[u8]) -> Result<Reply> {
    // Several come with each file. They are not worth being read wholly.
    if payload.starts_with(br#"{"type":"notification""#) {
        let says = |event: &[u8]| payload.windows(event.len()).any(|part| part == event);
        if says(br#""event":"file.uploaded_successfully""#) {
            return Ok(Reply::Stored);
        }
        if says(br#""event":"file.upload_failed""#) {
            return Ok(Reply::Refused(
                String::from_utf8_lossy(payload).into_owned(),
            ));
        }
        return Ok(Reply::Other);
    }
    if payload.starts_with(br#"{"type":"error""#) {
        return Ok(Reply::Refused(
            String::from_utf8_lossy(payload).into_owned(),
        ));
    }
    let fields: Fields<'_> = serde_json::from_slice(payload)?;
    Ok(match (fields.r#type, fields.limits) {
        ("connected", Some(limits)) => Reply::Connected(limits),
        ("transfer-started", _) => Reply::Started,
        ("chunk-acked", _) => Reply::Acked(fields.offset),
        ("upload-completed", _) => Reply::Completed {
            id: fields.id,
            file: fields.file_id.unwrap_or_default().to_owned(),
            digest: fields.digest.unwrap_or_default().to_owned(),
        },
        _ => Reply::Other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_whole() {
        assert_eq!(frame_of(&[0x81]), None);
        assert_eq!(frame_of(&[0x81, 2, b'a']), None);
        assert_eq!(frame_of(&[0x81, 2, b'a', b'b', 0x81]), Some((1, 2, 4)));
        let mut long = vec![0x82, 126, 1, 0];
        long.extend([0; 256]);
        assert_eq!(frame_of(&long), Some((2, 4, 260)));
        assert_eq!(frame_of(&long[..259]), None);
    }

    #[test]
    fn replies_are_read() {
        let acked = br#"{"type":"chunk-acked","stream":1,"upload_id":"x","offset":11}"#;
        assert!(matches!(read(acked), Ok(Reply::Acked(11))));
        let error = br#"{"type":"error","id":1,"code":"storage-full"}"#;
        assert!(matches!(read(error), Ok(Reply::Refused(_))));
    }
}
