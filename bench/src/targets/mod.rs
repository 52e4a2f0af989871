//! Servers of our own: Sluice in its forms, and the floors.

pub mod floors;
pub(crate) mod server;
pub mod sluice;

use crate::{
    scenario::Part,
    upload::{Entry, library::Library},
};
use std::sync::Arc;

/// The rows that the upload scenarios begin with, for so many clients: each has an account of its own.
#[must_use]
pub fn uploads(clients: usize) -> Vec<Entry> {
    let sluice = Arc::new(sluice::Sluice::new("sluice").with_accounts(clients));
    let entry = |part, floor: floors::Floor| {
        let floor = Arc::new(floor);
        Entry::new(part, floor.clone(), floor)
    };
    vec![
        Entry::new(Part::Subject, sluice.clone(), sluice.clone()),
        Entry::new(Part::Beside, sluice.clone(), Arc::new(Library(sluice))).named("client library"),
        entry(Part::Floor, floors::Floor::discard()),
        entry(Part::Floor, floors::Floor::direct()),
    ]
}
