//! The one connection of this process that writes, and the task that owns it.
//!
//! A commit costs a sync to disk, whatever it commits. So the transactions that wait while one is under way share the next
//! commit (and while there are many, others join them: [`Pace`]), and those of one kind, a [`Set`], share their statements as
//! well. Each is answered after the commit. What fails is undone by a savepoint, and takes nothing else with it.
//!
//! No two groups run at once, in whatever processes: a group begins by locking out all other writers ([`Engine::begin`]).
//! A group that fails as a whole has changed nothing, unless the connection broke while it was committed: then nobody knows.
//! So each transaction of the port can be repeated, and finds what the first time did.

mod group;

use super::{Connection, Engine};
use crate::store::{Effects, Signals, StoreError};
use futures::future::BoxFuture;
use group::{Asked, Group, Job, Outcome, Single, Waiting};
use service_kit::pace::Pace;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// How many transactions may wait; further callers wait for a place.
const MAX_WAITING: usize = 1024;

/// How many transactions share a commit at most, so that the first of them does not wait for long.
const MAX_GROUP: usize = 128;

/// A transaction under way.
pub(in crate::store) struct Tx {
    /// The connection.
    pub(in crate::store) db: Connection,
    /// What is to be said once it is committed.
    pub(in crate::store) effects: Effects,
    /// Whether something was done since the savepoint was set.
    touched: bool,
}

/// What a part of a transaction began with.
struct Part {
    news: usize,
}

/// Transactions of one kind, which are done together: as if one after another, in the order given.
pub(in crate::store) trait Set: Sized + Send + Sync + 'static {
    /// What each is answered.
    type Answer: Send + 'static;

    /// Does them, and gives each its answer. After an error none of them has been done.
    fn run<'t>(
        tx: &'t mut Tx,
        asked: Vec<&'t Self>,
    ) -> BoxFuture<'t, Result<Vec<Self::Answer>, StoreError>>;
}

/// Hands transactions to the task. Clones share it; it ends with the last one.
#[derive(Clone)]
pub(in crate::store) struct Writer {
    waiting: mpsc::Sender<Waiting>,
}

impl Writer {
    /// Starts the task that owns the connection; the engine makes one if there is none.
    pub(in crate::store) fn start(
        engine: Arc<Engine>,
        db: Option<Connection>,
        signals: Arc<Signals>,
    ) -> Self {
        let (sender, waiting) = mpsc::channel(MAX_WAITING);
        tokio::spawn(write(engine, db, waiting, signals));
        Self { waiting: sender }
    }

    /// Waits until the task has ended, which it does before its time only by a panic.
    pub(in crate::store) async fn stopped(&self) {
        self.waiting.closed().await;
    }

    /// Runs a transaction of a kind, and answers when it is committed. It takes place even if the caller stops waiting.
    pub(super) async fn ask<S: Set>(&self, what: S) -> Result<S::Answer, StoreError>
    where
        Asked<S>: Into<Waiting>,
    {
        let (answer, answered) = oneshot::channel();
        let outcome = Outcome::new(answer);
        self.send(Asked { what, outcome }, answered).await
    }

    /// Runs a transaction that is the only one of its kind, and answers when it is committed. It takes place even if the
    /// caller stops waiting.
    pub(in crate::store) async fn run<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, StoreError>> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let job: Box<dyn Job> = Box::new(Single {
            work: Some(work),
            outcome: Outcome::new(answer),
        });
        self.send(job, answered).await
    }

    async fn send<T>(
        &self,
        what: impl Into<Waiting>,
        answered: oneshot::Receiver<Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let sent = self.waiting.send(what.into()).await;
        sent.map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| StoreError::Closed)?
    }
}

async fn write(
    engine: Arc<Engine>,
    mut db: Option<Connection>,
    mut waiting: mpsc::Receiver<Waiting>,
    signals: Arc<Signals>,
) {
    let mut taken = Vec::with_capacity(MAX_GROUP);
    let mut pace = Pace::default();
    while pace.gather(&mut waiting, &mut taken, MAX_GROUP).await {
        let size = taken.len();
        metrics::histogram!(crate::metric::COMMIT_SIZE).record(size as f64);
        let mut group: Group = taken.drain(..).collect();
        let commit = match engine.begin(&mut db).await {
            Ok(begun) => {
                let mut tx = Tx {
                    db: begun,
                    effects: Effects::default(),
                    touched: false,
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
                tracing::warn!(%error, transactions = size, "a commit failed");
            }
            Err(error) => {
                tracing::error!(%error, transactions = size, "a commit failed");
            }
        }
        group.answer(&commit);
    }
    if let Some(db) = db {
        engine.close(db).await;
    }
}

impl Tx {
    /// Does what a group asks for and commits it; an error undoes it all.
    async fn commit(&mut self, group: &mut Group) -> Result<(), StoreError> {
        self.together(&mut group.opens).await?;
        self.together(&mut group.applies).await?;
        self.together(&mut group.creates).await?;
        for job in &mut group.others {
            let done = self.begin_part().await?;
            let ran = job.run(self).await;
            self.end_part(done, ran).await?;
        }
        self.execute("COMMIT").await
    }

    /// Does a set at once or, if that fails, one by one, so that whatever fails takes nothing else with it.
    async fn together<S: Set>(&mut self, set: &mut [Asked<S>]) -> Result<(), StoreError> {
        let parts: Vec<&mut [Asked<S>]> = match self.attempt(set).await? {
            Ok(()) => return Ok(()),
            Err(_) if set.len() > 1 => set.chunks_mut(1).collect(),
            Err(error) => {
                set[0].outcome.result = Err(error);
                return Ok(());
            }
        };
        for part in parts {
            if let Err(error) = self.attempt(part).await? {
                part[0].outcome.result = Err(error);
            }
        }
        Ok(())
    }

    async fn attempt<S: Set>(
        &mut self,
        set: &mut [Asked<S>],
    ) -> Result<Result<(), StoreError>, StoreError> {
        if set.is_empty() {
            return Ok(Ok(()));
        }
        let part = self.begin_part().await?;
        let ran = S::run(self, set.iter().map(|asked| &asked.what).collect()).await;
        let done = ran.map(|answers| {
            for (asked, answer) in set.iter_mut().zip(answers) {
                asked.outcome.result = Ok(answer);
            }
        });
        self.end_part(part, done.clone()).await?;
        Ok(done)
    }

    /// Sees to it that a savepoint is set, before which nothing is to be undone.
    async fn begin_part(&mut self) -> Result<Part, StoreError> {
        if self.touched {
            self.execute("RELEASE SAVEPOINT job; SAVEPOINT job").await?;
        }
        self.touched = true;
        Ok(Part {
            news: self.effects.news.len(),
        })
    }

    /// Undoes a part that failed. An error is that of the whole transaction.
    async fn end_part(
        &mut self,
        part: Part,
        ran: Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let Err(error) = ran else { return Ok(()) };
        self.effects.news.truncate(part.news);
        // When the disk is full, SQLite rolls back all of the group itself: then the cause is this one's for all.
        let undo = self.execute("ROLLBACK TO SAVEPOINT job").await;
        undo.map_err(|_| error)?;
        self.touched = false;
        Ok(())
    }

    async fn execute(&mut self, sql: &'static str) -> Result<(), StoreError> {
        sqlx::raw_sql(sql).execute(&mut self.db).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
