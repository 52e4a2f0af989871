//! `sluice download`: fetches files and verifies them.

mod names;

use super::{
    account::{Account, ServerFlag},
    client::{Exit, Failure, printable, remark, say},
};
use clap::Args;
use client::{DownloadError, Error};
use futures::{StreamExt, stream};
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use names::Names;
use protocol::{
    FileId,
    file::{FileInfo, FileQuery},
};
use serde_json::json;
use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
};
use tokio::sync::Mutex;

/// Files listed at once.
const PAGE: u32 = 1000;

/// Flags of `sluice download`.
#[derive(Debug, Args)]
pub(crate) struct Download {
    /// Ids of files, as the history shows them
    #[arg(required_unless_present = "all", value_name = "ID")]
    ids: Vec<FileId>,
    /// All your files
    #[arg(long, conflicts_with = "ids")]
    all: bool,
    /// Folder to put them in; it is made if it is not there
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    output: PathBuf,
    #[command(flatten)]
    server: ServerFlag,
    /// How many files are fetched at once
    #[arg(long, value_name = "COUNT", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=32))]
    parallel: u8,
    /// Print one JSON object per file and a summary
    #[arg(long)]
    json: bool,
}

/// How a download ended well.
enum Fetched {
    /// Downloaded to here.
    Now(PathBuf),
    /// It was here already, with the right digest.
    Before(PathBuf),
}

/// A run of the command.
struct Run {
    account: Account,
    folder: PathBuf,
    names: Mutex<Names>,
    bar: ProgressBar,
    json: bool,
}

#[derive(Default)]
struct Counts {
    downloaded: u64,
    bytes: u64,
    already: u64,
    failed: u64,
}

impl Download {
    /// Does it.
    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        let account = self.server.account()?;
        let files = if self.all {
            list(&account).await?
        } else {
            look_up(&account, &self.ids).await?
        };
        tokio::fs::create_dir_all(&self.output)
            .await
            .map_err(|error| {
                Failure::new(
                    Exit::Incomplete,
                    format!("can't make {}: {error}", self.output.display()),
                )
            })?;
        let total = files.iter().flatten().map(|file| file.size).sum();
        let names = Mutex::new(Names::in_folder(&self.output));
        let run = Run {
            account,
            folder: self.output,
            names,
            bar: bar(total, self.json),
            json: self.json,
        };
        run.fetch_all(files, self.parallel.into()).await
    }
}

/// All of the user's files whose content is there.
async fn list(account: &Account) -> Result<Vec<Result<FileInfo, (FileId, Error)>>, Failure> {
    let owner = Some(account.login.user_id);
    let mut query = FileQuery {
        owner,
        limit: Some(PAGE),
        ..FileQuery::default()
    };
    let mut files = Vec::new();
    loop {
        let page = account.api.files(&query).await?;
        let has_content = |file: &FileInfo| {
            file.status.is_file() && file.status != protocol::TransferStatus::UploadFailed
        };
        files.extend(page.files.into_iter().filter(has_content).map(Ok));
        query.cursor = page.next_cursor;
        if query.cursor.is_none() {
            return Ok(files);
        }
    }
}

