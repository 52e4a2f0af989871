//! A connection that comes back: the supervisor makes another one whenever it is lost, for ever.

use super::{
    address::Address,
    connection::{DEADLINE, Session},
    topology::Topology,
};
use crate::events::EventError;
use rand::RngExt;
use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long to wait before the second attempt to connect in a row, and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// A connection that held this long was a good one.
const STABLE: Duration = Duration::from_secs(10);

/// A connection that comes back. Its supervisor runs from the first use until it is dropped or the engine closed.
pub(super) struct Link {
    address: Arc<Address>,
    topology: Arc<Topology>,
    purpose: &'static str,
    state: OnceLock<watch::Receiver<State>>,
    stop: CancellationToken,
    _stop_when_dropped: DropGuard,
}

#[derive(Clone)]
enum State {
    /// No attempt has failed since it was lost.
    Connecting,
    Up(Arc<Session>),
    /// The last attempt failed.
    Down(Arc<str>),
    Closed,
}

impl Link {
    /// Nothing is done before the first use.
    pub(super) fn new(
        address: Arc<Address>,
        topology: Arc<Topology>,
        purpose: &'static str,
        closed: &CancellationToken,
    ) -> Self {
        let stop = closed.child_token();
        Self {
            address,
            topology,
            purpose,
            state: OnceLock::new(),
            _stop_when_dropped: stop.clone().drop_guard(),
            stop,
        }
    }

    pub(super) fn topology(&self) -> &Topology {
        &self.topology
    }

    /// The present connection, for which it waits a moment if there is reason to hope.
    ///
    /// # Errors
    /// [`EventError::Unavailable`] at once when the last attempt failed.
    pub(super) async fn session(&self) -> Result<Arc<Session>, EventError> {
        let settled = self.wait_for(|state| matches!(state, State::Down(_)));
        let settled = tokio::time::timeout(DEADLINE, settled).await;
        match settled.unwrap_or(State::Connecting) {
            State::Up(session) => Ok(session),
            State::Down(reason) => Err(EventError::Unavailable(reason.to_string())),
            State::Connecting => Err(EventError::Unavailable(format!(
                "no connection within {DEADLINE:?}"
            ))),
            State::Closed => Err(EventError::Closed),
        }
    }

    /// The next connection there is, however long that takes.
    ///
    /// # Errors
    /// [`EventError::Closed`].
    pub(super) async fn next_session(&self) -> Result<Arc<Session>, EventError> {
        match self.wait_for(|_| false).await {
            State::Up(session) => Ok(session),
            _ => Err(EventError::Closed),
        }
    }

    /// Waits for a live connection, for the end, or for whatever else will do.
    async fn wait_for(&self, will_do: impl Fn(&State) -> bool) -> State {
        let mut state = self.state.get_or_init(|| self.supervise()).clone();
        let found = state.wait_for(|state| match state {
            State::Up(session) => session.is_alive(),
            State::Closed => true,
            other => will_do(other),
        });
        // The supervisor ends only when all is over.
        found.await.map_or(State::Closed, |state| state.clone())
    }

    fn supervise(&self) -> watch::Receiver<State> {
        let (sender, receiver) = watch::channel(State::Connecting);
        let (address, topology) = (Arc::clone(&self.address), Arc::clone(&self.topology));
        let (purpose, stop) = (self.purpose, self.stop.clone());
        tokio::spawn(async move {
            let connecting = connect_again_and_again(&address, &topology, purpose, &sender);
            stop.run_until_cancelled(connecting).await;
            sender.send_replace(State::Closed);
        });
        receiver
    }
}

async fn connect_again_and_again(
    address: &Address,
    topology: &Topology,
    purpose: &str,
    state: &watch::Sender<State>,
) {
    let broker = address.shown();
    let mut backoff = Backoff::new();
    loop {
        match Session::open(address, topology, purpose).await {
            Ok(session) => {
                tracing::info!(broker, purpose, "connected to the broker");
                let (session, since) = (Arc::new(session), Instant::now());
                state.send_replace(State::Up(Arc::clone(&session)));
                let reason = session.lost().await;
                tracing::warn!(
                    broker,
                    purpose,
                    reason,
                    "the connection to the broker is lost"
                );
                state.send_replace(State::Connecting);
                if since.elapsed() >= STABLE {
                    backoff = Backoff::new();
                }
            }
            Err(failure) if failure.is_permanent => {
                tracing::error!(
                    broker,
                    purpose,
                    reason = failure.reason,
                    "the broker refuses"
                );
                state.send_replace(State::Down(failure.reason.into()));
            }
            Err(failure) => {
                tracing::warn!(
                    broker,
                    purpose,
                    reason = failure.reason,
                    "the broker can't be reached"
                );
                state.send_replace(State::Down(failure.reason.into()));
            }
        }
        tokio::time::sleep(backoff.step()).await;
    }
}

/// Growing pauses, which differ from process to process.
pub(super) struct Backoff(Duration);

impl Backoff {
    pub(super) fn new() -> Self {
        Self(BACKOFF.0)
    }

    pub(super) fn step(&mut self) -> Duration {
        let wait = self.0.mul_f64(rand::rng().random_range(0.5..=1.0));
        self.0 = BACKOFF.1.min(self.0 * 2);
        wait
    }
}
