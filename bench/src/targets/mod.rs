//! Servers of our own: Sluice in its forms, and the floors.

pub mod floors;
pub mod sluice;

use crate::{scenario::Part, upload::Entry};
use std::sync::Arc;

/// The rows that the upload scenarios begin with.
#[must_use]
pub fn uploads() -> Vec<Entry> {
    // As many accounts as the largest scenario has clients.
    let sluice = Arc::new(sluice::Sluice::new("sluice").with_accounts(500));
    let entry = |part, floor: floors::Floor| {
        let floor = Arc::new(floor);
        Entry::new(part, floor.clone(), floor)
    };
    vec![
        Entry::new(Part::Subject, sluice.clone(), sluice),
        entry(Part::Floor, floors::Floor::discard()),
        entry(Part::Floor, floors::Floor::direct()),
    ]
}
