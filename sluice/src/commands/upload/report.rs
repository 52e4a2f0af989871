//! What became of the files, for people and for programs.

use super::screen::Screen;
use crate::commands::client::{Exit, printable};
use client::{FileOutcome, UploadError};
use indicatif::HumanBytes;
use protocol::ErrorCode;
use serde_json::json;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// How one file ended.
#[derive(Debug)]
pub(super) struct FileReport {
    pub(super) path: PathBuf,
    pub(super) size: u64,
    pub(super) result: Result<FileOutcome, UploadError>,
    /// Why it was not even tried.
    pub(super) problem: Option<Problem>,
}

/// Why something was not tried.
#[derive(Debug)]
pub(super) enum Problem {
    /// It is something else, as described.
    NotAFile(String),
}

impl FileReport {
    /// A path that can't be sent.
    pub(super) fn problem(path: PathBuf, problem: Problem) -> Self {
        Self {
            path,
            size: 0,
            result: Err(UploadError::Cancelled),
            problem: Some(problem),
        }
    }

    /// A word for what went wrong; the server's code if it was the server.
    fn code(&self) -> Option<&'static str> {
        if self.problem.is_some() {
            return Some("not-a-file");
        }
        match self.result.as_ref().err()? {
            UploadError::Refused(refusal) => Some(refusal.code.as_str()),
            UploadError::NotStored { .. } => Some("upload-failed"),
            UploadError::Changed => Some("changed"),
            UploadError::Unreadable(_) => Some("unreadable"),
            UploadError::Cancelled => Some("cancelled"),
            UploadError::Session(_) => Some("session"),
        }
    }

    /// What went wrong, for people.
    pub(super) fn reason(&self) -> Option<String> {
        match (&self.problem, &self.result) {
            (Some(Problem::NotAFile(what)), _) => Some(what.clone()),
            (None, Err(UploadError::Refused(refusal))) if refusal.code == ErrorCode::Superseded => {
                let reason = "another run of this command has taken it over and goes on with it";
                Some(format!("{reason} ({})", refusal.code.as_str()))
            }
            (None, Err(error)) => Some(error.to_string()),
            (None, Ok(_)) => None,
        }
    }

    /// Whether the server would not have it, as against: something failed.
    fn is_refused(&self) -> bool {
        matches!(self.result, Err(UploadError::Refused(_))) && self.problem.is_none()
    }

    fn to_json(&self) -> serde_json::Value {
        let outcome = self.result.as_ref().ok();
        json!({
            "type": "file",
            "path": self.path.to_string_lossy(),
            "size": self.size,
            "status": match outcome {
                Some(outcome) => outcome.status.as_str(),
                None if self.is_refused() => "refused",
                None => "failed",
            },
            "already": outcome.is_some_and(|outcome| outcome.already),
            "upload_id": outcome.map(|outcome| outcome.upload_id),
            "file_id": outcome.and_then(|outcome| outcome.file_id),
            "digest": outcome.and_then(|outcome| outcome.digest),
            "code": self.code(),
            "reason": self.reason(),
        })
    }

    fn to_line(&self) -> String {
        let path = printable(&self.path.to_string_lossy());
        match (&self.result, self.reason()) {
            (_, Some(reason)) => {
                let what = if self.is_refused() {
                    "refused"
                } else {
                    "failed"
                };
                format!("{what:<9} {path}: {}", printable(&reason))
            }
            (Ok(outcome), None) if outcome.already => format!("there     {path} (uploaded before)"),
            _ => format!("uploaded  {path} ({})", HumanBytes(self.size)),
        }
    }
}

/// Prints how files ended, and counts.
pub(super) struct Report {
    json: bool,
    screen: Screen,
    uploaded: u64,
    bytes: u64,
    already: u64,
    refused: u64,
    failed: u64,
    skipped: u64,
    reasons: BTreeMap<&'static str, u64>,
}

impl Report {
    pub(super) fn new(json: bool, screen: Screen) -> Self {
        let reasons = BTreeMap::new();
        Self {
            json,
            screen,
            uploaded: 0,
            bytes: 0,
            already: 0,
            refused: 0,
            failed: 0,
            skipped: 0,
            reasons,
        }
    }

