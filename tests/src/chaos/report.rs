//! What is reported of a run: a table for people, JSON for programs.

use super::{Case, load::Ended};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fmt::Write,
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Failures that are written out of each case; of the others only the number.
const SHOWN: usize = 10;

/// How a case went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What it is called.
    pub name: String,
    /// What happened.
    pub description: String,
    /// What went wrong; nothing if all is well.
    pub failures: Vec<String>,
    /// How long all of it took.
    pub took: Duration,
    /// How long the fault lasted.
    pub lasted: Duration,
    /// Files that were sent.
    pub files: usize,
    /// Those that were under way, or waited to be stored, when the fault came.
    pub in_flight: usize,
    /// From the end of the fault until every client had moved again, if every upload has.
    pub moving_after: Option<Duration>,
    /// From the end of the fault until all files begun before were stored.
    pub stored_after: Option<Duration>,
    /// The longest time in which nothing of a client's uploads moved, the fault included.
    pub silence: Duration,
    /// How often clients were told to wait, by code.
    pub told_to_wait: BTreeMap<String, usize>,
    /// Files for which an attempt to store them was counted beside the one that stored them.
    pub tried_again: usize,
    /// Lines of the processes' logs at the level of errors.
    pub errors_logged: usize,
    /// Where the logs are, of a case that failed.
    pub logs: Option<PathBuf>,
}

impl Outcome {
    pub(super) fn of(case: &Case) -> Self {
        Self {
            name: case.name().to_owned(),
            description: case.description(),
            failures: Vec::new(),
            took: Duration::ZERO,
            lasted: Duration::ZERO,
            files: 0,
            in_flight: 0,
            moving_after: None,
            stored_after: None,
            silence: Duration::ZERO,
            told_to_wait: BTreeMap::new(),
            tried_again: 0,
            errors_logged: 0,
            logs: None,
        }
    }

    /// Takes over the figures.
    pub(super) fn note(&mut self, ended: &Ended, began: Instant, healed: Instant) {
        let stored = |at: &super::Verdict| at.stored.map(|(at, _)| at);
        self.files = ended.verdicts.len();
        let in_flight = ended
            .verdicts
            .iter()
            .filter(|file| file.begun < began && stored(file).is_none_or(|stored| stored > began));
        self.in_flight = in_flight.count();
        let before = ended.verdicts.iter().filter(|file| file.begun < healed);
        let last = before.map(stored).collect::<Option<Vec<_>>>();
        let last = last.and_then(|stored| stored.into_iter().max());
        self.stored_after = last.map(|last| last.saturating_duration_since(healed));
        self.silence = ended.silence;
        self.told_to_wait = ended.told_to_wait.clone();
    }

    /// Whether all was well.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.failures.is_empty()
    }

    fn json(&self) -> Value {
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
        json!({
            "name": self.name, "description": self.description, "ok": self.is_well(), "failures": self.failures,
            "took_s": self.took.as_secs_f64(), "fault_s": self.lasted.as_secs_f64(),
            "files": self.files, "in_flight_at_fault": self.in_flight,
            "moving_after_s": seconds(self.moving_after), "stored_after_s": seconds(self.stored_after),
            "longest_silence_s": self.silence.as_secs_f64(), "told_to_wait": self.told_to_wait,
            "files_tried_again": self.tried_again, "errors_logged": self.errors_logged,
        })
    }

    fn row(&self) -> String {
        let seconds = |time: Option<Duration>| {
            time.map_or_else(
                || "never".to_owned(),
                |time| format!("{:.1}", time.as_secs_f64()),
            )
        };
        let told: Vec<_> = self
            .told_to_wait
            .iter()
            .map(|(code, times)| format!("{times} × {code}"))
            .collect();
        format!(
            "| {} | {} | {:.0} | {} | {} | {} | {} | {} | {} | {} | {} |",
            self.name,
            if self.is_well() { "ok" } else { "**failed**" },
            self.lasted.as_secs_f64(),
            self.in_flight,
            self.files,
            seconds(self.moving_after),
            seconds(self.stored_after),
            seconds(Some(self.silence)),
            told.join(", "),
            self.tried_again,
            self.errors_logged,
        )
    }
}

/// A whole run.
#[derive(Debug, Default)]
pub struct Report {
    /// Each case that was run.
    pub outcomes: Vec<Outcome>,
}

impl Report {
    /// Writes `report.md` and `report.json`; answers the path of the first.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write(&self) -> io::Result<PathBuf> {
        let folder = folder();
        std::fs::create_dir_all(&folder)?;
        let cases: Vec<_> = self.outcomes.iter().map(Outcome::json).collect();
        let json = serde_json::to_vec_pretty(&json!({"cases": cases}))?;
        std::fs::write(folder.join("report.json"), json)?;
        let path = folder.join("report.md");
        std::fs::write(&path, self.text())?;
        Ok(path)
    }

    fn text(&self) -> String {
        let well = self.outcomes.iter().filter(|case| case.is_well()).count();
        let files: usize = self.outcomes.iter().map(|case| case.files).sum();
        let took: Duration = self.outcomes.iter().map(|case| case.took).sum();
        let mut text = format!(
            "# Faults beneath fifty uploads\n\n\
             {well} of {} cases went well: {files} files, {} minutes. In each case ten clients keep five uploads each under way, \
             through two of each role, and are helped by nobody; what is killed is started again, and nothing else. Afterwards \
             every file reported as held must be stored exactly once: one entry in the list, one blob with its digest (read by \
             MongoDB's own GridFS client), each of its two notifications once, live and in the log; the chunk cache must be empty.\n\n\
             Times are in seconds. *Moving*: from the end of the fault until something that it sent had been acknowledged to \
             each client. *Stored*: until all that was begun before the end of the fault was stored. Clients are slow (256 KiB/s \
             each), so both are to be compared with the case in which nothing happens. *Silence*: the longest time in which \
             nothing that a client was sending moved, the fault included.\n\n\
             | case | | fault | in flight | files | moving | stored | silence | told to wait | tried again | errors logged |\n\
             |---|---|---|---|---|---|---|---|---|---|---|\n",
            self.outcomes.len(),
            took.as_secs() / 60,
        );
        for case in &self.outcomes {
            text.push_str(&case.row());
            text.push('\n');
        }
        text.push_str("\n## The cases\n\n");
        for case in &self.outcomes {
            // Writing to a text can't fail.
            let _ = writeln!(text, "- `{}`: {}.", case.name, case.description);
            for failure in case.failures.iter().take(SHOWN) {
                let _ = writeln!(text, "  - {failure}");
            }
            if case.failures.len() > SHOWN {
                let _ = writeln!(text, "  - and {} more", case.failures.len() - SHOWN);
            }
            if let Some(logs) = &case.logs {
                let _ = writeln!(text, "  - logs: {}", logs.display());
            }
        }
        text
    }
}

/// Where reports are written.
pub(super) fn folder() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"));
    target.join("chaos")
}
