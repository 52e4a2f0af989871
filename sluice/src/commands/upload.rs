//! `sluice upload`: sends files and folders, several at a time, and says what became of each.

mod find;
mod report;
mod screen;
mod send;

use super::{
    account::{Account, ServerFlag},
    client::{Exit, Failure, remark},
};
use clap::{Args, ValueEnum};
use client::{Client, UploadError};
use find::{Found, find};
use futures::{StreamExt, stream::FuturesUnordered};
use report::{FileReport, Report};
use screen::Screen;
use send::Sending;
use std::{path::PathBuf, time::Duration};

/// Time to reach the server at first: who mistyped its address should know soon.
const FIRST_PATIENCE: Duration = Duration::from_secs(5);

/// Files handed to the client beyond those being sent, so that the next is at hand and storing holds nobody up.
const AHEAD: usize = 64;

/// Flags of `sluice upload`.
#[derive(Debug, Args)]
pub(crate) struct Upload {
    /// Files and folders; folders with all that is in them, symbolic links are not followed
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    server: ServerFlag,
    /// How many files are sent at once
    #[arg(long, value_name = "COUNT", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=64))]
    parallel: u32,
    /// What to wait for: that the server holds each file safely, or that it is stored and listed too
    #[arg(long, value_name = "STATE", value_enum, default_value_t = Wait::Stored)]
    wait: Wait,
    /// Send files once more that were uploaded before and have not changed
    #[arg(long)]
    again: bool,
    /// How long to keep trying when the connection is lost, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    retry_for: u64,
    /// Print one JSON object per file and a summary
    #[arg(long)]
    json: bool,
}

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Wait {
    /// The server holds the file safely.
    Cached,
    /// The file is stored and listed.
    Stored,
}

impl Upload {
    /// Does it.
    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        let account = self.server.account()?;
        let paths = self.paths.clone();
        let found = tokio::task::spawn_blocking(move || find(&paths)).await;
        let found = found.map_err(|error| Failure::new(Exit::Incomplete, error))?;
        if found.files.is_empty() && found.problems.is_empty() {
            remark("there are no files to upload in it");
        }
        let client = self.connect(&account).await?;
        let sending = Sending::new(client.clone(), &account, self.again, self.wait);
        let screen = Screen::new(&found.files, self.json);
        let mut report = Report::new(self.json, screen.clone());
        let files = self.send_all(&sending, found, &mut report, &screen);
        let end = tokio::select! {
            end = files => end,
            () = interrupted() => Some(End::Interrupted),
        };
        if matches!(end, Some(End::Interrupted)) {
            screen.freeze();
        } else {
            screen.clear();
        }
        report.summary();
        client.close().await;
        match end {
            Some(End::Interrupted) => {
                remark("interrupted; the same command goes on where this one stopped");
                Ok(Exit::Interrupted)
            }
            Some(End::Session(error)) => {
                remark("the same command goes on where this one stopped");
                Err(error.into())
            }
            None => Ok(report.exit()),
        }
    }

    async fn connect(&self, account: &Account) -> Result<Client, Failure> {
        let builder = Client::builder(account.api.server().clone())
            .shared_tokens(account.tokens.clone())
            .program("sluice", env!("CARGO_PKG_VERSION"))
            .parallel(self.parallel)
            .patience(FIRST_PATIENCE, Duration::from_secs(self.retry_for));
        Ok(builder.connect().await?)
    }

    /// Sends everything found; ends early only if the session does.
    async fn send_all(
        &self,
        sending: &Sending,
        found: Found,
        report: &mut Report,
        screen: &Screen,
    ) -> Option<End> {
        found
            .skipped
            .into_iter()
            .for_each(|skipped| report.skipped(&skipped));
        found
            .problems
            .into_iter()
            .for_each(|problem| report.add(&problem));
        let mut connection = sending.connection();
        let mut files = found.files.into_iter();
        let mut under_way = FuturesUnordered::new();
        loop {
            while under_way.len() < AHEAD + self.parallel as usize
                && let Some(file) = files.next()
            {
                under_way.push(sending.send(file, screen));
            }
            tokio::select! {
                done = under_way.next() => match done {
                    Some(FileReport { result: Err(UploadError::Session(error)), .. }) => return Some(End::Session(error)),
                    Some(done) => report.add(&done),
                    None => return None,
                },
                Ok(()) = connection.changed() => screen.connection(&connection.borrow_and_update()),
            }
        }
    }
}

/// Why not everything was sent.
enum End {
    Interrupted,
    Session(client::Error),
}

/// Waits for Ctrl-C or a request to end.
async fn interrupted() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    // Where signals can't be caught they end the process by themselves.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
