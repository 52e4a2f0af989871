//! Cutting what is appended into the blocks that it belongs to.

use super::scripts::{BLOCK, Function};
use bytes::{Buf, Bytes};
use redis::{Cmd, RedisWrite};
use std::io::Write;

/// No upload is larger: the server counts exactly up to here.
pub(super) const MAX_BYTES: u64 = 1 << 53;

/// Where `parts` end when they begin at `offset`, if that is possible.
pub(super) fn end(offset: u64, parts: &[Bytes]) -> Option<u64> {
    let mut lengths = parts.iter().map(|part| part.len() as u64);
    let end = lengths.try_fold(offset, u64::checked_add);
    end.filter(|end| *end <= MAX_BYTES)
}

/// The call that adds `parts` at `offset`; the bytes are copied into it once.
pub(super) fn append(
    key: &str,
    generation: u64,
    offset: u64,
    parts: Vec<Bytes>,
    keep_ms: u64,
) -> Cmd {
    let bytes = end(offset, &parts).map(|end| end - offset);
    let sent = bytes.unwrap_or(0);
    let pieces = usize::try_from(sent / BLOCK).unwrap_or(0) + 2;
    let room = usize::try_from(sent).unwrap_or(0) + 64 * pieces;
    let mut call = Function::Append.call(key, (4 + 3 * pieces, 128 + room));
    call.arg(generation).arg(offset);
    // What ends nowhere is refused without looking at the bytes.
    call.arg(bytes.unwrap_or(u64::MAX)).arg(keep_ms);
    add_pieces(&mut call, offset, sent, parts);
    call
}

fn add_pieces(call: &mut Cmd, mut offset: u64, mut left: u64, parts: Vec<Bytes>) {
    let mut parts = parts.into_iter();
    let mut part = Bytes::new();
    while left > 0 {
        let (number, at) = (offset / BLOCK, offset % BLOCK);
        let mut room = left.min(BLOCK - at);
        (offset, left) = (offset + room, left - room);
        call.arg(number).arg(at);
        let mut content = call.writer_for_next_arg();
        while room > 0 {
            while part.is_empty() {
                part = parts.next().unwrap_or_default();
            }
            let taken = part.len().min(usize::try_from(room).unwrap_or(usize::MAX));
            // A command in memory takes everything.
            let _ = content.write_all(&part[..taken]);
            part.advance(taken);
            room -= taken as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redis::Arg;

    /// The arguments behind the key, of which those with content are told by their length.
    fn arguments(offset: u64, lengths: &[usize]) -> Vec<String> {
        let parts = lengths.iter().map(|len| Bytes::from(vec![b'x'; *len]));
        let call = append("key", 7, offset, parts.collect(), 60);
        let text = |arg: Arg<&[u8]>| match arg {
            Arg::Simple(bytes) if bytes.first() == Some(&b'x') => format!("{} bytes", bytes.len()),
            Arg::Simple(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            _ => "?".to_owned(),
        };
        call.args_iter().skip(4).map(text).collect()
    }

    #[test]
    fn parts_are_joined_within_a_block_and_cut_between_two() {
        assert_eq!(arguments(0, &[]), ["7", "0", "0", "60"]);
        assert_eq!(
            arguments(5, &[1, 0, 2]),
            ["7", "5", "3", "60", "0", "5", "3 bytes"]
        );
        let block = usize::try_from(BLOCK).expect("it is small");
        let (total, rest) = ((2 * block + 9).to_string(), format!("{block} bytes"));
        assert_eq!(
            arguments(BLOCK - 4, &[3, block, block + 6]),
            [
                "7",
                &(BLOCK - 4).to_string(),
                &total,
                "60",
                "0",
                &(BLOCK - 4).to_string(),
                "4 bytes",
                "1",
                "0",
                &rest,
                "2",
                "0",
                &rest,
                "3",
                "0",
                "5 bytes",
            ]
        );
    }

    #[test]
    fn what_can_fit_nowhere_is_not_sent() {
        let all = u64::MAX.to_string();
        assert_eq!(arguments(u64::MAX, &[1]), ["7", &all, &all, "60"]);
        assert_eq!(
            arguments(MAX_BYTES, &[1]),
            ["7", &MAX_BYTES.to_string(), &all, "60"]
        );
    }
}
