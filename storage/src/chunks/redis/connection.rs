//! One connection that speaks Redis' protocol: <https://redis.io/docs/latest/develop/reference/protocol-spec/>, version 2.
//!
//! Content goes from where it lies to the socket, and from the socket to where it stays: nobody but the kernel copies it. (The
//! library copies what is sent three times, and what comes twice.) Calls go one behind the other, and so do the answers.

use super::{message::Message, trouble::Trouble};
use bytes::{Buf, BufMut, Bytes};
use redis::{ConnectionAddr, RedisResult, Value, parse_redis_value};
use rustls_platform_verifier::ConfigVerifierExt;
use std::{
    collections::VecDeque,
    io::{self, ErrorKind, IoSlice},
    path::Path,
    sync::Arc,
};
use tokio::{
    io::{
        AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt,
        BufReader,
    },
    net::{TcpStream, UnixStream},
    sync::{mpsc, oneshot},
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{ClientConfig, pki_types::ServerName},
};

/// Bytes read at once of what is small; what is larger is read to its place.
const READ: usize = 16 << 10;

/// Pieces written at once: beyond, a call of the kernel costs little beside what it does.
const WRITTEN: usize = 64;

/// Calls taken at once from those that wait.
const TAKEN: usize = 16;

/// Levels of lists within lists that an answer may have.
const DEPTH: u32 = 8;

/// A connection. Clones share it; it is closed when the last one is gone and everything is answered.
#[derive(Clone)]
pub(super) struct Connection {
    calls: mpsc::UnboundedSender<Call>,
}

type Answer = oneshot::Sender<Result<Vec<Value>, Trouble>>;

struct Call {
    message: Message,
    answer: Answer,
}

