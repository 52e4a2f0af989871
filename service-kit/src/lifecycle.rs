//! How a process runs and stops: background tasks that must not fail unseen, and shutdown in two stages.
//!
//! Stage 1 (*draining*): accept nothing new, finish what is in flight. Stage 2 (*abort*): at a deadline, let go of
//! whatever is left.

mod serve;

use std::{collections::HashMap, fmt::Display, io, pin::pin, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::{self, JoinError, JoinSet},
    time::{Instant, sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::problem::panic_text;

pub use serve::{ConnectionSlot, HttpLimits, listen, serve};

/// How long tasks may take to notice stage 2 before the process leaves without them.
const ABORT_GRACE: Duration = Duration::from_secs(2);

/// The two stages of shutdown and the tasks that they wait for. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    draining: CancellationToken,
    abort: CancellationToken,
    tracker: TaskTracker,
}

impl Shutdown {
    /// A shutdown that has not begun.
    pub fn new() -> Self {
        Self::default()
    }

    /// Stage 1: accept nothing new and finish what is in flight.
    pub fn draining(&self) -> &CancellationToken {
        &self.draining
    }

    /// Stage 2: let go of everything at once.
    pub fn abort(&self) -> &CancellationToken {
        &self.abort
    }

    /// The tasks that shutdown waits for: connections, sockets, work in flight.
    pub fn tracker(&self) -> &TaskTracker {
        &self.tracker
    }

    /// Begins stage 1.
    pub fn drain(&self) {
        self.draining.cancel();
    }

    /// Runs `work` as a tracked task that is dropped at stage 2.
    pub fn spawn<F>(&self, work: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let abort = self.abort.clone();
        self.tracker.spawn(async move {
            abort.run_until_cancelled_owned(work).await;
        });
    }
}

/// Why a process stopped although nobody asked it to.
#[derive(Debug, thiserror::Error)]
pub enum LifecycleError {
    /// A critical task returned an error.
    #[error("task `{name}` failed: {reason}")]
    Failed {
        /// The name it was spawned with.
        name: String,
        /// Its error.
        reason: String,
    },
    /// A critical task panicked.
    #[error("task `{name}` panicked: {reason}")]
    Panicked {
        /// The name it was spawned with.
        name: String,
        /// The message of the panic.
        reason: String,
    },
    /// A critical task ended before shutdown began.
    #[error("task `{name}` ended although it should run until shutdown")]
    EndedEarly {
        /// The name it was spawned with.
        name: String,
    },
}

/// The life of the process: it ends by a signal, by [`Shutdown::drain`], or with the first critical task that fails.
#[derive(Debug)]
pub struct Lifecycle {
    shutdown: Shutdown,
    grace: Duration,
    tasks: JoinSet<Result<(), String>>,
    names: HashMap<task::Id, String>,
    signals: Option<Signals>,
}

impl Lifecycle {
    /// A process that gives its tasks `grace` between the two stages of shutdown.
    pub fn new(grace: Duration) -> Self {
        Self {
            shutdown: Shutdown::new(),
            grace,
            tasks: JoinSet::new(),
            names: HashMap::new(),
            signals: None,
        }
    }

    /// The handle that tasks watch.
    pub fn shutdown(&self) -> Shutdown {
        self.shutdown.clone()
    }

    /// Makes SIGINT and SIGTERM begin stage 1; a second signal begins stage 2 at once.
    ///
    /// # Errors
    /// If the signal handlers cannot be installed.
    pub fn handle_signals(&mut self) -> io::Result<()> {
        self.signals = Some(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        });
        Ok(())
    }

    /// Spawns a task that the process cannot do without. It should run until [`Shutdown::draining`]; if it fails,
    /// panics or ends before, the process stops in order and [`wait`](Self::wait) says why.
    pub fn spawn_critical<F, E>(&mut self, name: impl Into<String>, work: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Display,
    {
        // The alternate form of an error prints its causes, where the type has one (`anyhow` does).
        let handle = self
            .tasks
            .spawn(async move { work.await.map_err(|error| format!("{error:#}")) });
        self.names.insert(handle.id(), name.into());
    }

    /// Runs until the process is to stop, then stops it in two stages.
    ///
    /// # Errors
    /// The first failure of a critical task, also one during shutdown.
    pub async fn wait(mut self) -> Result<(), LifecycleError> {
        let failure = self.run().await;
        if let Some(failure) = &failure {
            tracing::error!(error = %failure, "stopping, because a critical task ended");
        }
        self.shutdown.drain();
        let failure = self.stop(failure).await;
        failure.map_or(Ok(()), Err)
    }

    /// Stage 0: until a signal, a request to drain, or a failure.
    async fn run(&mut self) -> Option<LifecycleError> {
        let draining = self.shutdown.draining.clone();
        loop {
            tokio::select! {
                () = draining.cancelled() => return None,
                name = next_signal(&mut self.signals) => {
                    tracing::info!(signal = name, "stopping");
                    return None;
                }
                Some(ended) = self.tasks.join_next_with_id() => {
                    if let Some(failure) = self.judge(ended) {
                        return Some(failure);
                    }
                }
            }
        }
    }

    /// Stages 1 and 2: until every task has ended, or the last deadline has passed.
    async fn stop(&mut self, mut failure: Option<LifecycleError>) -> Option<LifecycleError> {
        let Shutdown { abort, tracker, .. } = self.shutdown.clone();
        tracker.close();
        let mut deadline = pin!(sleep(self.grace));
        let mut aborting = false;
        while !(self.tasks.is_empty() && tracker.is_empty()) {
            tokio::select! {
                // The stage is looked at first: a deadline that has passed stays passed until it is set anew.
                biased;
                () = abort.cancelled(), if !aborting => {
                    aborting = true;
                    deadline.as_mut().reset(Instant::now() + ABORT_GRACE);
                }
                name = next_signal(&mut self.signals), if !aborting => {
                    tracing::warn!(signal = name, "asked to stop once more, aborting");
                    abort.cancel();
                }
                Some(ended) = self.tasks.join_next_with_id() => failure = failure.or(self.judge(ended)),
                () = tracker.wait(), if !tracker.is_empty() => {}
                () = deadline.as_mut() => {
                    let tasks = self.tasks.len() + tracker.len();
                    if aborting {
                        tracing::warn!(tasks, "leaving tasks behind that do not stop");
                        break;
                    }
                    tracing::warn!(tasks, "the time to drain is over, aborting");
                    abort.cancel();
                }
            }
        }
        failure
    }

    /// What the end of a critical task means.
    fn judge(
        &mut self,
        ended: Result<(task::Id, Result<(), String>), JoinError>,
    ) -> Option<LifecycleError> {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let name = self.names.remove(&id).unwrap_or_default();
        match ended {
            Ok((_, Ok(()))) if self.shutdown.draining.is_cancelled() => None,
            Ok((_, Ok(()))) => Some(LifecycleError::EndedEarly { name }),
            Ok((_, Err(reason))) => Some(LifecycleError::Failed { name, reason }),
            Err(error) => {
                let payload = error.try_into_panic().ok()?;
                Some(LifecycleError::Panicked {
                    name,
                    reason: panic_text(&*payload).to_owned(),
                })
            }
        }
    }
}

#[derive(Debug)]
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

/// The name of the next signal to stop; never, if signals are not handled here.
async fn next_signal(signals: &mut Option<Signals>) -> &'static str {
    let Some(signals) = signals else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = signals.interrupt.recv() => "SIGINT",
        _ = signals.terminate.recv() => "SIGTERM",
    }
}

#[cfg(test)]
mod tests;
