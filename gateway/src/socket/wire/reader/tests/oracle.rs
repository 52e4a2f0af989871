//! Any frames in any cut: the reader hears what tungstenite hears.

use super::*;
use proptest::prelude::*;
use tokio_tungstenite::tungstenite::{
    Error, Message, WebSocket,
    error::{CapacityError, ProtocolError},
    protocol::{Role, WebSocketConfig},
};

/// What tungstenite reads, and nowhere to write to.
struct Line<'a>(&'a [u8]);

impl io::Read for Line<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl io::Write for Line<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What tungstenite makes of a stream of bytes.
fn oracle(bytes: &[u8]) -> (Vec<Heard>, Fault) {
    let config = WebSocketConfig::default()
        .max_message_size(Some(LIMIT))
        .max_frame_size(Some(LIMIT));
    let mut socket = WebSocket::from_raw_socket(Line(bytes), Role::Server, Some(config));
    let mut heard = Vec::new();
    loop {
        heard.push(match socket.read() {
            Ok(Message::Text(text)) => Heard::Text(text.to_string()),
            Ok(Message::Binary(message)) => Heard::Binary(message),
            Ok(Message::Ping(payload)) => Heard::Ping(payload.to_vec()),
            Ok(Message::Pong(_) | Message::Frame(_)) => Heard::Pong,
            Ok(Message::Close(close)) => {
                heard.push(Heard::Close(close.map(|close| close.code.into())));
                return (heard, Fault::Gone);
            }
            Err(error) => return (heard, fault(&error)),
        });
    }
}

fn fault(error: &Error) -> Fault {
    match error {
        Error::Capacity(CapacityError::MessageTooLong { .. }) => Fault::TooBig,
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Fault::Gone,
        Error::Protocol(_) | Error::Utf8(_) => Fault::Malformed,
        other => panic!("not expected of memory: {other}"),
    }
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    let len = prop_oneof![
        8 => 0..200_usize,
        1 => SMALL - 2..SMALL + 3,
        1 => 65_530..65_560_usize,
        1 => LIMIT - 2..LIMIT + 2,
    ];
    let letter = prop_oneof![Just("x"), Just("é"), Just("€"), Just("🦀")];
    prop_oneof![
        2 => (len, any::<u8>()).prop_map(|(len, byte)| vec![byte; len]),
        2 => (letter, 0..60_usize, 0..3_usize).prop_map(|(letter, count, cut)| {
            let text = letter.repeat(count).into_bytes();
            text[cut.min(text.len())..].to_vec()
        }),
    ]
}

/// A frame that is mostly right.
fn single() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let first = prop_oneof![
        30 => prop_oneof![Just(0x81), Just(0x82), Just(0x89), Just(0x8a)],
        6 => prop_oneof![Just(0x01), Just(0x02), Just(0x00), Just(0x80)],
        2 => Just(0x88),
        1 => any::<u8>(),
    ];
    (first, payload()).prop_map(|(first, mut payload)| {
        if first & 0x08 != 0 {
            payload.truncate(100);
        }
        vec![frame(first, &payload)]
    })
}

/// A message in two frames, perhaps cut within a character, perhaps with a ping between.
fn parts() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let cut = any::<prop::sample::Index>();
    (any::<bool>(), payload(), cut, any::<bool>()).prop_map(|(is_text, payload, cut, pings)| {
        let (begin, end) = payload.split_at(cut.index(payload.len() + 1));
        let ping = pings.then(|| frame(0x89, b"?"));
        let begin = frame(if is_text { 0x01 } else { 0x02 }, begin);
        let frames = [Some(begin), ping, Some(frame(0x80, end))];
        frames.into_iter().flatten().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn any_frames_in_any_cut_are_heard_as_tungstenite_hears_them(
        frames in prop::collection::vec(prop_oneof![single(), parts()], 0..8),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let bytes = frames.concat().concat();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|cut| bytes[cut[0]..cut[1]].to_vec()).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let heard = runtime.block_on(read_all(pieces, Pool::new(1 << 20, LIMIT)));
        prop_assert_eq!(heard, oracle(&bytes));
    }
}
