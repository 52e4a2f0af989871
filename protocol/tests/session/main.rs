//! Properties of a session that hold whatever happens: any input, any order of answers, any loss on the way.

mod any_input;
mod cloud;
mod every_chunk;
mod gateway;
mod two_peers;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::ProptestConfig;
use protocol::{
    SessionId, TenantId, UserId,
    identity::{Caller, Role},
    message::Limits,
    session::server::{Admission, Moment, Rules},
};
use std::time::Duration;
use uuid::Uuid;

/// Small limits, so that a few bytes reach them.
const LIMITS: Limits = Limits {
    max_chunk_bytes: 32,
    window_bytes: 96,
    max_file_bytes: 1 << 20,
    max_open_uploads: 3,
    max_message_bytes: 1 << 12,
};

const RULES: Rules = Rules {
    limits: LIMITS,
    chunk_bytes: 24,
    heartbeat: Duration::from_secs(30),
    connect_deadline: Duration::from_secs(10),
    max_message_before_connected: 1 << 10,
    session_window_bytes: 160,
    max_pending_requests: 4,
    token_warning: Duration::from_secs(60),
};

/// Enough worlds to meet the rare ones, few enough to take seconds; `PROPTEST_CASES` asks for more.
fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig {
        cases: default.cases.max(1500),
        ..default
    }
}

/// So long after the beginning of the world.
fn moment(elapsed: Duration) -> Moment {
    let since = SignedDuration::try_from(elapsed).expect("a test lasts a short while");
    Moment {
        elapsed,
        wall: Timestamp::UNIX_EPOCH + since,
    }
}

/// Lets a user in for a year.
fn admission() -> Box<Admission> {
    Box::new(Admission {
        session_id: SessionId(Uuid::nil()),
        caller: Caller {
            user_id: UserId(Uuid::nil()),
            name: "ada".to_owned(),
            role: Role::User,
            tenant: TenantId::default(),
        },
        expires_at: moment(Duration::from_hours(24 * 365)).wall,
        topics: Vec::new(),
    })
}
