//! Where a run takes place: its options, its scratch folders, and quiet between rounds.

use crate::{Result, cli::say};
use indicatif::{ProgressBar, ProgressStyle};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// How long the machine is left alone after each round.
const PAUSE: Duration = Duration::from_millis(700);

/// What was asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// Rounds that count.
    pub rounds: usize,
    /// Only contenders whose names contain one of these; all, if empty.
    pub only: Vec<String>,
    /// The `sluice` binary.
    pub sluice: PathBuf,
    /// The folder of results.
    pub out: PathBuf,
    /// Whether sizes are tiny.
    pub quick: bool,
}

/// A run's surroundings.
#[derive(Debug)]
pub struct Lab {
    /// What was asked for.
    pub options: Options,
    scratch: PathBuf,
    bar: ProgressBar,
}

impl Lab {
    /// Prepares the folders, and takes as many open files as the system grants.
    ///
    /// # Errors
    /// When the folder of results can't be written.
    pub fn new(mut options: Options) -> Result<Self> {
        std::fs::create_dir_all(&options.out)
            .map_err(|error| format!("{}: {error}", options.out.display()))?;
        options.out = options.out.canonicalize()?;
        if let Ok(path) = options.sluice.canonicalize() {
            options.sluice = path;
        }
        let scratch = options.out.join(format!("scratch-{}", std::process::id()));
        std::fs::create_dir_all(&scratch)?;
        raise_open_files()?;
        let bar = ProgressBar::new_spinner();
        bar.set_style(ProgressStyle::with_template("{spinner} {msg} {elapsed}")?);
        bar.enable_steady_tick(Duration::from_millis(500));
        Ok(Self {
            options,
            scratch,
            bar,
        })
    }

    /// An empty folder for one round of one contender, removed when dropped. It lies beside the results, so that the file system
    /// measured is the one that `--out` chose.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn scratch(&self) -> Result<tempfile::TempDir> {
        Ok(tempfile::Builder::new()
            .prefix("round-")
            .tempdir_in(&self.scratch)?)
    }

    /// A folder that stays from run to run: what is installed is kept here.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn kept(&self, name: &str) -> Result<PathBuf> {
        let folder = self.options.out.join(name);
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// `full`, or `quick` in a quick run.
    pub fn size<T>(&self, full: T, quick: T) -> T {
        if self.options.quick { quick } else { full }
    }

    /// Whether this contender was asked for.
    #[must_use]
    pub fn wants(&self, contender: &str) -> bool {
        let only = &self.options.only;
        only.is_empty() || only.iter().any(|part| contender.contains(part.as_str()))
    }

    /// Shows what is being done now.
    pub fn doing(&self, what: impl Into<String>) {
        self.bar.set_message(what.into());
    }

    /// Tells something that stays to be read.
    pub fn tell(&self, line: &str) {
        self.bar.suspend(|| say(line));
    }

    /// Lets the disk and the machine settle: what was written is on the disk, and nothing happens for a moment.
    pub async fn settle(&self) {
        // It waits for the disk, so not on a thread that others need.
        let _ = tokio::task::spawn_blocking(rustix::fs::sync).await;
        tokio::time::sleep(self.size(PAUSE, Duration::from_millis(20))).await;
    }

    /// Removes the scratch folders.
    pub fn clean(&self) {
        self.bar.finish_and_clear();
        remove(&self.scratch);
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.clean();
    }
}

fn remove(folder: &Path) {
    if folder.exists() {
        // What is left is in the folder of results, where it is seen.
        let _ = std::fs::remove_dir_all(folder);
    }
}

/// Ten thousand sockets need as many descriptors: the soft limit becomes the hard one, also for the servers started.
fn raise_open_files() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    )
    .map_err(|error| format!("the limit of open files can't be raised: {error}").into())
}
