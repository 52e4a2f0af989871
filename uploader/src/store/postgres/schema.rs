//! Brings the schema up to date as soon as the server can be reached.

use super::{SCHEMA, STEPS, StoreError, in_part, longer};
use service_kit::{migrations, postgres::Server};
use sqlx::Connection as _;
use std::time::Duration;
use tokio::sync::watch;

/// The schema on its way to what this program needs. The way goes on while nobody waits, so that a step that takes long is
/// not cut off with the request that happened to begin it.
pub(super) struct Schema {
    state: watch::Receiver<State>,
}

#[derive(Clone)]
enum State {
    /// Nothing is known yet.
    Trying,
    /// It is not up to date yet, and this is why; it is tried again.
    Failed(StoreError),
    /// It is up to date.
    Ready,
}

impl Schema {
    /// Begins to bring it up to date.
    pub(super) fn prepare(server: Server) -> Self {
        let (state, receiver) = watch::channel(State::Trying);
        tokio::spawn(async move {
            // Nobody needs it any more once the store is gone.
            tokio::select! {
                () = state.closed() => {}
                () = insist(&server, &state) => {}
            }
        });
        Self { state: receiver }
    }

    /// That it is up to date, or why it was not when that was tried last; waits for the first try.
    pub(super) async fn ready(&self) -> Result<(), StoreError> {
        let mut state = self.state.clone();
        let tried = state.wait_for(|state| !matches!(state, State::Trying));
        match &*tried.await.map_err(|_| StoreError::Closed)? {
            State::Failed(error) => Err(error.clone()),
            State::Trying | State::Ready => Ok(()),
        }
    }
}

async fn insist(server: &Server, state: &watch::Sender<State>) {
    let mut wait = Duration::ZERO;
    loop {
        let error = match migrate(server).await {
            Ok(()) => {
                state.send_replace(State::Ready);
                return;
            }
            Err(error) => error,
        };
        wait = longer(wait);
        tracing::warn!(%error, %server, retry_in = ?wait, "the uploads database is not ready");
        state.send_replace(State::Failed(error));
        tokio::time::sleep(in_part(wait)).await;
    }
}

async fn migrate(server: &Server) -> Result<(), StoreError> {
    let mut db = server.connect(SCHEMA).await?;
    migrations::run_on_postgres(&mut db, SCHEMA, STEPS).await?;
    // Nothing is lost if the server does not hear the goodbye.
    let _ = db.close().await;
    Ok(())
}
