//! Where a run takes place: its options, its scratch folders, and quiet between rounds.

use crate::{Result, cli::say};
use indicatif::{ProgressBar, ProgressStyle};
use std::{
    fs::{self, OpenOptions},
    mem,
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
    /// Another build of it, to be measured beside it.
    pub beside: Option<PathBuf>,
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
        fs::create_dir_all(&options.out)
            .map_err(|error| format!("{}: {error}", options.out.display()))?;
        options.out = options.out.canonicalize()?;
        options.sluice = absolute(options.sluice);
        options.beside = options.beside.map(absolute);
        if let Some(beside) = options.beside.as_ref().filter(|sluice| !sluice.is_file()) {
            return Err(format!("--beside: there is no {}", beside.display()).into());
        }
        let scratch = options.out.join(format!("scratch-{}", std::process::id()));
        fs::create_dir_all(&scratch)?;
        // Ten thousand sockets need as many descriptors, also in the servers started.
        service_kit::open_files::raise()?;
        let bar = ProgressBar::new_spinner();
        bar.set_style(ProgressStyle::with_template("{spinner} {msg} {elapsed}")?);
        bar.enable_steady_tick(Duration::from_millis(500));
        Ok(Self {
            options,
            scratch,
            bar,
        })
    }

    /// The surroundings of the other build, if there is one.
    ///
    /// # Errors
    /// When its folder can't be made.
    pub fn beside(&self) -> Result<Option<Self>> {
        let Some(sluice) = self.options.beside.clone() else {
            return Ok(None);
        };
        let scratch = self.scratch.join("beside");
        fs::create_dir_all(&scratch)?;
        let options = Options {
            sluice,
            beside: None,
            ..self.options.clone()
        };
        let bar = self.bar.clone();
        Ok(Some(Self {
            options,
            scratch,
            bar,
        }))
    }

    /// An empty folder for one round of one contender. It lies beside the results, so that the file system measured is the one
    /// that `--out` chose.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn scratch(&self) -> Result<Scratch> {
        let mut folder = tempfile::Builder::new();
        let folder = folder.prefix("round-").tempdir_in(&self.scratch)?;
        Ok(Scratch(folder.keep()))
    }

    /// The folder of results. That of quick runs is another one, so that they replace nothing that means something.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn results(&self) -> Result<PathBuf> {
        let out = &self.options.out;
        let folder = self.size(out.clone(), out.join("quick"));
        fs::create_dir_all(&folder)?;
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
        only.is_empty() || only.iter().any(|part| is_called(contender, part))
    }

    /// That each name asked for is one of these.
    ///
    /// # Errors
    /// When one is not.
    pub fn knows(&self, contenders: &[String]) -> Result<()> {
        for part in &self.options.only {
            if !contenders.iter().any(|name| is_called(name, part)) {
                return Err(format!("no contender of these scenarios is called {part}").into());
            }
        }
        Ok(())
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

/// Whether this is a part of the contender's name, in whatever case.
fn is_called(contender: &str, part: &str) -> bool {
    contender.to_lowercase().contains(&part.to_lowercase())
}

/// A path that holds in other folders, too. What isn't there is told of by who needs it.
fn absolute(path: PathBuf) -> PathBuf {
    path.canonicalize().unwrap_or(path)
}

/// The folder of one round. When dropped its files are emptied, and only the end of the run removes them: making a file in an
/// ext4 without a journal passes over every inode freed in the last minutes (`recently_deleted` in the kernel's
/// `fs/ext4/ialloc.c`), so that each round would pay for those before it.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Lets its content stay until the end of the run.
    #[must_use]
    pub fn keep(self) -> PathBuf {
        let path = self.0.clone();
        mem::forget(self);
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        empty(&self.0);
    }
}

/// Empties the files in a folder. What can't be emptied takes room until the end of the run, no more.
fn empty(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => empty(&entry.path()),
            Ok(kind) if kind.is_file() => {
                let file = OpenOptions::new().write(true).open(entry.path());
                let _ = file.and_then(|file| file.set_len(0));
            }
            _ => {}
        }
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
        let _ = fs::remove_dir_all(folder);
    }
}
