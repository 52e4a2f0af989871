//! Cutting what is appended into the blocks that it belongs to.

use super::{
    message::{Builder, Message},
    scripts::{BLOCK, Function},
};
use bytes::Bytes;

/// No upload is larger: the server counts exactly up to here.
pub(super) const MAX_BYTES: u64 = 1 << 53;

/// Where `parts` end when they begin at `offset`, if that is possible.
pub(super) fn end(offset: u64, parts: &[Bytes]) -> Option<u64> {
    let mut lengths = parts.iter().map(|part| part.len() as u64);
    let end = lengths.try_fold(offset, u64::checked_add);
    end.filter(|end| *end <= MAX_BYTES)
}

/// How long bytes that were put beside their block may wait to be moved to it, in milliseconds: longer than any call may take.
const BESIDE_MS: u64 = 60_000;

/// The call that adds `parts` at `offset`. Whole blocks are put beside the upload first: as values of their own they are not
/// copied in the server, while arguments of a function are, several times. The function then moves them to their places, or
/// drops them.
pub(super) fn append(
    key: &str,
    generation: u64,
    offset: u64,
    parts: Vec<Bytes>,
    keep_ms: u64,
) -> Message {
    let bytes = end(offset, &parts).map(|end| end - offset);
    let mut pieces = cut(offset, bytes.unwrap_or(0), parts);
    let name = format!("new-{:016x}", rand::random::<u64>());
    let mut call = Builder::default();
    for piece in pieces.iter_mut().filter(|piece| piece.is_whole) {
        let number = piece.number;
        call.command(5).word("SET");
        call.word(format!("{key}:{name}:{number}"));
        call.content(std::mem::take(&mut piece.parts));
        call.word("PX").number(BESIDE_MS);
    }
    call.command(9 + 3 * pieces.len());
    call.word("EVALSHA").word(Function::Append.hash());
    call.number(1).word(key);
    call.number(generation).number(offset);
    // What ends nowhere is refused without looking at the bytes.
    call.number(bytes.unwrap_or(u64::MAX)).number(keep_ms);
    call.word(name);
    for Piece {
        number, at, parts, ..
    } in pieces
    {
        call.number(number).number(at).content(parts);
    }
    call.finish()
}

/// What goes to one block.
struct Piece {
    number: u64,
    /// Where in the block it begins.
    at: u64,
    /// Whether it fills a block of the usual length.
    is_whole: bool,
    parts: Vec<Bytes>,
}

/// Cuts the first `left` bytes of `parts`, which begin at `offset`, where blocks meet.
fn cut(mut offset: u64, mut left: u64, parts: Vec<Bytes>) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut parts = parts.into_iter().filter(|part| !part.is_empty());
    let mut part = Bytes::new();
    while left > 0 {
        let (number, at) = (offset / BLOCK, offset % BLOCK);
        let mut room = left.min(BLOCK - at);
        let is_whole = room == BLOCK;
        (offset, left) = (offset + room, left - room);
        let mut taken = Vec::new();
        while room > 0 {
            if part.is_empty() {
                part = parts.next().unwrap_or_default();
            }
            let len = part.len().min(usize::try_from(room).unwrap_or(usize::MAX));
            taken.push(part.split_to(len));
            room -= len as u64;
        }
        pieces.push(Piece {
            number,
            at,
            is_whole,
            parts: taken,
        });
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words of each command, of which those with content are told by their length and the one-time name by `new`.
    fn commands(offset: u64, lengths: &[usize]) -> Vec<Vec<String>> {
        let parts = lengths.iter().map(|len| Bytes::from(vec![b'x'; *len]));
        let message = append("key", 7, offset, parts.collect(), 60);
        let replies = message.replies();
        let sent = message.into_pieces().concat();
        let mut lines = sent.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        let mut commands = Vec::new();
        while let Some([b'*', count @ ..]) = lines.next() {
            let count: usize = String::from_utf8_lossy(count).parse().expect("a number");
            let word = |_| {
                let word = lines.nth(1).expect("there is one");
                match word.first() {
                    Some(b'x') => format!("{} bytes", word.len()),
                    _ => named(&String::from_utf8_lossy(word)),
                }
            };
            commands.push((0..count).map(word).collect());
        }
        assert_eq!(commands.len(), replies);
        commands
    }

    /// The text with `new` in the place of the name that is different each time.
    fn named(text: &str) -> String {
        match text.split_once("new-") {
            Some((before, after)) => format!("{before}new{}", &after[16..]),
            None => text.to_owned(),
        }
    }

    /// The arguments of the function, behind the key.
    fn arguments(offset: u64, lengths: &[usize]) -> Vec<String> {
        let last = commands(offset, lengths).pop().expect("there is one");
        last[4..].to_vec()
    }

    #[test]
    fn parts_are_joined_within_a_block_and_cut_between_two() {
        assert_eq!(arguments(0, &[]), ["7", "0", "0", "60", "new"]);
        assert_eq!(
            arguments(5, &[1, 0, 2]),
            ["7", "5", "3", "60", "new", "0", "5", "3 bytes"]
        );
        let block = usize::try_from(BLOCK).expect("it is small");
        let (total, rest) = ((2 * block + 9).to_string(), format!("{block} bytes"));
        let mut sent = commands(BLOCK - 4, &[3, block, block + 6]);
        let function = sent.pop().expect("there is one");
        assert_eq!(
            function[4..],
            [
                "7",
                &(BLOCK - 4).to_string(),
                &total,
                "60",
                "new",
                "0",
                &(BLOCK - 4).to_string(),
                "4 bytes",
                "1",
                "0",
                "",
                "2",
                "0",
                "",
                "3",
                "0",
                "5 bytes",
            ]
        );
        let beside = |number| ["SET", number, &rest, "PX", "60000"];
        assert_eq!(sent, [beside("key:new:1"), beside("key:new:2")]);
    }

    #[test]
    fn what_can_fit_nowhere_is_not_sent() {
        let all = u64::MAX.to_string();
        assert_eq!(arguments(u64::MAX, &[1]), ["7", &all, &all, "60", "new"]);
        assert_eq!(
            arguments(MAX_BYTES, &[1]),
            ["7", &MAX_BYTES.to_string(), &all, "60", "new"]
        );
    }
}
