//! The texts of NATS's protocol, as far as the benchmark speaks it. <https://docs.nats.io/reference/reference-protocols/nats-protocol>

use base64::{Engine, engine::general_purpose::URL_SAFE};
use serde_json::json;
use std::{io, ops::Range};

/// The longest line of a server, which is `INFO`.
const MAX_LINE_BYTES: usize = 64 << 10;

/// What a server says. The ranges are of the bytes that were parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Message {
    /// `MSG` or `HMSG`.
    Data {
        /// Empty where there are none.
        headers: Range<usize>,
        payload: Range<usize>,
    },
    Ping,
    Pong,
    /// `INFO`, `+OK`.
    Other,
}

/// The message at the beginning of these bytes and its length; nothing if it has not arrived as a whole.
pub(super) fn parse(bytes: &[u8]) -> io::Result<Option<(Message, usize)>> {
    let Some(end) = bytes.windows(2).position(|end| end == b"\r\n") else {
        if bytes.len() > MAX_LINE_BYTES {
            return Err(invalid("a line without an end"));
        }
        return Ok(None);
    };
    let line =
        std::str::from_utf8(&bytes[..end]).map_err(|_| invalid("a line that is not text"))?;
    let mut words = line.split_ascii_whitespace();
    let after = end + 2;
    let message = match words.next() {
        Some("MSG") => return data(line, after, bytes.len(), false),
        Some("HMSG") => return data(line, after, bytes.len(), true),
        Some("PING") => Message::Ping,
        Some("PONG") => Message::Pong,
        Some("-ERR") => return Err(io::Error::other(format!("NATS: {line}"))),
        _ => Message::Other,
    };
    Ok(Some((message, after)))
}

/// `MSG <subject> <sid> [reply] <bytes>` or `HMSG <subject> <sid> [reply] <bytes of headers> <bytes of both>`.
fn data(
    line: &str,
    start: usize,
    here: usize,
    with_headers: bool,
) -> io::Result<Option<(Message, usize)>> {
    let mut lengths = line.rsplit(' ').map(|word| word.parse::<usize>().ok());
    let total = lengths.next().flatten();
    let headers = if with_headers {
        lengths.next().flatten()
    } else {
        Some(0)
    };
    let (Some(total), Some(headers)) = (total, headers) else {
        return Err(invalid("a message without a length"));
    };
    if headers > total {
        return Err(invalid("headers that are longer than their message"));
    }
    let end = start + total;
    let message = Message::Data {
        headers: start..start + headers,
        payload: start + headers..end,
    };
    Ok((here >= end + 2).then_some((message, end + 2)))
}

/// The number in the stream of a message that was read directly.
pub(super) fn sequence(headers: &[u8]) -> Option<u64> {
    std::str::from_utf8(headers)
        .ok()?
        .lines()
        .find_map(|line| line.strip_prefix("Nats-Sequence:")?.trim().parse().ok())
}

/// The message that describes an object; it replaces an earlier one of the same name.
pub(super) fn describe(
    bucket: &str,
    name: &str,
    id: &str,
    content: &[u8],
    chunk_bytes: usize,
    sha256: &[u8; 32],
    inbox: &str,
) -> String {
    let body = json!({
        "name": name, "bucket": bucket, "nuid": id, "size": content.len(), "mtime": "0001-01-01T00:00:00Z",
        "chunks": content.len().div_ceil(chunk_bytes), "options": {"max_chunk_size": chunk_bytes},
        "digest": format!("SHA-256={}", URL_SAFE.encode(sha256)),
    })
    .to_string();
    let headers = "NATS/1.0\r\nNats-Rollup: sub\r\n\r\n";
    format!(
        "HPUB $O.{bucket}.M.{} {inbox}.m {} {}\r\n{headers}{body}\r\n",
        URL_SAFE.encode(name),
        headers.len(),
        headers.len() + body.len()
    )
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages() {
        let table = [
            ("INFO {\"x\":1}\r\n", Message::Other),
            ("+OK\r\n", Message::Other),
            ("PING\r\n", Message::Ping),
            ("PONG\r\n", Message::Pong),
            (
                "MSG a.b 1 3\r\nabc\r\n",
                Message::Data {
                    headers: 13..13,
                    payload: 13..16,
                },
            ),
            (
                "MSG a.b 1 reply 0\r\n\r\n",
                Message::Data {
                    headers: 19..19,
                    payload: 19..19,
                },
            ),
            (
                "HMSG a 1 12 14\r\nNATS/1.0\r\n\r\nab\r\n",
                Message::Data {
                    headers: 16..28,
                    payload: 28..30,
                },
            ),
        ];
        for (text, message) in table {
            for length in 0..text.len() {
                assert_eq!(parse(&text.as_bytes()[..length]).unwrap(), None, "{text:?}");
            }
            let more = format!("{text}PING\r\n");
            assert_eq!(parse(more.as_bytes()).unwrap(), Some((message, text.len())));
        }
    }

    #[test]
    fn what_is_refused() {
        for text in ["-ERR 'x'\r\n", "MSG a 1 x\r\n", "HMSG a 1 5 4\r\n"] {
            assert!(parse(text.as_bytes()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn numbers_of_messages() {
        let headers = b"NATS/1.0\r\nNats-Stream: OBJ_x\r\nNats-Sequence: 17\r\n\r\n";
        assert_eq!(sequence(headers), Some(17));
        assert_eq!(sequence(b"NATS/1.0 404 Message Not Found\r\n\r\n"), None);
    }

    #[test]
    fn descriptions() {
        let text = describe("b", "n", "id", &[0; 5], 2, &[0; 32], "_INBOX.1");
        let (head, rest) = text.split_once("\r\n").unwrap();
        let (first, lengths) = head.split_once(".m ").unwrap();
        assert_eq!(first, "HPUB $O.b.M.bg== _INBOX.1");
        let total = rest.len() - 2;
        assert_eq!(
            lengths,
            format!("{} {total}", "NATS/1.0\r\nNats-Rollup: sub\r\n\r\n".len())
        );
        assert!(rest.contains("\"chunks\":3"), "{rest}");
    }
}