    /// Something in a folder that is no regular file.
    pub(super) fn skipped(&mut self, path: &Path) {
        self.skipped += 1;
        let path = printable(&path.to_string_lossy());
        self.screen
            .remark(&format!("skipped   {path}: a symbolic link or no file"));
    }

    /// A file has ended.
    pub(super) fn add(&mut self, file: &FileReport) {
        self.count(file);
        if self.json {
            self.screen.say(&file.to_json().to_string());
        } else if file.result.is_err() || !self.screen.has_bars() {
            self.screen.remark(&file.to_line());
        }
    }

    fn count(&mut self, file: &FileReport) {
        match &file.result {
            Ok(outcome) if outcome.already => self.already += 1,
            Ok(_) => {
                self.uploaded += 1;
                self.bytes += file.size;
            }
            Err(_) if file.is_refused() => self.refused += 1,
            Err(_) => self.failed += 1,
        }
        if let Some(code) = file.code() {
            *self.reasons.entry(code).or_default() += 1;
        }
    }

    /// Prints the sum of it all.
    pub(super) fn summary(&self) {
        let line = if self.json {
            self.to_json().to_string()
        } else {
            self.to_text()
        };
        self.screen.say(&line);
    }

    /// How the command ends after this.
    pub(super) fn exit(&self) -> Exit {
        if self.refused + self.failed > 0 {
            Exit::Incomplete
        } else {
            Exit::Fine
        }
    }

    fn to_json(&self) -> serde_json::Value {
        json!({
            "type": "summary",
            "uploaded": self.uploaded,
            "uploaded_bytes": self.bytes,
            "already": self.already,
            "refused": self.refused,
            "failed": self.failed,
            "skipped": self.skipped,
            "reasons": self.reasons,
        })
    }

    fn to_text(&self) -> String {
        let mut parts = vec![format!(
            "{} uploaded ({})",
            self.uploaded,
            HumanBytes(self.bytes)
        )];
        for (count, what) in [
            (self.already, "there already"),
            (self.refused, "refused"),
            (self.failed, "failed"),
            (self.skipped, "skipped"),
        ] {
            if count > 0 {
                parts.push(format!("{count} {what}"));
            }
        }
        let reasons: Vec<_> = self
            .reasons
            .iter()
            .map(|(code, count)| format!("{code}: {count}"))
            .collect();
        let reasons = if reasons.is_empty() {
            String::new()
        } else {
            format!(" [{}]", reasons.join(", "))
        };
        format!("{}{reasons}", parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{Refusal, TransferStatus, UploadId};

    fn report() -> Report {
        let mut report = Report::new(true, Screen::new(&[], false));
        let outcome = |already| FileOutcome {
            upload_id: UploadId::new(),
            file_id: None,
            size: 7,
            digest: None,
            status: TransferStatus::UploadedSuccessfully,
            already,
        };
        let refused = UploadError::Refused(Refusal::bare(ErrorCode::EmptyFile));
        for result in [
            Ok(outcome(false)),
            Ok(outcome(true)),
            Err(refused.clone()),
            Err(refused),
            Err(UploadError::Changed),
        ] {
            report.count(&FileReport {
                path: "a".into(),
                size: 7,
                result,
                problem: None,
            });
        }
        report
    }

    #[test]
    fn the_summary_counts_and_says_why() {
        let report = report();
        assert_eq!(
            report.to_text(),
            "1 uploaded (7 B), 1 there already, 2 refused, 1 failed [changed: 1, empty-file: 2]"
        );
        let json = report.to_json();
        assert_eq!(
            (
                json["uploaded_bytes"].as_u64(),
                json["reasons"]["empty-file"].as_u64()
            ),
            (Some(7), Some(2))
        );
        assert_eq!(report.exit(), Exit::Incomplete);
    }

    #[test]
    fn each_file_has_its_line() {
        let refusal = Refusal::new(ErrorCode::TypeForbidden, "no programs");
        let file = FileReport {
            path: "a\nb.exe".into(),
            size: 7,
            result: Err(UploadError::Refused(refusal)),
            problem: None,
        };
        assert_eq!(
            file.to_line(),
            "refused   a\u{fffd}b.exe: no programs (type-forbidden)"
        );
        let json = file.to_json();
        assert_eq!(
            (json["status"].as_str(), json["code"].as_str()),
            (Some("refused"), Some("type-forbidden"))
        );
    }
}
