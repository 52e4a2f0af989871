//! What follows from the end of a connection, by the protocol's table of close codes.

use super::End;
use crate::{Error, ServerUrl};
use protocol::message::CloseCode;
use std::time::Duration;

/// The code of a refused token.
pub(super) const UNAUTHENTICATED: u16 = 4401;

/// The least time to stay away from a server that is overloaded.
const OVERLOADED_PAUSE: Duration = Duration::from_secs(1);

/// What to do after a connection.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Connect again, some time later.
    Reconnect {
        /// What happened.
        reason: String,
        /// The least time to wait.
        at_least: Option<Duration>,
    },
    /// Connect again with another token, which is not the server's trouble.
    ReconnectNow(String),
    /// Give up.
    Stop(Error),
}

/// What to do after `end`.
pub(super) fn after(end: End, server: &ServerUrl) -> Verdict {
    let (code, reason, told) = match end {
        End::Lost(reason) => {
            return Verdict::Reconnect {
                reason,
                at_least: None,
            };
        }
        End::Fatal(error) => return Verdict::Stop(error),
        End::Closed {
            code,
            reason,
            retry_after,
        } => (code, reason, retry_after),
    };
    let reason = if reason.is_empty() {
        format!("closed by the server ({code})")
    } else {
        reason
    };
    let overloaded = [CloseCode::Overloaded.code(), CloseCode::RateLimited.code()];
    match code {
        UNAUTHENTICATED => Verdict::ReconnectNow(reason),
        code if overloaded.contains(&code) => Verdict::Reconnect {
            reason,
            at_least: told.or(Some(OVERLOADED_PAUSE)),
        },
        code if CloseCode::is_reconnect(code) => Verdict::Reconnect {
            reason,
            at_least: told,
        },
        _ => Verdict::Stop(Error::Incompatible {
            server: server.to_string(),
            reason: format!("{reason} ({code})"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_close_code_has_its_consequence() {
        let server: ServerUrl = "http://h".parse().unwrap();
        let verdict = |code| {
            after(
                End::Closed {
                    code,
                    reason: String::new(),
                    retry_after: None,
                },
                &server,
            )
        };
        for code in [1000, 1001, 1006, 1011, 1012, 4408, 4410, 4999] {
            assert!(
                matches!(verdict(code), Verdict::Reconnect { at_least: None, .. }),
                "{code}"
            );
        }
        for code in [1013, 4429] {
            assert!(
                matches!(
                    verdict(code),
                    Verdict::Reconnect {
                        at_least: Some(_),
                        ..
                    }
                ),
                "{code}"
            );
        }
        for code in [1009, 4400, 4403, 4409] {
            assert!(matches!(verdict(code), Verdict::Stop(_)), "{code}");
        }
        assert!(matches!(verdict(4401), Verdict::ReconnectNow(_)));
        assert!(matches!(
            after(End::Lost(String::new()), &server),
            Verdict::Reconnect { .. }
        ));
    }
}
