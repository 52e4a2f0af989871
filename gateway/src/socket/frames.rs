//! WebSocket frames of a server, encoded whole: a frame for many sockets is encoded once and shared.

use bytes::Bytes;
use tokio_tungstenite::tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Control, Data, OpCode},
};

/// Longest payload of a control frame, bytes (RFC 6455, 5.5).
const MAX_CONTROL: usize = 125;

/// A text message in one frame.
pub(crate) fn text(text: &str) -> Bytes {
    frame(OpCode::Data(Data::Text), &[text.as_bytes()])
}

/// A ping without payload.
pub(crate) fn ping() -> Bytes {
    frame(OpCode::Control(Control::Ping), &[])
}

/// The answer to a ping with this payload, which is no longer than a control frame's.
pub(crate) fn pong(payload: &[u8]) -> Bytes {
    frame(OpCode::Control(Control::Pong), &[payload])
}

/// A close; a reason that is too long for a control frame is cut.
pub(crate) fn close(code: Option<u16>, reason: &str) -> Bytes {
    let opcode = OpCode::Control(Control::Close);
    let Some(code) = code else {
        return frame(opcode, &[]);
    };
    let code = code.to_be_bytes();
    let end = reason.floor_char_boundary(MAX_CONTROL - code.len());
    frame(opcode, &[&code, &reason.as_bytes()[..end]])
}

fn frame(opcode: OpCode, payload: &[&[u8]]) -> Bytes {
    let header = FrameHeader {
        opcode,
        ..FrameHeader::default()
    };
    let len: usize = payload.iter().map(|part| part.len()).sum();
    let mut frame = Vec::with_capacity(header.len(len as u64) + len);
    // Writing to memory does not fail.
    let _ = header.format(len as u64, &mut frame);
    for part in payload {
        frame.extend_from_slice(part);
    }
    frame.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt;
    use tokio::io::AsyncWriteExt;
    use tokio_tungstenite::{
        WebSocketStream,
        tungstenite::{
            Message,
            protocol::{CloseFrame, Role},
        },
    };

    /// What a client reads.
    async fn read(frame: Bytes) -> Message {
        let (mut server, client) = tokio::io::duplex(1 << 20);
        server.write_all(&frame).await.unwrap();
        let mut client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        client.next().await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn clients_read_what_was_encoded() {
        for len in [0, 1, 125, 126, 65_535, 65_536, 100_000] {
            let message = "x".repeat(len);
            assert_eq!(read(text(&message)).await, Message::text(message));
        }
        assert_eq!(read(ping()).await, Message::Ping(Bytes::new()));
        let payload = Bytes::from_static(b"who is there");
        assert_eq!(read(pong(&payload)).await, Message::Pong(payload));
        assert_eq!(read(close(None, "")).await, Message::Close(None));
        for (reason, told) in [("bye", "bye".to_owned()), (&"é".repeat(70), "é".repeat(61))] {
            let code = 4401.into();
            let reason_told = told.into();
            let close = read(close(Some(4401), reason)).await;
            assert_eq!(
                close,
                Message::Close(Some(CloseFrame {
                    code,
                    reason: reason_told
                }))
            );
        }
    }

    #[test]
    fn a_frame_is_one_exact_allocation() {
        let frame = text(&"x".repeat(300));
        assert_eq!(frame.len(), 4 + 300);
        assert_eq!(frame.try_into_mut().unwrap().capacity(), 4 + 300);
    }
}
