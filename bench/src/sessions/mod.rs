//! Sessions in numbers: idle, told something at once, asking for history.

use crate::scenario::Scenario;

/// The scenarios of this folder.
#[must_use]
pub fn scenarios() -> Vec<Box<dyn Scenario>> {
    Vec::new()
}
