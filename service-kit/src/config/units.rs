//! Sizes and times as people write them: `16 MiB`, `10s`. Plain numbers are bytes and milliseconds.

use std::{fmt, marker::PhantomData, str::FromStr, time::Duration};

use jiff::{Span, SpanRelativeTo};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A number of bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

/// A length of time in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub u64);

/// A text that is no size or no length of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct InvalidUnit {
    text: String,
    expected: &'static str,
}

impl ByteSize {
    const EXPECTED: &str = "a size, write bytes as a number or a text such as `16 MiB` or `10 GB`";
    const UNITS: [(&str, u64); 9] = [
        ("TiB", 1 << 40),
        ("GiB", 1 << 30),
        ("MiB", 1 << 20),
        ("KiB", 1 << 10),
        ("TB", 1_000_000_000_000),
        ("GB", 1_000_000_000),
        ("MB", 1_000_000),
        ("KB", 1_000),
        ("B", 1),
    ];

    /// A size of `n` KiB.
    pub const fn kib(n: u64) -> Self {
        Self(n << 10)
    }

    /// A size of `n` MiB.
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    /// A size of `n` GiB.
    pub const fn gib(n: u64) -> Self {
        Self(n << 30)
    }

    /// The size in bytes, as far as memory can be addressed.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl Millis {
    const EXPECTED: &str =
        "a length of time, write milliseconds as a number or a text such as `10s` or `7d`";
    const UNITS: [(&str, u64); 5] = [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
        ("ms", 1),
    ];

    /// A time of `n` seconds.
    pub const fn secs(n: u64) -> Self {
        Self(n * 1_000)
    }

    /// A time of `n` minutes.
    pub const fn mins(n: u64) -> Self {
        Self(n * 60_000)
    }

    /// A time of `n` hours.
    pub const fn hours(n: u64) -> Self {
        Self(n * 3_600_000)
    }

    /// A time of `n` days of 24 hours.
    pub const fn days(n: u64) -> Self {
        Self(n * 86_400_000)
    }

    /// The same time as the standard library's type.
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl FromStr for ByteSize {
    type Err = InvalidUnit;

    fn from_str(text: &str) -> Result<Self, InvalidUnit> {
        let invalid = || InvalidUnit {
            text: text.to_owned(),
            expected: Self::EXPECTED,
        };
        let digits = text
            .trim()
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.trim().len());
        let (number, unit) = text.trim().split_at(digits);
        let number: u64 = number.parse().map_err(|_| invalid())?;
        let unit = if unit.is_empty() { "B" } else { unit.trim() };
        let (_, factor) = Self::UNITS
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(unit))
            .ok_or_else(invalid)?;
        number.checked_mul(*factor).map(Self).ok_or_else(invalid)
    }
}

impl FromStr for Millis {
    type Err = InvalidUnit;

    fn from_str(text: &str) -> Result<Self, InvalidUnit> {
        if let Ok(millis) = text.trim().parse() {
            return Ok(Self(millis));
        }
        let parse = || {
            let span: Span = text.trim().parse().ok()?;
            let length = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
            u64::try_from(length.as_millis()).ok()
        };
        parse().map(Self).ok_or_else(|| InvalidUnit {
            text: text.to_owned(),
            expected: Self::EXPECTED,
        })
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, unit) = in_best(self.0, &Self::UNITS, "B");
        write!(f, "{number} {unit}")
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, unit) = in_best(self.0, &Self::UNITS, "s");
        write!(f, "{number}{unit}")
    }
}

/// The amount in the unit that makes the smallest whole number of it.
fn in_best(
    amount: u64,
    units: &[(&'static str, u64)],
    of_zero: &'static str,
) -> (u64, &'static str) {
    let whole = units
        .iter()
        .filter(|(_, factor)| amount != 0 && amount.is_multiple_of(*factor));
    whole
        .map(|(unit, factor)| (amount / factor, *unit))
        .min()
        .unwrap_or((0, of_zero))
}

/// Reads a number, or a text that `T` understands.
struct NumberOrText<T>(PhantomData<T>, &'static str);

impl<T: From<u64> + FromStr<Err = InvalidUnit>> de::Visitor<'_> for NumberOrText<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.1)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        Ok(number.into())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        let number = u64::try_from(number)
            .map_err(|_| E::invalid_value(de::Unexpected::Signed(number), &self))?;
        Ok(number.into())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

macro_rules! impl_serde {
    ($unit:ty) => {
        impl From<u64> for $unit {
            fn from(number: u64) -> Self {
                Self(number)
            }
        }

        impl Serialize for $unit {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $unit {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(NumberOrText(PhantomData, Self::EXPECTED))
            }
        }
    };
}

impl_serde!(ByteSize);
impl_serde!(Millis);

impl From<Millis> for Duration {
    fn from(time: Millis) -> Self {
        time.duration()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read_and_written_as_people_do() {
        for (text, bytes, shown) in [
            ("16777216", 16 << 20, "16 MiB"),
            ("16 MiB", 16 << 20, "16 MiB"),
            ("16mib", 16 << 20, "16 MiB"),
            ("2GB", 2_000_000_000, "2 GB"),
            ("0", 0, "0 B"),
            ("1023 B", 1023, "1023 B"),
        ] {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!(
                (size, &*size.to_string()),
                (ByteSize(bytes), shown),
                "{text}"
            );
        }
        for text in ["", "MiB", "1.5 MiB", "-1", "1 MiBs", "99999999 TiB"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
        for (text, millis, shown) in [
            ("1500", 1500, "1500ms"),
            ("10s", 10_000, "10s"),
            ("1h 30m", 5_400_000, "90m"),
            ("7d", 604_800_000, "7d"),
            ("0", 0, "0s"),
        ] {
            let time: Millis = text.parse().unwrap();
            assert_eq!(
                (time, &*time.to_string()),
                (Millis(millis), shown),
                "{text}"
            );
            assert_eq!(time.to_string().parse(), Ok(time));
        }
        for text in ["", "s", "ten seconds", "-1s"] {
            assert!(text.parse::<Millis>().is_err(), "{text}");
        }
    }
}
