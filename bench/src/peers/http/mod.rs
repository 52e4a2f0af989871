//! An HTTP/1.1 client that costs next to nothing: prebuilt bodies leave in vectored writes, answers are read into one buffer.

mod head;

pub(crate) use head::{Head, Length};

use crate::upload::pipe::Pipe;
use bytes::Bytes;
use std::{io, net::SocketAddr};

/// The longest answer without its body.
const MAX_HEAD_BYTES: usize = 16 << 10;

/// A connection that is kept alive; one request at a time.
#[derive(Debug)]
pub(crate) struct Connection {
    pipe: Pipe,
}

impl Connection {
    /// Connects to a server.
    pub(crate) async fn open(server: SocketAddr) -> io::Result<Self> {
        Ok(Self {
            pipe: Pipe::connect(server).await?,
        })
    }

    /// Sends a request and reads the answer, the body of which is thrown away.
    pub(crate) async fn call(&mut self, head: &[u8], body: &[u8]) -> io::Result<Head> {
        let sent = self.pipe.write_all(&[head, body]).await;
        // A server that refuses a body says why before it closes.
        let answer = match self.head().await {
            Ok(answer) => answer,
            Err(error) => return Err(sent.err().unwrap_or(error)),
        };
        self.body(answer.length, |_| ()).await?;
        Ok(answer)
    }

    /// Sends a request without a body and passes the answer's body on as it comes. Returns the answer and how long its body
    /// was.
    pub(crate) async fn get(
        &mut self,
        head: &[u8],
        each: impl FnMut(&[u8]),
    ) -> io::Result<(Head, u64)> {
        self.pipe.write_all(&[head]).await?;
        let answer = self.head().await?;
        let length = self.body(answer.length, each).await?;
        Ok((answer, length))
    }

    /// What is at this path, as a whole.
    pub(crate) async fn fetch(&mut self, path: &str, host: SocketAddr) -> io::Result<Bytes> {
        let mut content = Vec::new();
        let head = get_request(path, host, None);
        let (answer, _) = self
            .get(&head, |piece| content.extend_from_slice(piece))
            .await?;
        match answer.status {
            200 => Ok(content.into()),
            status => Err(refused("GET", status)),
        }
    }

    async fn head(&mut self) -> io::Result<Head> {
        loop {
            if let Some((head, length)) = Head::parse(self.pipe.input())? {
                self.pipe.take(length);
                // `100 Continue` and its like stand before the answer.
                if head.status >= 200 {
                    return Ok(head);
                }
            } else if self.pipe.input().len() >= MAX_HEAD_BYTES {
                return Err(invalid("an answer without an end of its headers"));
            } else {
                self.pipe.read_more().await?;
            }
        }
    }

    async fn body(&mut self, length: Length, mut each: impl FnMut(&[u8])) -> io::Result<u64> {
        match length {
            Length::Known(length) => {
                self.exactly(length, &mut each).await?;
                Ok(length)
            }
            Length::Chunked => self.chunked(&mut each).await,
        }
    }

    async fn exactly(&mut self, mut missing: u64, each: &mut impl FnMut(&[u8])) -> io::Result<()> {
        while missing > 0 {
            let input = self.pipe.input();
            let here = usize::try_from(missing)
                .unwrap_or(usize::MAX)
                .min(input.len());
            if here == 0 {
                missing -= self.pipe.read_through(missing, each).await?;
            } else {
                each(&input[..here]);
                self.pipe.take(here);
                missing -= here as u64;
            }
        }
        Ok(())
    }

    async fn chunked(&mut self, each: &mut impl FnMut(&[u8])) -> io::Result<u64> {
        let mut length = 0;
        loop {
            let chunk = self.chunk_length().await?;
            self.exactly(chunk, each).await?;
            // After the last one: no trailers, as no server here sends any.
            self.exactly(2, &mut |_| ()).await?;
            if chunk == 0 {
                return Ok(length);
            }
            length += chunk;
        }
    }

    async fn chunk_length(&mut self) -> io::Result<u64> {
        loop {
            let input = self.pipe.input();
            if let Some(at) = input.windows(2).position(|end| end == b"\r\n") {
                let length = head::chunk_length(&input[..at])?;
                self.pipe.take(at + 2);
                return Ok(length);
            }
            if input.len() > 100 {
                return Err(invalid("a chunk without a length"));
            }
            self.pipe.read_more().await?;
        }
    }
}

/// A request for what is at this path.
pub(crate) fn get_request(path: &str, host: SocketAddr, token: Option<&str>) -> Vec<u8> {
    let authorization = token
        .map(|token| format!("Authorization: Bearer {token}\r\n"))
        .unwrap_or_default();
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{authorization}\r\n").into_bytes()
}

/// The error of an answer with a status that was not hoped for.
pub(crate) fn refused(method: &str, status: u16) -> io::Error {
    io::Error::other(format!("a {method} was answered with {status}"))
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    /// A connection to a server that answers whatever it is asked with these pieces, and what it was sent.
    async fn answered(pieces: &'static [&'static str]) -> Connection {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut asked = [0; 1024];
            while socket.read(&mut asked).await.unwrap() > 0 {
                for piece in pieces {
                    socket.write_all(piece.as_bytes()).await.unwrap();
                    tokio::task::yield_now().await;
                }
            }
        });
        Connection::open(address).await.unwrap()
    }

    #[tokio::test]
    async fn answers_of_every_kind_on_one_connection() {
        let table: [(&'static [&'static str], u16, &str); 4] = [
            (&["HTTP/1.1 204 No Content\r\n\r\n"], 204, ""),
            (
                &["HTTP/1.1 200 OK\r\nContent-", "Length: 5\r\n\r\nab", "cde"],
                200,
                "abcde",
            ),
            (
                &[
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r",
                    "\nabc\r\n2\r\nde\r\n0\r",
                    "\n\r\n",
                ],
                200,
                "abcde",
            ),
            (
                &["HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 \r\nContent-Length: 0\r\n\r\n"],
                201,
                "",
            ),
        ];
        for (pieces, status, content) in table {
            let mut connection = answered(pieces).await;
            for _ in 0..2 {
                let mut read = Vec::new();
                let (head, length) = connection
                    .get(b"GET / HTTP/1.1\r\n\r\n", |piece| {
                        read.extend_from_slice(piece);
                    })
                    .await
                    .unwrap();
                assert_eq!((head.status, length), (status, content.len() as u64));
                assert_eq!(read, content.as_bytes());
            }
        }
    }

    #[tokio::test]
    async fn a_body_is_more_than_the_connection_takes_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let body = vec![7; 20 << 20];
        let length = body.len();
        let server = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut got = vec![0; 4 + length];
            socket.read_exact(&mut got).await.unwrap();
            socket
                .write_all(b"HTTP/1.1 201 Created\r\n\r\n")
                .await
                .unwrap();
            got
        });
        let mut connection = Connection::open(address).await.unwrap();
        assert_eq!(connection.call(b"head", &body).await.unwrap().status, 201);
        let got = server.await.unwrap();
        assert_eq!((&got[..4], &got[4..]), (&b"head"[..], &body[..]));
    }
}
