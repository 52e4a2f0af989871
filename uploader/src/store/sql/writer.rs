//! The one connection of this process that writes, and the task that owns it.
//!
//! A commit costs a sync to disk, whatever it commits. So the transactions that wait while one is under way share the next
//! commit: each runs in a savepoint of its own, and each is answered after the commit.
//!
//! No two groups run at once, in whatever processes: a group begins by locking out all other writers ([`Engine::begin`]).
//! A group that fails as a whole has changed nothing, unless the connection broke while it was committed: then nobody knows.
//! So each transaction of the port can be repeated, and finds what the first time did.

use super::{Connection, Engine};
use crate::store::{Effects, Signals, StoreError};
use futures::future::BoxFuture;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// How many transactions may wait; further callers wait for a place.
const MAX_WAITING: usize = 1024;

/// How many transactions share a commit at most, so that the first of them does not wait for long.
const MAX_GROUP: usize = 64;

/// A transaction under way.
pub(in crate::store) struct Tx {
    /// The connection.
    pub(in crate::store) db: Connection,
    /// What is to be said once it is committed.
    pub(in crate::store) effects: Effects,
}

/// Hands transactions to the task. Clones share it; it ends with the last one.
#[derive(Clone)]
pub(in crate::store) struct Writer {
    jobs: mpsc::Sender<Box<dyn Job>>,
}

impl Writer {
    /// Starts the task that owns the connection; the engine makes one if there is none.
    pub(in crate::store) fn start(
        engine: Arc<Engine>,
        db: Option<Connection>,
        signals: Arc<Signals>,
    ) -> Self {
        let (jobs, waiting) = mpsc::channel(MAX_WAITING);
        tokio::spawn(write(engine, db, waiting, signals));
        Self { jobs }
    }

    /// Waits until the task has ended, which it does before its time only by a panic.
    pub(in crate::store) async fn stopped(&self) {
        self.jobs.closed().await;
    }

    /// Runs a transaction and answers when it is committed. It takes place even if the caller stops waiting.
    pub(in crate::store) async fn run<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, StoreError>> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let job = Transaction {
            work: Some(work),
            result: Err(StoreError::Closed),
            answer,
        };
        self.jobs
            .send(Box::new(job))
            .await
            .map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| StoreError::Closed)?
    }
}

/// A transaction whose result type is forgotten.
trait Job: Send {
    /// Runs it; an error says that what it did is to be undone.
    fn run<'t>(&'t mut self, tx: &'t mut Tx) -> BoxFuture<'t, Result<(), StoreError>>;
    /// Tells the caller the result, or why there is none.
    fn answer(self: Box<Self>, commit: Result<(), StoreError>);
}

struct Transaction<F, T> {
    work: Option<F>,
    result: Result<T, StoreError>,
    answer: oneshot::Sender<Result<T, StoreError>>,
}

impl<F, T> Job for Transaction<F, T>
where
    T: Send + 'static,
    F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, StoreError>> + Send + 'static,
{
    fn run<'t>(&'t mut self, tx: &'t mut Tx) -> BoxFuture<'t, Result<(), StoreError>> {
        Box::pin(async move {
            if let Some(work) = self.work.take() {
                self.result = work(tx).await;
            }
            self.result.as_ref().map(|_| ()).map_err(StoreError::clone)
        })
    }

    fn answer(self: Box<Self>, commit: Result<(), StoreError>) {
        // Nobody listens if the caller has gone away; what it asked for is done all the same.
        let _ = self.answer.send(commit.and(self.result));
    }
}

async fn write(
    engine: Arc<Engine>,
    mut db: Option<Connection>,
    mut waiting: mpsc::Receiver<Box<dyn Job>>,
    signals: Arc<Signals>,
) {
    let mut group = Vec::with_capacity(MAX_GROUP);
    while waiting.recv_many(&mut group, MAX_GROUP).await > 0 {
        metrics::histogram!(crate::metric::COMMIT_SIZE).record(group.len() as f64);
        let commit = match engine.begin(&mut db).await {
            Ok(begun) => {
                let mut tx = Tx {
                    db: begun,
                    effects: Effects::default(),
                };
                let commit = engine.in_time(tx.commit(&mut group)).await;
                db = match commit {
                    Ok(()) => {
                        signals.committed(tx.effects);
                        Some(tx.db)
                    }
                    Err(_) => engine.abandon(tx.db).await,
                };
                commit
            }
            Err(error) => Err(error),
        };
        match &commit {
            Ok(()) => {}
            Err(error @ StoreError::Unavailable(_)) => {
                tracing::warn!(%error, transactions = group.len(), "a commit failed");
            }
            Err(error) => {
                tracing::error!(%error, transactions = group.len(), "a commit failed");
            }
        }
        for job in group.drain(..) {
            job.answer(commit.clone());
        }
    }
    if let Some(db) = db {
        engine.close(db).await;
    }
}

impl Tx {
    /// Runs a group of transactions in a savepoint each, the first of which is set, and commits what they did; an error
    /// undoes them all.
    async fn commit(&mut self, group: &mut [Box<dyn Job>]) -> Result<(), StoreError> {
        let mut undone = true;
        for job in group {
            if !undone {
                self.execute("RELEASE SAVEPOINT job; SAVEPOINT job").await?;
            }
            let news = self.effects.news.len();
            let ran = job.run(self).await;
            undone = ran.is_err();
            if let Err(error) = ran {
                self.effects.news.truncate(news);
                // When the disk is full, SQLite rolls back all of the group itself: then the cause is this one's for all.
                let undo = self.execute("ROLLBACK TO SAVEPOINT job").await;
                undo.map_err(|_| error)?;
            }
        }
        self.execute("COMMIT").await
    }

    async fn execute(&mut self, sql: &'static str) -> Result<(), StoreError> {
        sqlx::raw_sql(sql).execute(&mut self.db).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
