//! Which faults there are.

use super::stage::{Stage, Wire};
use crate::{engines::Kind, proxy::Link};
use sluice::Role;
use std::time::Duration;

/// How long a process stays frozen, and a link bad.
const FAULT: Duration = Duration::from_secs(20);

/// How long what was killed stays away before it is started again.
const AWAY: Duration = Duration::from_secs(10);

/// How long a gateway is frozen in the case in which clients notice: they leave after a minute of silence, and lose ten seconds
/// more whenever the next connection leads them to the same one, since nothing before the gateways asks how they are.
const STUPOR: Duration = Duration::from_secs(120);

/// How long MongoDB is down in the case of that name.
const LONG: Duration = Duration::from_secs(120);

/// A slow link: what is left of it.
const SLOW: Link = Link::Slow {
    rate: 20_000,
    latency: Duration::from_millis(200),
};

/// One fault, and its name.
#[derive(Clone, Debug)]
pub struct Case {
    name: String,
    fault: Fault,
}

/// What goes wrong. Of what there are two, the first is hit.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// Nothing: what the other cases are compared with.
    None,
    /// A process is killed and started again.
    Kill(Role),
    /// A process is stopped for a while.
    Freeze(Role, Duration),
    /// An engine is killed and started again.
    KillEngine(Kind, Duration),
    /// An engine is stopped for a while.
    FreezeEngine(Kind),
    /// A link behaves badly for a while.
    Link(Wire, Link),
}

/// Every case, in the order in which they are run.
#[must_use]
pub fn matrix() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name: String, fault: Fault| cases.push(Case { name, fault });
    add("nothing".to_owned(), Fault::None);
    for role in Role::ALL {
        add(format!("kill-{role}"), Fault::Kill(role));
        add(format!("freeze-{role}"), Fault::Freeze(role, FAULT));
    }
    for kind in Kind::ALL {
        let name = kind.name();
        add(format!("kill-{name}"), Fault::KillEngine(kind, AWAY));
        add(format!("freeze-{name}"), Fault::FreezeEngine(kind));
    }
    for wire in Wire::ALL {
        for (how, link) in [
            ("cut", Link::Cut),
            ("slow", SLOW),
            ("half-open", Link::HalfOpen),
        ] {
            add(format!("{how}-{}", wire.name()), Fault::Link(wire, link));
        }
    }
    let stupor = Fault::Freeze(Role::Gateway, STUPOR);
    add("freeze-gateway-until-clients-leave".to_owned(), stupor);
    let long = Fault::KillEngine(Kind::MongoDb, LONG);
    add("mongodb-down-for-two-minutes".to_owned(), long);
    cases
}

impl Case {
    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn fault(&self) -> Fault {
        self.fault
    }

    /// Whether the fault is one that must not count as an attempt to store a file: an engine that can't be reached.
    pub(super) fn counts_no_attempt(&self) -> bool {
        matches!(
            self.fault,
            Fault::None | Fault::KillEngine(Kind::MongoDb, _) | Fault::FreezeEngine(Kind::MongoDb)
        )
    }

    /// What happens, in a sentence.
    #[must_use]
    pub fn description(&self) -> String {
        let seconds = |time: Duration| time.as_secs();
        match self.fault {
            Fault::None => "nothing happens".to_owned(),
            Fault::Kill(role) => format!(
                "one of two {role} is killed (`kill -9`) and started again after {} s",
                seconds(AWAY)
            ),
            Fault::Freeze(role, time) => format!(
                "one of two {role} is frozen (`SIGSTOP`) for {} s",
                seconds(time)
            ),
            Fault::KillEngine(kind, away) => format!(
                "{} is killed (`kill -9`) and started again after {} s",
                kind.name(),
                seconds(away)
            ),
            Fault::FreezeEngine(kind) => format!(
                "{} is frozen (`SIGSTOP`) for {} s",
                kind.name(),
                seconds(FAULT)
            ),
            Fault::Link(wire, link) => {
                let how = match link {
                    Link::Pass => "is as ever",
                    Link::Cut => "is cut",
                    Link::Slow { .. } => "passes 20 kB/s",
                    Link::HalfOpen => "is half open: everything sent on it is swallowed",
                };
                let (from, to) = wire.ends();
                format!(
                    "the link from one of two {from} to {to} {how} for {} s",
                    seconds(FAULT)
                )
            }
        }
    }
}

impl Fault {
    /// Makes it happen and ends it, doing no more for the recovery than starting again what was killed.
    pub(super) async fn inflict(self, stage: &mut Stage) {
        match self {
            Self::None => wait(FAULT).await,
            Self::Kill(role) => {
                stage.cluster.replica(role, 0).kill();
                wait(AWAY).await;
                stage.cluster.replica(role, 0).start();
            }
            Self::Freeze(role, time) => {
                stage.cluster.replica(role, 0).freeze();
                wait(time).await;
                stage.cluster.replica(role, 0).thaw();
            }
            Self::KillEngine(kind, away) => {
                stage.engines.get(kind).kill();
                wait(away).await;
                stage.engines.get(kind).start();
            }
            Self::FreezeEngine(kind) => {
                stage.engines.get(kind).freeze();
                wait(FAULT).await;
                stage.engines.get(kind).thaw();
            }
            Self::Link(wire, link) => {
                stage.wires[&wire].set(link);
                wait(FAULT).await;
                stage.wires[&wire].set(Link::Pass);
            }
        }
    }
}

/// The time that a fault lasts is what the case is about, so that there is no condition to wait for.
async fn wait(time: Duration) {
    tokio::time::sleep(time).await;
}
