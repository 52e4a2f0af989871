//! Sluice over Redis, RabbitMQ, PostgreSQL and MongoDB, beside what these do alone.

use crate::scenario::Scenario;

/// The scenarios of this folder.
#[must_use]
pub fn scenarios() -> Vec<Box<dyn Scenario>> {
    Vec::new()
}
