//! The one connection that writes, and the task that owns it.
//!
//! A commit costs a sync to disk, whatever it commits. So the transactions that wait while one is under way share the next
//! commit: each runs in a savepoint of its own, and each is answered after the commit.

use super::super::{Effects, Signals, StoreError};
use futures::future::BoxFuture;
use sqlx::{Connection, SqliteConnection};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// How many transactions may wait; further callers wait for a place.
const MAX_WAITING: usize = 1024;

/// How many transactions share a commit at most, so that the first of them does not wait for long.
const MAX_GROUP: usize = 64;

/// A transaction under way.
pub(super) struct Tx {
    /// The connection.
    pub(super) db: SqliteConnection,
    /// What is to be said once it is committed.
    pub(super) effects: Effects,
}

/// Hands transactions to the task. Clones share it; it ends with the last one.
#[derive(Clone)]
pub(super) struct Writer {
    jobs: mpsc::Sender<Box<dyn Job>>,
}

impl Writer {
    /// Starts the task that owns the connection.
    pub(super) fn start(db: SqliteConnection, signals: Arc<Signals>) -> Self {
        let (jobs, waiting) = mpsc::channel(MAX_WAITING);
        tokio::spawn(write(
            Tx {
                db,
                effects: Effects::default(),
            },
            waiting,
            signals,
        ));
        Self { jobs }
    }

    /// Waits until the task has ended, which it does before its time only by a panic.
    pub(super) async fn stopped(&self) {
        self.jobs.closed().await;
    }

    /// Runs a transaction and answers when it is committed. It takes place even if the caller stops waiting.
    pub(super) async fn run<T, F>(&self, work: F) -> Result<T, StoreError>
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

async fn write(mut tx: Tx, mut waiting: mpsc::Receiver<Box<dyn Job>>, signals: Arc<Signals>) {
    let mut group = Vec::with_capacity(MAX_GROUP);
    while waiting.recv_many(&mut group, MAX_GROUP).await > 0 {
        metrics::histogram!(crate::metric::COMMIT_SIZE).record(group.len() as f64);
        let commit = tx.commit(&mut group).await;
        let effects = std::mem::take(&mut tx.effects);
        match &commit {
            Ok(()) => signals.committed(effects),
            Err(error) => {
                tracing::error!(%error, transactions = group.len(), "a commit failed");
                tx.abandon().await;
            }
        }
        for job in group.drain(..) {
            job.answer(commit.clone());
        }
    }
    if let Err(error) = tx.db.close().await {
        tracing::warn!(%error, "the uploads database did not close cleanly");
    }
}

impl Tx {
    /// Runs a group of transactions and commits what they did; an error undoes them all.
    async fn commit(&mut self, group: &mut [Box<dyn Job>]) -> Result<(), StoreError> {
        self.execute("BEGIN IMMEDIATE").await?;
        for job in group {
            self.execute("SAVEPOINT job").await?;
            let news = self.effects.news.len();
            if let Err(error) = job.run(self).await {
                self.effects.news.truncate(news);
                // When the disk is full, SQLite rolls back all of the group itself: then the cause is this one's for all.
                self.execute("ROLLBACK TO job").await.map_err(|_| error)?;
            }
            self.execute("RELEASE job").await?;
        }
        self.execute("COMMIT").await
    }

    /// Undoes a group. SQLite may have done so itself, after which there is nothing to roll back.
    async fn abandon(&mut self) {
        if let Err(error) = self.execute("ROLLBACK").await {
            tracing::debug!(%error, "nothing to roll back");
        }
    }

    async fn execute(&mut self, sql: &'static str) -> Result<(), StoreError> {
        sqlx::query(sql).execute(&mut self.db).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
