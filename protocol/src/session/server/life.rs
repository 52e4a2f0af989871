//! When a session is alive: the deadline to connect, heartbeats, silence and the token's expiry.

use super::{Moment, Rules};
use jiff::Timestamp;
use std::time::Duration;

/// What the clock demands.
pub(super) enum Due {
    Ping,
    NotConnected,
    Silent,
    TokenExpiring(Timestamp),
    TokenExpired,
}

pub(super) struct Life {
    heartbeat: Duration,
    token_warning: Duration,
    connect_by: Duration,
    last_heard: Duration,
    next_ping: Duration,
    token: Option<Token>,
}

struct Token {
    expires_at: Timestamp,
    warn_before: Duration,
    warned: bool,
}

impl Token {
    fn remaining(&self, now: Moment) -> Duration {
        self.expires_at
            .duration_since(now.wall)
            .try_into()
            .unwrap_or(Duration::ZERO)
    }
}

impl Life {
    pub(super) fn new(rules: &Rules, now: Moment) -> Self {
        Self {
            heartbeat: rules.heartbeat,
            token_warning: rules.token_warning,
            connect_by: now.elapsed + rules.connect_deadline,
            last_heard: now.elapsed,
            next_ping: now.elapsed + rules.heartbeat,
            token: None,
        }
    }

    /// The client gave a sign of life; one may be told of late.
    pub(super) fn heard(&mut self, when: Moment) {
        self.last_heard = self.last_heard.max(when.elapsed);
    }

    /// A token was accepted, at `connect` or by `refresh`. One that lives shorter than the warning time is not warned of
    /// before half of its life is over, so that a client has time to act on each warning.
    pub(super) fn connected(&mut self, expires_at: Timestamp, now: Moment) {
        let mut token = Token {
            expires_at,
            warn_before: self.token_warning,
            warned: false,
        };
        token.warn_before = token.warn_before.min(token.remaining(now) / 2);
        self.token = Some(token);
    }

    pub(super) fn tick(&mut self, now: Moment, connected: bool) -> Option<Due> {
        if !connected {
            return (now.elapsed >= self.connect_by).then_some(Due::NotConnected);
        }
        if let Some(token) = &mut self.token {
            let remaining = token.remaining(now);
            if remaining.is_zero() {
                return Some(Due::TokenExpired);
            }
            if remaining <= token.warn_before && !token.warned {
                token.warned = true;
                return Some(Due::TokenExpiring(token.expires_at));
            }
        }
        if now.elapsed >= self.silent_at() {
            return Some(Due::Silent);
        }
        if now.elapsed >= self.next_ping {
            self.next_ping = now.elapsed + self.heartbeat;
            return Some(Due::Ping);
        }
        None
    }

    pub(super) fn deadline(&self, now: Moment, connected: bool) -> Duration {
        if !connected {
            return self.connect_by;
        }
        let by_token = self.token.as_ref().map(|token| {
            let remaining = token.remaining(now);
            now.elapsed
                + if token.warned {
                    remaining
                } else {
                    remaining.saturating_sub(token.warn_before)
                }
        });
        let by_life = self.next_ping.min(self.silent_at());
        by_token.map_or(by_life, |by_token| by_token.min(by_life))
    }

    fn silent_at(&self) -> Duration {
        self.last_heard + self.heartbeat * 2
    }
}
