//! What a socket of a swarm sends, built ahead, and what it hears, read in place.

use crate::{
    Result,
    upload::{body::Body, frames::text},
};
use bytes::Bytes;
use protocol::{SUBPROTOCOL, message::ClientMessage};

/// Text frames.
pub(crate) const TEXT: u8 = 1;
/// The end.
pub(crate) const CLOSE: u8 = 8;
/// A question whether the other side lives.
pub(crate) const PING: u8 = 9;

/// A whole text frame from a server.
pub(crate) fn from_server(text: &str) -> Vec<u8> {
    let mut frame = vec![0x80 | TEXT];
    let len = text.len();
    match (u8::try_from(len), u16::try_from(len)) {
        (Ok(short), _) if short < 126 => frame.push(short),
        (_, Ok(medium)) => {
            frame.push(126);
            frame.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            frame.push(127);
            frame.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(text.as_bytes());
    frame
}

/// A frame of a server that has come whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Whole<'a> {
    pub(crate) opcode: u8,
    pub(crate) payload: &'a [u8],
    /// With its header.
    pub(crate) len: usize,
}

/// The frame that these bytes begin with, if it is whole.
pub(crate) fn first(bytes: &[u8]) -> Option<Whole<'_>> {
    let (&[first, second], rest) = bytes.split_first_chunk()?;
    let (len, header): (usize, usize) = match second & 0x7f {
        126 => (usize::from(u16::from_be_bytes(*rest.first_chunk()?)), 4),
        127 => {
            let len = u64::from_be_bytes(*rest.first_chunk()?);
            (usize::try_from(len).ok()?, 10)
        }
        len => (usize::from(len), 2),
    };
    Some(Whole {
        opcode: first & 0x0f,
        payload: bytes.get(header..header.checked_add(len)?)?,
        len: header + len,
    })
}

/// The request that makes a connection a WebSocket.
pub(crate) fn upgrade() -> Bytes {
    format!(
        "GET /ws HTTP/1.1\r\nhost: bench\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         sec-websocket-protocol: {SUBPROTOCOL}\r\n\r\n"
    )
    .into()
}

/// The `connect` of a session.
pub(crate) fn connect(token: &str) -> Result<Bytes> {
    message(&format!(
        r#"{{"type":"connect","id":1,"access_token":"{token}"}}"#
    ))
}

/// All frames of a file, from its start to its end; it must fit into the window of a stream. The stream's number is free again when
/// the upload is over, so the same bytes can be sent again and again.
pub(crate) fn upload(body: &Body) -> Result<Bytes> {
    let size = body.plain().len();
    let start =
        format!(r#"{{"type":"start-transfer","id":2,"stream":1,"name":"file.bin","size":{size}}}"#);
    let end = format!(
        r#"{{"type":"complete-upload","id":3,"stream":1,"digest":"{}"}}"#,
        body.digest()
    );
    let parts = [&message(&start)?, body.frames().all(), &message(&end)?];
    Ok(parts.concat().into())
}

fn message(json: &str) -> Result<Bytes> {
    let message = ClientMessage::parse(json).map_err(|error| format!("{json}: {error:?}"))?;
    Ok(text(&message).into())
}

/// Whether a message of a server is of this type: the type comes first.
pub(crate) fn is(text: &[u8], kind: &str) -> bool {
    let rest = text.strip_prefix(br#"{"type":""#);
    rest.and_then(|rest| rest.strip_prefix(kind.as_bytes()))
        .is_some_and(|rest| rest.first() == Some(&b'"'))
}

/// Whether a notification is of this event.
pub(crate) fn tells(text: &[u8], event: &str) -> bool {
    let key = br#""event":""#;
    let place = text.windows(key.len()).position(|at| at == key);
    place.is_some_and(|place| text[place + key.len()..].starts_with(event.as_bytes()))
}

/// The number of a notification.
pub(crate) fn offset(text: &[u8]) -> Option<u64> {
    let key = br#""offset":"#;
    let place = text.windows(key.len()).position(|at| at == key)?;
    let digits = text[place + key.len()..].iter();
    let digits = digits.take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_found_once_it_is_whole() {
        for len in [0, 1, 125, 126, 65_535, 65_536] {
            let mut bytes = from_server(&"x".repeat(len));
            let whole = bytes.len();
            bytes.extend_from_slice(b"next");
            let found = first(&bytes).expect("a frame");
            let parts = (found.opcode, found.payload.len(), found.len);
            assert_eq!(parts, (TEXT, len, whole));
            assert_eq!(first(&bytes[..whole - 1]), None);
        }
        assert_eq!(first(&[]), None);
    }

    #[test]
    fn messages_are_told_apart() {
        let text = br#"{"type":"notification","epoch":"e","offset":17,"event":"file.cached"}"#;
        assert!(is(text, "notification") && !is(text, "not") && !is(text, "connected"));
        assert!(tells(text, "file.cached") && !tells(text, "file.stored"));
        assert_eq!(offset(text), Some(17));
        assert_eq!(offset(b"{}"), None);
    }
}