/// The files with these ids, in this order.
async fn look_up(
    account: &Account,
    ids: &[FileId],
) -> Result<Vec<Result<FileInfo, (FileId, Error)>>, Failure> {
    let mut files = Vec::new();
    for id in ids {
        match account.api.file(*id).await {
            Ok(file) => files.push(Ok(file)),
            Err(error @ Error::Refused(_)) => files.push(Err((*id, error))),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(files)
}

fn bar(total: u64, json: bool) -> ProgressBar {
    if !std::io::stderr().is_terminal() || (json && std::io::stdout().is_terminal()) {
        return ProgressBar::hidden();
    }
    let style =
        ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
    ProgressBar::new(total).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

impl Run {
    async fn fetch_all(
        &self,
        files: Vec<Result<FileInfo, (FileId, Error)>>,
        parallel: usize,
    ) -> Result<Exit, Failure> {
        let mut counts = Counts::default();
        let mut fetches = stream::iter(files)
            .map(|file| self.fetch(file))
            .buffer_unordered(parallel);
        let mut fatal = None;
        while let Some((id, info, result)) = fetches.next().await {
            self.report(id, info.as_ref(), &result, &mut counts);
            if let Err(DownloadError::Server(
                error @ (Error::Unreachable { .. } | Error::Unauthenticated { .. }),
            )) = result
            {
                fatal = Some(error);
                break;
            }
        }
        drop(fetches);
        self.bar.finish_and_clear();
        self.summary(&counts);
        match fatal {
            Some(error) => Err(error.into()),
            None if counts.failed > 0 => Ok(Exit::Incomplete),
            None => Ok(Exit::Fine),
        }
    }

    async fn fetch(
        &self,
        file: Result<FileInfo, (FileId, Error)>,
    ) -> (FileId, Option<FileInfo>, Result<Fetched, DownloadError>) {
        match file {
            Ok(info) => {
                let result = self.fetch_file(&info).await;
                (info.file_id, Some(info), result)
            }
            Err((id, error)) => (id, None, Err(error.into())),
        }
    }

    async fn fetch_file(&self, info: &FileInfo) -> Result<Fetched, DownloadError> {
        let place = self.names.lock().await.place(info).await?;
        let path = match place {
            names::Place::Taken(path) => {
                self.bar.inc(info.size);
                return Ok(Fetched::Before(path));
            }
            names::Place::Free(path) => path,
        };
        let part = self.folder.join(format!("{}.part", info.file_id));
        let mut counted = 0;
        let progress = |held: u64| {
            if held >= counted {
                self.bar.inc(held - counted);
            } else {
                self.bar.dec(counted - held);
            }
            counted = held;
        };
        self.account.api.download(info, &part, progress).await?;
        tokio::fs::rename(&part, &path).await?;
        Ok(Fetched::Now(path))
    }

    fn report(
        &self,
        id: FileId,
        info: Option<&FileInfo>,
        result: &Result<Fetched, DownloadError>,
        counts: &mut Counts,
    ) {
        let size = info.map_or(0, |info| info.size);
        match result {
            Ok(Fetched::Now(_)) => {
                counts.downloaded += 1;
                counts.bytes += size;
            }
            Ok(Fetched::Before(_)) => counts.already += 1,
            Err(_) => counts.failed += 1,
        }
        let (status, path, reason) = match result {
            Ok(Fetched::Now(path)) => ("downloaded", Some(path), None),
            Ok(Fetched::Before(path)) => ("there", Some(path), None),
            Err(error) => ("failed", None, Some(error.to_string())),
        };
        if self.json {
            let path = path.map(|path| path.to_string_lossy());
            let digest = info.and_then(|info| info.digest);
            let line = json!({"type": "file", "file_id": id, "status": status, "path": path, "size": size, "digest": digest, "reason": reason});
            return self.bar.suspend(|| say(line));
        }
        let what = path.map_or_else(|| id.to_string(), |path| printable(&path.to_string_lossy()));
        let reason = reason
            .map(|reason| format!(": {}", printable(&reason)))
            .unwrap_or_default();
        if result.is_err() || self.bar.is_hidden() {
            self.bar
                .suspend(|| remark(format!("{status:<10}  {what}{reason}")));
        }
    }

    fn summary(&self, counts: &Counts) {
        let Counts {
            downloaded,
            bytes,
            already,
            failed,
        } = counts;
        if self.json {
            return say(
                json!({"type": "summary", "downloaded": downloaded, "downloaded_bytes": bytes, "already": already, "failed": failed}),
            );
        }
        let mut line = format!(
            "{downloaded} downloaded and verified ({})",
            HumanBytes(*bytes)
        );
        for (count, what) in [(already, "there already"), (failed, "failed")] {
            if *count > 0 {
                line.push_str(&format!(", {count} {what}"));
            }
        }
        say(line);
    }
}

/// Whether a file on disk has this content, by its digest. Blocks.
fn holds(path: &Path, info: &FileInfo) -> std::io::Result<bool> {
    match info.digest {
        Some(digest) => Ok(client::digest_of_file(path, digest.algorithm)? == digest),
        None => Ok(false),
    }
}
