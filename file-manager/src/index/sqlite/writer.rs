//! Adds entries: those that wait while others are being committed share their statements and the next commit, which costs a
//! sync to disk, whatever it commits.

use super::{IndexError, IndexedFile, rows, unavailable};
use protocol::FileId;
use service_kit::pace::Pace;
use sqlx::SqlitePool;
use std::collections::HashSet;
use tokio::sync::{mpsc, oneshot};

/// How many entries may wait; further callers wait for a place.
const MAX_WAITING: usize = 1024;

/// How many entries share a commit at most.
const MAX_GROUP: usize = 128;

/// Hands entries to the task that adds them, which ends with this.
pub(super) struct Writer {
    waiting: mpsc::Sender<Asked>,
}

/// An entry that waits, and who wants to know whether it was new.
struct Asked {
    file: IndexedFile,
    answer: oneshot::Sender<Result<bool, IndexError>>,
}

impl Writer {
    /// Starts the task, which writes by the one connection of `pool`.
    pub(super) fn start(pool: SqlitePool) -> Self {
        let (sender, waiting) = mpsc::channel(MAX_WAITING);
        tokio::spawn(write(pool, waiting));
        Self { waiting: sender }
    }

    /// Adds an entry, unless there is one of this file, and answers when it is committed whether it was new. It takes place
    /// even if the caller stops waiting.
    pub(super) async fn insert(&self, file: IndexedFile) -> Result<bool, IndexError> {
        let stopped = || IndexError::Unavailable("its writer has stopped".to_owned());
        let (answer, answered) = oneshot::channel();
        let sent = self.waiting.send(Asked { file, answer }).await;
        sent.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }
}

async fn write(pool: SqlitePool, mut waiting: mpsc::Receiver<Asked>) {
    let mut group = Vec::with_capacity(MAX_GROUP);
    let mut pace = Pace::default();
    while pace.gather(&mut waiting, &mut group, MAX_GROUP).await {
        let mut added = add(&pool, &group).await;
        // One that can't be added must not keep the others out.
        if let Err(IndexError::Conflict(_) | IndexError::Damaged(_)) = added {
            for asked in group.drain(..) {
                let alone = add(&pool, std::slice::from_ref(&asked)).await;
                tell(asked, alone.map(|added| !added.is_empty()));
            }
        }
        for asked in group.drain(..) {
            // Of two entries of one file, one is new.
            let is_new = match &mut added {
                Ok(added) => Ok(added.remove(&asked.file.info.file_id)),
                Err(error) => Err(error.clone()),
            };
            tell(asked, is_new);
        }
    }
}

fn tell(asked: Asked, is_new: Result<bool, IndexError>) {
    // Nobody listens if the caller has gone away; the entry is there all the same.
    let _ = asked.answer.send(is_new);
}

/// Adds all of these in one transaction, or none; answers those that were new.
async fn add(pool: &SqlitePool, group: &[Asked]) -> Result<HashSet<FileId>, IndexError> {
    let mut transaction = pool
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(unavailable)?;
    let files: Vec<&IndexedFile> = group.iter().map(|asked| &asked.file).collect();
    let added = rows::insert(&mut transaction, &files).await?;
    transaction.commit().await.map_err(unavailable)?;
    Ok(added)
}
