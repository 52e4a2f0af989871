//! Why an attempt failed, and what that says about making the call again.

use super::breaker::Weight;

/// A failed attempt.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) kind: Kind,
    /// What happened, for the log.
    pub(super) reason: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing of the call was sent.
    Unsent,
    /// It was refused before the service saw it, because the instance is another one than was thought.
    Misaddressed,
    /// It was refused before the service saw it, for another reason.
    Refused,
    /// The connection broke, and the call may have had effect.
    Lost,
    /// No answer came in time, and the call may have had effect; `lives` if the replica answered otherwise meanwhile.
    Silent { lives: bool },
    /// The replica did not even say that it lives.
    Frozen,
}

impl Failure {
    pub(super) fn unsent(reason: impl Into<String>) -> Self {
        Self::new(Kind::Unsent, reason)
    }

    pub(super) fn lost(reason: impl Into<String>) -> Self {
        Self::new(Kind::Lost, reason)
    }

    pub(super) fn new(kind: Kind, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self { kind, reason }
    }

    /// The same failure, of something that happens before a call is sent.
    pub(super) fn before_sending(self) -> Self {
        Self::new(Kind::Unsent, self.reason)
    }

    /// What the failure says about the replica; nothing, if it has answered after all or may still.
    pub(super) fn weight(&self) -> Option<Weight> {
        match self.kind {
            Kind::Unsent | Kind::Lost => Some(Weight::One),
            Kind::Frozen => Some(Weight::Enough),
            Kind::Misaddressed | Kind::Refused | Kind::Silent { .. } => None,
        }
    }
}

impl Kind {
    /// The word for metrics.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Unsent => "connect",
            Self::Misaddressed => "misaddressed",
            Self::Refused => "refused",
            Self::Lost => "lost",
            Self::Silent { .. } => "timeout",
            Self::Frozen => "frozen",
        }
    }

    /// Whether the call certainly had no effect, so that any call can be made again.
    pub(super) const fn had_no_effect(self) -> bool {
        matches!(self, Self::Unsent | Self::Misaddressed | Self::Refused)
    }

    /// Whether making the call again costs the service nothing: no replica has got anything of it.
    pub(super) const fn is_free(self) -> bool {
        matches!(self, Self::Unsent | Self::Misaddressed)
    }

    /// Whether what is known of the instance may be out of date.
    pub(super) const fn changes_instance(self) -> bool {
        matches!(self, Self::Unsent | Self::Misaddressed | Self::Lost)
    }
}
