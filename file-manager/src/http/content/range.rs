//! The `Range` header (RFC 9110, 14): which bytes of a content are asked for.

use std::ops::Range;

/// What a `Range` header asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Everything: the header is one that a server may or must ignore.
    Whole,
    /// One stretch, not empty.
    Part(Range<u64>),
    /// A stretch of which the content has nothing.
    Unsatisfiable,
}

/// Reads the value of a `Range` header for a content of `size` bytes. One range is served; several, another unit, or a
/// value that is not valid, mean the whole content.
pub(super) fn read(value: &str, size: u64) -> Asked {
    let Some((unit, range)) = value.split_once('=') else {
        return Asked::Whole;
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") || range.contains(',') {
        return Asked::Whole;
    }
    let Some((first, last)) = range.trim().split_once('-') else {
        return Asked::Whole;
    };
    let stretch = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(size),
        (Some(first), None) if last.is_empty() => first..size,
        (None, Some(length)) if first.is_empty() => size.saturating_sub(length)..size,
        _ => return Asked::Whole,
    };
    if stretch.is_empty() {
        Asked::Unsatisfiable
    } else {
        Asked::Part(stretch)
    }
}

/// A number of digits alone; one too large for any content counts as the largest.
fn number(digits: &str) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::{
        Asked::{Part, Unsatisfiable, Whole},
        *,
    };

    #[test]
    fn ranges() {
        let table = [
            ("bytes=0-0", 10, Part(0..1)),
            ("bytes=0-9", 10, Part(0..10)),
            ("bytes=2-4", 10, Part(2..5)),
            ("bytes=2-400", 10, Part(2..10)),
            ("bytes=9-", 10, Part(9..10)),
            ("bytes=0-", 10, Part(0..10)),
            ("bytes=-1", 10, Part(9..10)),
            ("bytes=-10", 10, Part(0..10)),
            ("bytes=-11", 10, Part(0..10)),
            ("Bytes = 3-3", 10, Part(3..4)),
            ("bytes=5-18446744073709551615", 10, Part(5..10)),
            ("bytes=5-99999999999999999999999", 10, Part(5..10)),
            ("bytes=10-", 10, Unsatisfiable),
            ("bytes=10-20", 10, Unsatisfiable),
            ("bytes=99999999999999999999999-", 10, Unsatisfiable),
            ("bytes=-0", 10, Unsatisfiable),
            ("bytes=0-", 0, Unsatisfiable),
            ("bytes=-5", 0, Unsatisfiable),
            ("bytes=4-2", 10, Whole),
            ("bytes=-", 10, Whole),
            ("bytes=", 10, Whole),
            ("bytes", 10, Whole),
            ("", 10, Whole),
            ("bytes=a-b", 10, Whole),
            ("bytes=1-b", 10, Whole),
            ("bytes=+1-2", 10, Whole),
            ("bytes=1-2-3", 10, Whole),
            ("bytes=--1", 10, Whole),
            ("bytes=0-1,4-5", 10, Whole),
            ("lines=0-1", 10, Whole),
        ];
        for (value, size, asked) in table {
            assert_eq!(read(value, size), asked, "{value} of {size}");
        }
    }
}
