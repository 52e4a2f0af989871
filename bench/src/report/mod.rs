//! What came out: raw rounds as JSON, and tables and plots made of it.

mod markdown;
mod plot;
mod table;

use crate::{
    Result,
    machine::Machine,
    scenario::{Part, Sample, Value},
    stats::Summary,
};
use serde::{Deserialize, Serialize};
use std::{fs, path::Path};

/// What a scenario's run brought.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// The scenario's name.
    pub scenario: String,
    /// What it measures.
    pub about: String,
    /// Whether sizes were tiny, so that the figures mean nothing.
    pub quick: bool,
    /// Rounds that count.
    pub rounds: usize,
    /// Where and when.
    pub machine: Machine,
    /// One per contender.
    pub rows: Vec<Row>,
}

/// What a contender's rounds brought.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The contender.
    pub name: String,
    /// Its part in the comparison.
    pub part: Part,
    /// Its version and settings.
    pub version: String,
    /// Whether it took part.
    pub outcome: Outcome,
    /// Its rounds, in order.
    pub rounds: Vec<Sample>,
}

/// Whether a contender took part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It did.
    Measured,
    /// It did not, for this reason.
    Skipped(String),
    /// It began, and this went wrong.
    Failed(String),
}

impl Row {
    pub(crate) fn new(name: String, part: Part) -> Self {
        Self {
            name,
            part,
            version: String::new(),
            outcome: Outcome::Measured,
            rounds: Vec::new(),
        }
    }

    pub(crate) fn takes_part(&self) -> bool {
        self.outcome == Outcome::Measured
    }

    pub(crate) fn has_failed(&self) -> bool {
        matches!(self.outcome, Outcome::Failed(_))
    }

    /// A figure's value in each round.
    fn values(&self, figure: &str) -> Vec<Option<f64>> {
        let rounds = self.rounds.iter();
        rounds.map(|sample| sample.value(figure)).collect()
    }

    fn summary(&self, figure: &str) -> Option<Summary> {
        let values: Vec<f64> = self.values(figure).into_iter().flatten().collect();
        Summary::of(&values)
    }
}

impl Results {
    /// Whether Sluice was measured, if it was asked for, and nobody failed.
    pub(crate) fn are_whole(&self) -> bool {
        let is_missing = |row: &Row| row.part == Part::Subject && !row.takes_part();
        !self
            .rows
            .iter()
            .any(|row| row.has_failed() || is_missing(row))
    }

    /// The figures that any contender reports, in order.
    fn figures(&self) -> Vec<&Value> {
        let mut figures: Vec<&Value> = Vec::new();
        let samples = self.rows.iter().flat_map(|row| row.rounds.first());
        for value in samples.flat_map(|sample| &sample.figures) {
            if !figures.iter().any(|known| known.figure == value.figure) {
                figures.push(value);
            }
        }
        figures
    }

    /// The ratio of the subject to this row, round by round.
    fn ratio(&self, row: &Row, figure: &str) -> Option<Summary> {
        let subject = self.rows.iter().find(|row| row.part == Part::Subject)?;
        if subject.name == row.name {
            return None;
        }
        Summary::of_ratios(&subject.values(figure), &row.values(figure))
    }
}

/// Writes a scenario's results into the folder, and answers them as a table for the terminal.
///
/// # Errors
/// When the folder can't be written.
pub fn write(folder: &Path, results: &Results) -> Result<String> {
    let json = serde_json::to_string_pretty(results)?;
    fs::write(folder.join(format!("{}.json", results.scenario)), json)?;
    render_one(folder, results)?;
    Ok(table::render(results))
}

/// Writes the tables and plots of all results of a folder again, and answers the tables as markdown.
///
/// # Errors
/// When there is nothing, or it can't be read.
pub fn render(folder: &Path) -> Result<String> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "json") {
            let text = fs::read_to_string(&path)?;
            let results: Results = serde_json::from_str(&text)
                .map_err(|error| format!("{}: {error}", path.display()))?;
            all.push(results);
        }
    }
    if all.is_empty() {
        return Err(format!("{} holds no results", folder.display()).into());
    }
    let order = |results: &Results| {
        let scenarios = crate::catalog::scenarios();
        scenarios
            .iter()
            .position(|one| one.name() == results.scenario)
    };
    all.sort_by_key(|results| {
        (
            order(results).unwrap_or(usize::MAX),
            results.scenario.clone(),
        )
    });
    let mut text = String::new();
    for results in &all {
        text += &render_one(folder, results)?;
        text.push('\n');
    }
    Ok(text)
}

fn render_one(folder: &Path, results: &Results) -> Result<String> {
    let plots = plot::plots(results);
    let mut text = markdown::render(results);
    for plot in &plots {
        fs::write(folder.join(&plot.file), &plot.svg)?;
        text += &format!("\n![{}]({})\n", plot.title, plot.file);
    }
    fs::write(folder.join(format!("{}.md", results.scenario)), &text)?;
    Ok(text)
}

/// A number with so many digits after the point.
fn number(value: f64, digits: usize) -> String {
    format!("{value:.digits$}")
}

/// `median (min–max)`.
fn spread(summary: Summary, digits: usize) -> String {
    let show = |value| number(value, digits);
    if summary.min.to_bits() == summary.max.to_bits() {
        return show(summary.median);
    }
    format!(
        "{} ({}–{})",
        show(summary.median),
        show(summary.min),
        show(summary.max)
    )
}

/// A row's cells: the name, each figure as median and range, and below it, as `×`, the subject's ratio to it.
fn cells(results: &Results, row: &Row) -> Vec<String> {
    let mut cells = vec![match row.has_failed() {
        true => format!("{} (failed)", row.name),
        false => row.name.clone(),
    }];
    for figure in results.figures() {
        let Some(summary) = row.summary(&figure.figure) else {
            cells.push(String::new());
            continue;
        };
        let mut cell = spread(summary, figure.digits);
        if let Some(ratio) = results.ratio(row, &figure.figure) {
            cell += &format!(" ×{}", number(ratio.median, 2));
        }
        cells.push(cell);
    }
    cells
}

fn heads(results: &Results) -> Vec<String> {
    let mut heads = vec![String::new()];
    for figure in results.figures() {
        heads.push(format!("{}, {}", figure.figure, figure.unit));
    }
    heads
}

/// What is to be said beneath the table.
fn notes(results: &Results) -> Vec<String> {
    let mut notes = vec![results.machine.line()];
    if results.quick {
        notes.push(
            "a quick run: it shows that everything works, its figures mean nothing".to_owned(),
        );
    }
    for row in &results.rows {
        match &row.outcome {
            Outcome::Measured if row.version.is_empty() => {}
            Outcome::Measured => notes.push(format!("{}: {}", row.name, row.version)),
            Outcome::Skipped(reason) => notes.push(format!("{}: skipped: {reason}", row.name)),
            Outcome::Failed(reason) => notes.push(format!("{}: failed: {reason}", row.name)),
        }
    }
    notes
}

#[cfg(test)]
mod tests;