/// A call that was sent, or is being sent.
struct Sent {
    replies: usize,
    answer: Answer,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Connection {
    pub(super) async fn open(address: &ConnectionAddr) -> Result<Self, Trouble> {
        let stream: Box<dyn Stream> = match address {
            ConnectionAddr::Tcp(host, port) => Box::new(tcp(host, *port).await?),
            ConnectionAddr::TcpTls { host, port, .. } => Box::new(tls(host, *port).await?),
            ConnectionAddr::Unix(path) => Box::new(unix(path).await?),
            other => return Err(Trouble::Denied(format!("{other} can't be connected to"))),
        };
        let (calls, waiting) = mpsc::unbounded_channel();
        tokio::spawn(run(stream, waiting));
        Ok(Self { calls })
    }

    /// Sends a message; answers what Redis says to each command of it, refusals included.
    pub(super) async fn send(&self, message: Message) -> Result<Vec<Value>, Trouble> {
        let closed = || Trouble::Broken("it was closed".to_owned());
        let (answer, answered) = oneshot::channel();
        let call = Call { message, answer };
        self.calls.send(call).map_err(|_| closed())?;
        answered.await.map_err(|_| closed())?
    }
}

async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn unix(path: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(path).await
}

async fn tls(host: &str, port: u16) -> Result<TlsStream<TcpStream>, Trouble> {
    let wrong = |error: &dyn std::fmt::Display| Trouble::Denied(format!("TLS: {error}"));
    let config = ClientConfig::with_platform_verifier().map_err(|error| wrong(&error))?;
    let name = ServerName::try_from(host.to_owned()).map_err(|error| wrong(&error))?;
    let stream = tcp(host, port).await?;
    let connector = TlsConnector::from(Arc::new(config));
    Ok(connector.connect(name, stream).await?)
}

/// Writes calls and reads answers until nobody calls any more, or one of both fails.
async fn run(stream: Box<dyn Stream>, calls: mpsc::UnboundedReceiver<Call>) {
    let (reader, writer) = tokio::io::split(stream);
    let (sent, answers) = mpsc::unbounded_channel();
    let writing = async {
        if write(writer, calls, sent).await.is_ok() {
            // What was sent is still to be answered.
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = read(BufReader::with_capacity(READ, reader), answers) => {}
        () = writing => {}
    }
}

async fn write(
    mut stream: impl AsyncWrite + Unpin,
    mut calls: mpsc::UnboundedReceiver<Call>,
    sent: mpsc::UnboundedSender<Sent>,
) -> io::Result<()> {
    let mut taken = Vec::with_capacity(TAKEN);
    let mut pieces = VecDeque::new();
    while calls.recv_many(&mut taken, TAKEN).await > 0 {
        for Call { message, answer } in taken.drain(..) {
            let replies = message.replies();
            pieces.extend(message.into_pieces());
            // Who reads is there as long as this runs.
            let _ = sent.send(Sent { replies, answer });
        }
        write_all(&mut stream, &mut pieces).await?;
    }
    Ok(())
}

async fn write_all(
    stream: &mut (impl AsyncWrite + Unpin),
    pieces: &mut VecDeque<Bytes>,
) -> io::Result<()> {
    while !pieces.is_empty() {
        let mut slices = [IoSlice::new(&[]); WRITTEN];
        let count = pieces.len().min(WRITTEN);
        for (slice, piece) in slices.iter_mut().zip(pieces.iter()) {
            *slice = IoSlice::new(piece);
        }
        let mut written = stream.write_vectored(&slices[..count]).await?;
        if written == 0 {
            return Err(ErrorKind::WriteZero.into());
        }
        while let Some(first) = pieces.front_mut() {
            if written < first.len() {
                first.advance(written);
                break;
            }
            written -= first.len();
            pieces.pop_front();
        }
    }
    stream.flush().await
}

async fn read(
    mut stream: impl AsyncBufRead + Send + Unpin,
    mut sent: mpsc::UnboundedReceiver<Sent>,
) {
    while let Some(Sent { replies, answer }) = sent.recv().await {
        match read_values(&mut stream, replies, DEPTH).await {
            // The caller may have lost patience.
            Ok(values) => drop(answer.send(Ok(values))),
            Err(error) => {
                let trouble = Trouble::from(error);
                drop(answer.send(Err(trouble.clone())));
                while let Ok(other) = sent.try_recv() {
                    drop(other.answer.send(Err(trouble.clone())));
                }
                return;
            }
        }
    }
}

async fn read_values(
    stream: &mut (impl AsyncBufRead + Send + Unpin),
    count: usize,
    depth: u32,
) -> io::Result<Vec<Value>> {
    let mut values = Vec::with_capacity(count.min(1024));
    for _ in 0..count {
        values.push(read_value(stream, depth).await?);
    }
    Ok(values)
}

async fn read_value(
    stream: &mut (impl AsyncBufRead + Send + Unpin),
    depth: u32,
) -> io::Result<Value> {
    let mut line = Vec::new();
    stream.read_until(b'\n', &mut line).await?;
    if !line.ends_with(b"\n") {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    match line[0] {
        b'$' => match length(&line)? {
            Some(len) => Ok(Value::BulkString(read_content(stream, len).await?)),
            None => Ok(Value::Nil),
        },
        b'*' => match length(&line)? {
            Some(_) if depth == 0 => Err(strange("lists within lists")),
            Some(len) => {
                let values = Box::pin(read_values(stream, len, depth - 1)).await?;
                Ok(Value::Array(values))
            }
            None => Ok(Value::Nil),
        },
        _ => {
            let value: RedisResult<Value> = parse_redis_value(&line);
            value.map_err(|error| strange(&error.to_string()))
        }
    }
}

/// The length that a line tells, if there is something.
fn length(line: &[u8]) -> io::Result<Option<usize>> {
    let number = std::str::from_utf8(&line[1..]).map(str::trim_end);
    match number.map(str::parse::<i64>) {
        Ok(Ok(-1)) => Ok(None),
        Ok(Ok(number)) => usize::try_from(number)
            .map(Some)
            .map_err(|_| strange("a length below zero")),
        _ => Err(strange("a length that is no number")),
    }
}

async fn read_content(
    stream: &mut (impl AsyncBufRead + Send + Unpin),
    len: usize,
) -> io::Result<Vec<u8>> {
    let end = len + 2;
    let mut content = Vec::with_capacity(end);
    while content.len() < end {
        let room = end - content.len();
        if stream.read_buf(&mut (&mut content).limit(room)).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
    content.truncate(len);
    Ok(content)
}

fn strange(what: &str) -> io::Error {
    io::Error::new(
        ErrorKind::InvalidData,
        format!("an answer makes no sense: {what}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::io::DuplexStream;

    fn connected() -> (Connection, DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(64);
        let (calls, waiting) = mpsc::unbounded_channel();
        tokio::spawn(run(Box::new(ours), waiting));
        (Connection { calls }, theirs)
    }

    fn ping() -> Message {
        Message::from(redis::cmd("PING"))
    }

    #[tokio::test]
    async fn answers_are_read_whatever_they_are_and_however_they_are_cut() {
        let answers = b"+OK\r\n:-7\r\n$-1\r\n$5\r\na\r\nbc\r\n*2\r\n:1\r\n*1\r\n$0\r\n\r\n-OOM it is full\r\n";
        let (connection, mut server) = connected();
        let mut message = ping();
        (0..5).for_each(|_| message.add(&redis::cmd("PING")));
        let called = tokio::spawn(async move { connection.send(message).await });
        for piece in answers.chunks(3) {
            server.write_all(piece).await.expect("it is read");
            tokio::task::yield_now().await;
        }
        let mut asked = vec![0; 6 * 14];
        server.read_exact(&mut asked).await.expect("it was sent");
        assert!(asked.starts_with(b"*1\r\n$4\r\nPING\r\n*1\r\n"));
        let mut values = called.await.expect("it ends").expect("all were answered");
        let refused = values.pop().expect("there are six").extract_error();
        assert_eq!(refused.expect_err("it is an error").code(), Some("OOM"));
        let nested = Value::Array(vec![Value::BulkString(Vec::new())]);
        assert_eq!(
            values,
            [
                Value::Okay,
                Value::Int(-7),
                Value::Nil,
                Value::BulkString(b"a\r\nbc".to_vec()),
                Value::Array(vec![Value::Int(1), nested]),
            ]
        );
    }

    #[tokio::test]
    async fn all_that_wait_are_told_that_it_broke() {
        for end in [&b""[..], b"$7\r\nab", b"?\r\n", b"$x\r\n"] {
            let (connection, mut server) = connected();
            let both = async { tokio::join!(connection.send(ping()), connection.send(ping())) };
            let breaking = async {
                server.write_all(end).await.expect("it is read");
                tokio::time::sleep(Duration::from_millis(5)).await;
                drop(server);
            };
            let ((first, second), ()) = tokio::join!(both, breaking);
            for answer in [first, second, connection.send(ping()).await] {
                assert!(matches!(answer, Err(Trouble::Broken(_))), "{answer:?}");
            }
        }
    }
}
