//! One part of the stack: an engine, or a process with a role.

use super::state::Replica;
use crate::{
    daemon::{Daemon, State},
    engines::Engine,
    until,
};
use serde_json::Value;
use std::{fmt, net::SocketAddr, time::Duration};

const ANSWERS_WITHIN: Duration = Duration::from_secs(3);
const SHOWN: usize = 40;

/// An engine or a process with a role.
pub(super) enum Part {
    Engine(Engine),
    Replica(Replica),
}

/// How a part is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Health {
    Ready,
    Frozen,
    Ended,
    /// Runs, and why it is not ready.
    NotReady(String),
}

impl Part {
    pub(super) fn name(&self) -> &str {
        &self.daemon().name
    }

    pub(super) fn daemon(&self) -> &Daemon {
        match self {
            Self::Engine(engine) => &engine.record().daemon,
            Self::Replica(replica) => &replica.daemon,
        }
    }

    /// Where it is reached: a gateway by clients, every other one by the gateways.
    pub(super) fn address(&self) -> SocketAddr {
        match self {
            Self::Engine(engine) => engine.address(),
            Self::Replica(replica) => replica.address,
        }
    }

    pub(super) async fn health(&self) -> Health {
        match self.daemon().state() {
            State::Ended => Health::Ended,
            State::Frozen => Health::Frozen,
            State::Running => match self.ask().await {
                Ok(()) => Health::Ready,
                Err(error) => Health::NotReady(error),
            },
        }
    }

    pub(super) fn start(&self) {
        let replica = match self {
            Self::Engine(engine) => return engine.start(),
            Self::Replica(replica) => replica,
        };
        // It outlives this program, so that nobody here waits for its end.
        if let Err(error) = replica.daemon.start() {
            panic!("{} can't be started: {error}", self.name());
        }
    }

    /// # Panics
    /// When it ends, or is not ready in time.
    pub(super) async fn until_ready(&self) {
        until(
            &format!("{} to be ready", self.name()),
            async || match self.health().await {
                Health::Ready => Some(()),
                Health::Ended => panic!("{} has ended; {}", self.name(), self.daemon().tail(SHOWN)),
                Health::Frozen | Health::NotReady(_) => None,
            },
        )
        .await;
    }

    async fn ask(&self) -> Result<(), String> {
        let replica = match self {
            Self::Engine(engine) => return engine.ask().await,
            Self::Replica(replica) => replica,
        };
        let question = crate::account::http()
            .get(format!("{}/readyz", replica.about))
            .timeout(ANSWERS_WITHIN);
        match question.send().await {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => {
                let problem: Value = answer.json().await.unwrap_or_default();
                Err(problem["detail"]
                    .as_str()
                    .unwrap_or("it does not say why")
                    .to_owned())
            }
            Err(_) => Err("no answer".to_owned()),
        }
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready => f.write_str("ready"),
            Self::Frozen => f.write_str("frozen"),
            Self::Ended => f.write_str("ended"),
            Self::NotReady(why) => write!(f, "not ready: {why}"),
        }
    }
}
