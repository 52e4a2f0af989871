//! What the functions in the server answer.

use super::trouble::Trouble;
use crate::chunks::ChunkError;
use protocol::UploadId;
use redis::{Value, from_redis_value};

/// A number that says how it went, and what it was about.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Done(u64, u64),
    Absent,
    Superseded,
    Sealed,
    OutOfOrder(u64),
    /// What was put beside a block was not there any more.
    Missing,
}

impl Answer {
    pub(super) fn parse(value: Value) -> Result<Self, Trouble> {
        let numbers: Vec<u64> = from_redis_value(value)?;
        let number = |place: usize| numbers.get(place).copied().unwrap_or_default();
        match numbers.first() {
            Some(0) => Ok(Self::Done(number(1), number(2))),
            Some(1) => Ok(Self::Absent),
            Some(2) => Ok(Self::Superseded),
            Some(3) => Ok(Self::Sealed),
            Some(4) => Ok(Self::OutOfOrder(number(1))),
            Some(5) => Ok(Self::Missing),
            _ => Err(Trouble::Other(format!(
                "an answer makes no sense: {numbers:?}"
            ))),
        }
    }

    /// What it says when all went well.
    pub(super) fn about(self, upload: UploadId) -> Result<(u64, u64), ChunkError> {
        match self {
            Self::Done(first, second) => Ok((first, second)),
            Self::Absent => Err(ChunkError::NotFound(upload)),
            Self::Superseded => Err(ChunkError::Superseded { upload }),
            Self::Sealed => Err(ChunkError::Sealed(upload)),
            Self::OutOfOrder(expected) => Err(ChunkError::OutOfOrder { expected }),
            Self::Missing => Err(ChunkError::Unavailable(
                "Redis took so long that it has dropped what it was sent".to_owned(),
            )),
        }
    }
}
