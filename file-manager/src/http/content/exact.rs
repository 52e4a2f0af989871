//! A body that is whole or breaks off: it never just ends early.

use crate::metric;
use bytes::Bytes;
use futures::{StreamExt, stream};
use std::io;
use storage::ByteStream;

/// The stream, with an error at its end if it has not brought exactly `length` bytes. After an error nothing follows.
pub(super) fn exact(bytes: ByteStream, length: u64) -> ByteStream {
    stream::unfold(Some((bytes, length)), |state| async {
        let (mut bytes, missing) = state?;
        let piece = match bytes.next().await {
            None if missing == 0 => return None,
            None => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("{missing} bytes are missing"),
            )),
            Some(piece) => piece,
        };
        match piece.and_then(|piece| Ok((remaining(&piece, missing)?, piece))) {
            Ok((missing, piece)) => {
                metrics::counter!(metric::DOWNLOADED_BYTES).increment(piece.len() as u64);
                Some((Ok(piece), Some((bytes, missing))))
            }
            Err(error) => {
                tracing::error!(%error, "the content of a file broke off");
                Some((Err(error), None))
            }
        }
    })
    .boxed()
}

fn remaining(piece: &Bytes, missing: u64) -> io::Result<u64> {
    missing.checked_sub(piece.len() as u64).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "there are more bytes than there should be",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn pieces(
        given: Vec<io::Result<&'static str>>,
        length: u64,
    ) -> Vec<Result<String, io::ErrorKind>> {
        let given = stream::iter(given)
            .map(|piece| piece.map(Bytes::from))
            .boxed();
        exact(given, length)
            .map(|piece| match piece {
                Ok(bytes) => Ok(String::from_utf8(bytes.to_vec()).unwrap()),
                Err(error) => Err(error.kind()),
            })
            .collect()
            .await
    }

    #[tokio::test]
    async fn passes_what_is_whole() {
        assert_eq!(
            pieces(vec![Ok("ab"), Ok("c")], 3).await,
            [Ok("ab".to_owned()), Ok("c".to_owned())]
        );
        assert_eq!(pieces(vec![], 0).await, []);
    }

    #[tokio::test]
    async fn breaks_off_what_is_not() {
        let ab = || Ok("ab".to_owned());
        assert_eq!(
            pieces(vec![Ok("ab")], 3).await,
            [ab(), Err(io::ErrorKind::UnexpectedEof)]
        );
        assert_eq!(
            pieces(vec![Ok("ab"), Ok("cd")], 3).await,
            [ab(), Err(io::ErrorKind::InvalidData)]
        );
        let failing = vec![
            Ok("ab"),
            Err(io::Error::from(io::ErrorKind::TimedOut)),
            Ok("c"),
        ];
        assert_eq!(
            pieces(failing, 3).await,
            [ab(), Err(io::ErrorKind::TimedOut)]
        );
    }
}
