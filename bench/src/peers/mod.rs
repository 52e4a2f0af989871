//! Other servers: how they are installed, started and loaded. Also downloads.

use crate::{scenario::Scenario, upload::Entry};

/// The scenarios of this folder.
#[must_use]
pub fn scenarios() -> Vec<Box<dyn Scenario>> {
    Vec::new()
}

/// The servers that the upload scenarios load beside Sluice and the floors.
#[must_use]
pub fn uploads() -> Vec<Entry> {
    Vec::new()
}
