//! What the reader makes of frames, in every cut, compared with what tungstenite makes of them.

mod oracle;

use super::*;
use crate::pool::ALIGNMENT;
use futures::poll;
use protocol::frame::HEADER_LEN;
use std::{collections::VecDeque, future::poll_fn, io};
use tokio::io::{AsyncWriteExt, DuplexStream};

const LIMIT: usize = 100 << 10;

/// A line whose bytes come in pieces, with a wait before each.
struct Pieces {
    pieces: VecDeque<Vec<u8>>,
    waited: bool,
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.waited = !self.waited;
        if self.waited {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(mut piece) = self.pieces.pop_front() {
            let rest = piece.split_off(piece.len().min(buf.remaining()));
            buf.put_slice(&piece);
            if !rest.is_empty() {
                self.pieces.push_front(rest);
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// A frame as a client sends it: the first byte as it is, the payload masked.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let key = [0x11, 0x22, 0x44, 0x88];
    let mut frame = vec![first];
    match payload.len() {
        len @ ..126 => frame.push(0x80 | u8::try_from(len).unwrap()),
        len @ ..65536 => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(len).unwrap().to_be_bytes());
        }
        len => {
            frame.push(0x80 | 127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.extend(key);
    let from = frame.len();
    frame.extend(payload);
    unmask(&mut frame[from..], key);
    frame
}

/// All that is heard of a stream of bytes, and how it ends.
async fn read_all(pieces: Vec<Vec<u8>>, pool: Pool) -> (Vec<Heard>, Fault) {
    let pieces = pieces.into_iter().filter(|piece| !piece.is_empty());
    let io = Pieces {
        pieces: pieces.collect(),
        waited: false,
    };
    let mut reader = Reader::new(io, Bytes::new(), pool);
    let mut heard = Vec::new();
    loop {
        match poll_fn(|cx| reader.poll_next(LIMIT, cx)).await {
            Ok(Heard::Binary(message)) => {
                // A copy, so that the pool has its buffer back.
                heard.push(Heard::Binary(Bytes::copy_from_slice(&message)));
            }
            Ok(closing @ Heard::Close(_)) => {
                heard.push(closing);
                return (heard, Fault::Gone);
            }
            Ok(other) => heard.push(other),
            Err(fault) => return (heard, fault),
        }
    }
}

async fn read(bytes: &[u8]) -> (Vec<Heard>, Fault) {
    read_all(vec![bytes.to_vec()], Pool::new(1 << 20, LIMIT)).await
}

#[tokio::test]
async fn each_error_is_found() {
    let unmasked = vec![0x82, 1, 7];
    let huge = vec![
        0x82,
        0x80 | 127,
        0xff,
        0xff,
        0xff,
        0xff,
        0xff,
        0xff,
        0xff,
        0xff,
        0,
        0,
        0,
        0,
    ];
    let too_big_in_parts = [frame(0x02, &[0; LIMIT]), frame(0x80, &[0])].concat();
    for (what, bytes, fault) in [
        ("a reserved opcode", frame(0x83, b""), Fault::Malformed),
        (
            "a reserved control opcode",
            frame(0x8b, b""),
            Fault::Malformed,
        ),
        ("a reserved bit", frame(0xc2, b"x"), Fault::Malformed),
        ("no mask", unmasked, Fault::Malformed),
        ("a ping in parts", frame(0x09, b"x"), Fault::Malformed),
        ("a long ping", frame(0x89, &[0; 126]), Fault::Malformed),
        ("a close of one byte", frame(0x88, &[3]), Fault::Malformed),
        (
            "a close with a bad reason",
            frame(0x88, &[3, 232, 0xff]),
            Fault::Malformed,
        ),
        (
            "a continuation of nothing",
            frame(0x80, b"x"),
            Fault::Malformed,
        ),
        (
            "a message in a message",
            [frame(0x01, b"x"), frame(0x81, b"x")].concat(),
            Fault::Malformed,
        ),
        (
            "a text that is no UTF-8",
            frame(0x81, &[0xc3, 0x28]),
            Fault::Malformed,
        ),
        (
            "a beginning that is no UTF-8",
            frame(0x01, &[0xff]),
            Fault::Malformed,
        ),
        (
            "a text that ends in a character",
            frame(0x81, &[0xc3]),
            Fault::Malformed,
        ),
        (
            "a message too big",
            frame(0x82, &[0; LIMIT + 1]),
            Fault::TooBig,
        ),
        ("a message too big for any memory", huge, Fault::TooBig),
        (
            "a message too big in parts",
            too_big_in_parts,
            Fault::TooBig,
        ),
        ("half a header", vec![0x82], Fault::Gone),
        (
            "half a payload",
            frame(0x82, b"xy")[..7].to_vec(),
            Fault::Gone,
        ),
    ] {
        assert_eq!(read(&bytes).await, (Vec::new(), fault), "{what}");
    }
}

#[tokio::test]
async fn messages_are_put_together_and_control_frames_come_between() {
    let bytes = [
        frame(0x01, "é".as_bytes().split_at(1).0),
        frame(0x89, b"ping"),
        frame(0x80, "é".as_bytes().split_at(1).1),
        frame(0x8a, b"pong"),
        frame(0x02, b""),
        frame(0x80, b"bytes"),
        frame(0x82, &[7; LIMIT]),
        frame(0x81, b""),
        frame(0x88, &[0x0f, 0xa0, b'b', b'y', b'e']),
        frame(0x82, b"after the close"),
    ];
    let expected = vec![
        Heard::Ping(b"ping".to_vec()),
        Heard::Text("é".to_owned()),
        Heard::Pong,
        Heard::Binary(Bytes::from_static(b"bytes")),
        Heard::Binary(vec![7; LIMIT].into()),
        Heard::Text(String::new()),
        Heard::Close(Some(4000)),
    ];
    assert_eq!(read(&bytes.concat()).await, (expected, Fault::Gone));
}

#[tokio::test]
async fn a_close_is_answered_with_a_code_that_makes_sense() {
    for (payload, code) in [
        (&[][..], None),
        (&[0x03, 0xe8], Some(1000)),
        (&[0x0f, 0xa1], Some(4001)),
        (&[0x03, 0xed], Some(1002)),
        (&[0x00, 0x01], Some(1002)),
    ] {
        let heard = read(&frame(0x88, payload)).await.0;
        assert_eq!(heard, [Heard::Close(code)]);
    }
}

/// A reader and the line to it, which holds `room` bytes.
fn line(room: usize, pool: &Pool) -> (Reader<DuplexStream>, DuplexStream) {
    let (ours, theirs) = tokio::io::duplex(room);
    (Reader::new(ours, Bytes::new(), pool.clone()), theirs)
}

async fn next(reader: &mut Reader<DuplexStream>) -> Poll<Result<Heard, Fault>> {
    poll!(poll_fn(|cx| reader.poll_next(LIMIT, cx)))
}

fn binary(heard: Poll<Result<Heard, Fault>>) -> Bytes {
    match heard {
        Poll::Ready(Ok(Heard::Binary(message))) => message,
        other => panic!("no binary message: {other:?}"),
    }
}

#[tokio::test]
async fn the_payload_of_a_chunk_is_aligned_and_nothing_is_held_between_messages() {
    let pool = Pool::new(1 << 20, LIMIT);
    let (mut reader, mut client) = line(1 << 20, &pool);
    for len in [SMALL + 1, 64 << 10, LIMIT, SMALL + 1] {
        client.write_all(&frame(0x82, &vec![1; len])).await.unwrap();
        client.write_all(&frame(0x8a, b"")).await.unwrap();
        let payload = binary(next(&mut reader).await).slice(HEADER_LEN..);
        assert_eq!(payload.as_ptr().align_offset(ALIGNMENT), 0, "{len}");
        assert!(matches!(
            next(&mut reader).await,
            Poll::Ready(Ok(Heard::Pong))
        ));
        assert!(next(&mut reader).await.is_pending());
        assert!(reader.message.is_none() && reader.frame.is_none());
        assert!(reader.ahead.is_empty() && reader.control.capacity() == 0);
    }
}

#[tokio::test]
async fn who_finds_no_room_is_not_read_until_there_is() {
    let large = Pool::kind_for(LIMIT);
    let pool = Pool::new(Pool::new(0, LIMIT).size_of(large), LIMIT);
    let (mut first, mut first_client) = line(1 << 20, &pool);
    let (mut second, mut second_client) = line(1 << 20, &pool);
    for client in [&mut first_client, &mut second_client] {
        client.write_all(&frame(0x82, &[1; LIMIT])).await.unwrap();
    }
    let message = binary(next(&mut first).await);
    assert!(next(&mut second).await.is_pending());
    assert!(second.waits_for_room());
    let waited_from = second.read_at();
    drop(message);
    assert_eq!(binary(next(&mut second).await).len(), LIMIT);
    assert!(!second.waits_for_room() && second.read_at() > waited_from);
}

#[tokio::test]
async fn a_slow_sender_keeps_no_buffer_from_others() {
    let large = Pool::kind_for(LIMIT);
    let pool = Pool::new(Pool::new(0, LIMIT).size_of(large), LIMIT);
    let (mut slow, mut slow_client) = line(1 << 20, &pool);
    let (mut quick, mut quick_client) = line(1 << 20, &pool);
    let message = frame(0x82, &[1; LIMIT]);
    let (now, later) = message.split_at(LIMIT / 2);
    slow_client.write_all(now).await.unwrap();
    assert!(next(&mut slow).await.is_pending());
    assert!(slow.patience_ends().is_some_and(|at| at > Instant::now()));
    slow.let_go_if_slow();
    quick_client.write_all(&message).await.unwrap();
    assert!(next(&mut quick).await.is_pending(), "it has its time");

    slow.message.as_mut().unwrap().begun -= PATIENCE;
    slow.let_go_if_slow();
    assert_eq!(slow.patience_ends(), None);
    drop(binary(next(&mut quick).await));
    // What it sends next is held as it comes, until it is quick again.
    for (rest, is_slow) in [(later, true), (&message, false)] {
        slow_client.write_all(rest).await.unwrap();
        assert_eq!(binary(next(&mut slow).await), vec![1; LIMIT]);
        assert_eq!(slow.is_slow, is_slow);
    }
}
