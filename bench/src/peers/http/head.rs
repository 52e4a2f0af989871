//! Reads the head of an answer, as far as the benchmark needs it.

use super::invalid;
use std::io;

/// What stands before the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    /// Such as 200.
    pub(crate) status: u16,
    /// How long the body is.
    pub(crate) length: Length,
    /// Where a created resource is: a path, or a URL.
    pub(crate) location: Option<String>,
    /// How much of an upload is there, by the protocol of tus.
    pub(crate) upload_offset: Option<u64>,
}

/// How the end of a body is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    /// It has so many bytes.
    Known(u64),
    /// It comes in chunks that say how long they are.
    Chunked,
}

impl Head {
    /// The head at the beginning of these bytes and its own length; nothing if it has not arrived as a whole.
    pub(super) fn parse(bytes: &[u8]) -> io::Result<Option<(Self, usize)>> {
        let Some(end) = bytes.windows(4).position(|end| end == b"\r\n\r\n") else {
            return Ok(None);
        };
        let text = std::str::from_utf8(&bytes[..end])
            .map_err(|_| invalid("an answer with headers that are not text"))?;
        let mut lines = text.split("\r\n");
        let status = lines
            .next()
            .and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok())
            .ok_or_else(|| invalid("an answer that is not HTTP/1.1"))?;
        let mut head = Self {
            status,
            length: Length::Known(0),
            location: None,
            upload_offset: None,
        };
        for line in lines {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            head.take(name, value.trim())?;
        }
        Ok(Some((head, end + 4)))
    }

    fn take(&mut self, name: &str, value: &str) -> io::Result<()> {
        if name.eq_ignore_ascii_case("content-length") {
            let length = value
                .parse()
                .map_err(|_| invalid("a length that is none"))?;
            self.length = Length::Known(length);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            self.length = Length::Chunked;
        } else if name.eq_ignore_ascii_case("location") {
            self.location = Some(value.to_owned());
        } else if name.eq_ignore_ascii_case("upload-offset") {
            self.upload_offset = value.parse().ok();
        }
        Ok(())
    }

    /// The path of the location, whether or not it came with a host.
    pub(crate) fn location_path(&self) -> Option<&str> {
        let location = self.location.as_deref()?;
        let Some((_, rest)) = location.split_once("://") else {
            return Some(location);
        };
        rest.find('/').map(|at| &rest[at..])
    }
}

/// The length that a chunk's first line says.
pub(super) fn chunk_length(line: &[u8]) -> io::Result<u64> {
    std::str::from_utf8(line)
        .ok()
        .and_then(|line| u64::from_str_radix(line.split(';').next()?.trim(), 16).ok())
        .ok_or_else(|| invalid("a chunk without a length"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads() {
        let table = [
            ("HTTP/1.1 204 No Content\r\n\r\n", 204, Length::Known(0)),
            (
                "HTTP/1.1 201 \r\nContent-Length: 7\r\n\r\n",
                201,
                Length::Known(7),
            ),
            (
                "HTTP/1.1 200 OK\r\nx: y\r\ntransfer-encoding: chunked\r\n\r\n",
                200,
                Length::Chunked,
            ),
        ];
        for (text, status, length) in table {
            let more = format!("{text}body");
            let (head, used) = Head::parse(more.as_bytes()).unwrap().unwrap();
            assert_eq!(
                (head.status, head.length, used),
                (status, length, text.len())
            );
        }
    }

    #[test]
    fn heads_that_are_not_whole() {
        let whole = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n";
        for length in 0..whole.len() {
            assert_eq!(Head::parse(&whole.as_bytes()[..length]).unwrap(), None);
        }
    }

    #[test]
    fn what_is_no_answer() {
        for text in [
            "\r\n\r\n",
            "HTTP/1.0 200 OK\r\n\r\n",
            "HTTP/1.1 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        ] {
            assert!(Head::parse(text.as_bytes()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn paths_of_locations() {
        for (location, path) in [
            ("/files/1", Some("/files/1")),
            ("http://127.0.0.1:1080/files/1", Some("/files/1")),
            ("http://host", None),
        ] {
            let text = format!("HTTP/1.1 201 Created\r\nLocation: {location}\r\n\r\n");
            let (head, _) = Head::parse(text.as_bytes()).unwrap().unwrap();
            assert_eq!(head.location_path(), path);
        }
    }

    #[test]
    fn lengths_of_chunks() {
        assert_eq!(chunk_length(b"1F").unwrap(), 31);
        assert_eq!(chunk_length(b"0;x=y").unwrap(), 0);
        assert!(chunk_length(b"").is_err());
        assert!(chunk_length(b"g").is_err());
    }
}
