//! Sessions in numbers: idle, told something at once, sending now and then, asking for history.

mod centrifugo;
mod devices;
mod fan_out;
mod growth;
mod history;
mod idle;
mod index;
pub(crate) mod raw_loop;
mod server;
mod swarm;

use crate::{Result, scenario::Scenario};

/// The scenarios of this folder.
#[must_use]
pub fn scenarios() -> Vec<Box<dyn Scenario>> {
    vec![
        Box::new(idle::Idle::fresh()),
        Box::new(idle::Idle::after_upload()),
        Box::new(fan_out::FanOut),
        Box::new(devices::Devices),
        Box::new(history::History),
        Box::new(growth::Clients),
        Box::new(growth::Files),
    ]
}

/// Runs what keeps a thread busy on a thread of its own.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await?
}
