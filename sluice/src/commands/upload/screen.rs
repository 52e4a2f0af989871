//! Progress on the terminal: a bar for each file being sent and one for all; without a terminal, plain lines.

use super::find::ToSend;
use crate::commands::client::{printable, remark, say};
use client::{Connection, FileOutcome, Progress, UploadError, UploadState};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{
    collections::{HashMap, HashSet},
    io::IsTerminal,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// Short enough for a terminal of 60 columns.
const TOTAL: &str = "{bar:10} {bytes}/{total_bytes} {bytes_per_sec} {eta}  {wide_msg}";
const FILE: &str = "{bar:10} {bytes}/{total_bytes}  {wide_msg}";
/// A line of its own, so that it is seen on a narrow terminal too.
const TROUBLE: &str = "{wide_msg}";

/// The terminal. Clones share it.
#[derive(Clone)]
pub(super) enum Screen {
    Bars(Arc<Bars>),
    Lines(Arc<Lines>),
}

/// Without a terminal.
#[derive(Default)]
pub(super) struct Lines {
    /// Files of which it was said that they have to wait.
    waiting: Mutex<HashSet<PathBuf>>,
    /// Whether it was said that the connection is lost.
    lost: AtomicBool,
}

pub(super) struct Bars {
    all: MultiProgress,
    total: ProgressBar,
    shown: Mutex<Shown>,
}

struct Shown {
    files: HashMap<PathBuf, File>,
    count: usize,
    done: usize,
    trouble: Option<ProgressBar>,
}

/// One file's share of the screen.
#[derive(Default)]
struct File {
    bar: Option<ProgressBar>,
    /// Bytes that the total bar counts for it.
    counted: u64,
}

impl Screen {
    pub(super) fn new(files: &[ToSend], json: bool) -> Self {
        // JSON lines and bars on one terminal would be readable neither for people nor for programs.
        if !std::io::stderr().is_terminal() || (json && std::io::stdout().is_terminal()) {
            return Self::Lines(Arc::default());
        }
        let all = MultiProgress::new();
        let total = all.add(ProgressBar::new(files.iter().map(|file| file.size).sum()));
        total.set_style(style(TOTAL));
        let shown = Shown {
            files: HashMap::new(),
            count: files.len(),
            done: 0,
            trouble: None,
        };
        let bars = Bars {
            all,
            total,
            shown: Mutex::new(shown),
        };
        bars.caption(&bars.shown());
        Self::Bars(Arc::new(bars))
    }

    pub(super) fn has_bars(&self) -> bool {
        matches!(self, Self::Bars(_))
    }

    /// Prints a line that was asked for.
    pub(super) fn say(&self, line: &str) {
        match self {
            Self::Bars(bars) => bars.all.suspend(|| say(line)),
            Self::Lines(_) => say(line),
        }
    }

    /// Prints a remark.
    pub(super) fn remark(&self, line: &str) {
        match self {
            Self::Bars(bars) => bars.all.suspend(|| remark(line)),
            Self::Lines(_) => remark(line),
        }
    }

    /// How far a file is.
    pub(super) fn progress(&self, file: &ToSend, progress: &Progress) {
        let bars = match self {
            Self::Bars(bars) => bars,
            Self::Lines(lines) => return lines.progress(file, progress),
        };
        let mut shown = bars.shown();
        let entry = shown.files.entry(file.path.clone()).or_default();
        // What the server held before says nothing about the speed.
        let resumed = entry.bar.is_none() && progress.acked > entry.counted;
        match &progress.state {
            UploadState::Queued => {}
            UploadState::Sending | UploadState::Waiting(_) => {
                let bar = entry.bar.get_or_insert_with(|| bars.add(file));
                bar.set_position(progress.acked);
                let name = printable(&file.path.to_string_lossy());
                match &progress.state {
                    UploadState::Waiting(refusal) => {
                        bar.set_message(format!("{name} (waiting: {refusal})"));
                    }
                    _ => bar.set_message(name),
                }
            }
            UploadState::Cached(_) | UploadState::Stored(_) | UploadState::Failed(_) => {
                if let Some(bar) = entry.bar.take() {
                    bars.all.remove(&bar);
                }
            }
        }
        bars.count(entry, progress.acked);
        if resumed {
            bars.total.reset_eta();
        }
    }

    /// A file has ended.
    pub(super) fn done(&self, file: &ToSend, result: &Result<FileOutcome, UploadError>) {
        let Self::Bars(bars) = self else { return };
        let mut shown = bars.shown();
        let mut entry = shown.files.remove(&file.path).unwrap_or_default();
        if let Some(bar) = entry.bar.take() {
            bars.all.remove(&bar);
        }
        match result {
            Ok(_) => bars.count(&mut entry, file.size),
            // What will never be sent is no part of the total.
            Err(_) => {
                bars.count(&mut entry, 0);
                bars.total.set_length(
                    bars.total
                        .length()
                        .unwrap_or_default()
                        .saturating_sub(file.size),
                );
            }
        }
        shown.done += 1;
        bars.caption(&shown);
    }

    /// How the connection stands.
    pub(super) fn connection(&self, connection: &Connection) {
        let trouble = match connection {
            Connection::Connecting => return,
            Connection::Connected(_) | Connection::Closed(_) => None,
            Connection::Waiting { reason, .. } => {
                Some(format!("connection lost, trying again: {reason}"))
            }
        };
        match self {
            Self::Bars(bars) => bars.trouble(trouble),
            Self::Lines(lines) => lines.trouble(trouble, connection),
        }
    }

    /// Removes the bars.
    pub(super) fn clear(&self) {
        if let Self::Bars(bars) = self {
            // A terminal that is gone needs no clearing.
            let _ = bars.all.clear();
            bars.hide();
        }
    }

    /// Leaves the bars as they stand and shows no more. The terminal has put its `^C` beneath them, so that clearing them
    /// would miss a line.
    pub(super) fn freeze(&self) {
        if let Self::Bars(bars) = self {
            bars.hide();
            remark("");
        }
    }
}

impl Lines {
    /// Says once that the connection is lost, and that it is there again; further attempts are no news.
    fn trouble(&self, trouble: Option<String>, connection: &Connection) {
        let was_lost = self.lost.swap(trouble.is_some(), Ordering::Relaxed);
        match trouble {
            Some(trouble) if !was_lost => remark(trouble),
            None if was_lost && matches!(connection, Connection::Connected(_)) => {
                remark("connected again");
            }
            _ => {}
        }
    }

    /// Says once of a file that it has to wait; other progress is no news.
    fn progress(&self, file: &ToSend, progress: &Progress) {
        let UploadState::Waiting(refusal) = &progress.state else {
            return;
        };
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.insert(file.path.clone()) {
            remark(format!(
                "waiting   {}: {refusal}",
                printable(&file.path.to_string_lossy())
            ));
        }
    }
}

impl Bars {
    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, file: &ToSend) -> ProgressBar {
        let bar = self
            .all
            .insert_before(&self.total, ProgressBar::new(file.size));
        bar.set_style(style(FILE));
        bar
    }

    /// Lets the total bar count so many bytes for a file.
    fn count(&self, file: &mut File, bytes: u64) {
        if bytes >= file.counted {
            self.total.inc(bytes - file.counted);
        } else {
            self.total.dec(file.counted - bytes);
        }
        file.counted = bytes;
    }

    fn caption(&self, shown: &Shown) {
        self.total
            .set_message(format!("{}/{} files", shown.done, shown.count));
    }

    /// Shows what is wrong with the connection, or that nothing is any more.
    fn trouble(&self, trouble: Option<String>) {
        let mut shown = self.shown();
        match trouble {
            Some(trouble) => {
                let line = shown.trouble.get_or_insert_with(|| {
                    let line = self
                        .all
                        .insert_after(&self.total, ProgressBar::new_spinner());
                    line.set_style(style(TROUBLE));
                    line
                });
                line.set_message(printable(&trouble));
            }
            None => {
                if let Some(line) = shown.trouble.take() {
                    self.all.remove(&line);
                }
            }
        }
    }

    /// Draws no more: news that come in while the end is printed would be drawn over it.
    fn hide(&self) {
        self.all.set_draw_target(ProgressDrawTarget::hidden());
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_valid() {
        for template in [TOTAL, FILE, TROUBLE] {
            ProgressStyle::with_template(template).unwrap();
        }
    }
}
