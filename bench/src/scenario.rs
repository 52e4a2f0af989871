//! What is asked, who takes part, and what a round yields.

use crate::{Result, accounting::Cost, figures, lab::Lab, stats::mib};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// A question that is put to several contenders.
pub trait Scenario: Send + Sync {
    /// Its name on the command line and in file names.
    fn name(&self) -> &str;

    /// What is measured, in one line.
    fn about(&self) -> String;

    /// Those who take part, in the order of the table's rows.
    fn contenders(&self, lab: &Lab) -> Vec<Box<dyn Contender>>;

    /// Whether it runs when no scenario is named.
    fn by_default(&self) -> bool {
        false
    }
}

/// Part of a contender in the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// What all others are compared with: Sluice. One per scenario.
    Subject,
    /// Another server.
    Peer,
    /// What can't be left out, and nothing else.
    Floor,
    /// Reported, not judged.
    Beside,
}

/// Why a contender does not take part; shown in every report.
#[derive(Clone, Debug)]
pub struct Skip(pub String);

impl<E: std::fmt::Display> From<E> for Skip {
    fn from(reason: E) -> Self {
        Self(reason.to_string())
    }
}

/// One row: a server under the scenario's load.
#[async_trait]
pub trait Contender: Send {
    /// Its name in tables.
    fn name(&self) -> String;

    /// Its part in the comparison.
    fn part(&self) -> Part;

    /// Installs or finds what is needed, once, before any round. Answers the version and settings, for the report.
    async fn prepare(&mut self, lab: &Lab) -> Result<String, Skip>;

    /// One round, from starting the servers to ending them.
    async fn round(&mut self, lab: &Lab) -> Result<Sample>;
}

/// What a figure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figure {
    /// Its name in JSON and as a column.
    pub name: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// Digits after the point.
    pub digits: usize,
}

impl Figure {
    /// A figure.
    #[must_use]
    pub const fn new(name: &'static str, unit: &'static str, digits: usize) -> Self {
        Self { name, unit, digits }
    }
}

/// A value of a figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Value {
    /// The figure's name.
    pub figure: String,
    /// Its unit.
    pub unit: String,
    /// Digits worth showing after the point.
    pub digits: usize,
    /// The value.
    pub value: f64,
}

/// A point of a curve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The curve's name: one plot per curve, one line per contender.
    pub curve: String,
    /// What grows.
    pub x: f64,
    /// What it costs.
    pub y: f64,
}

/// What a round yields.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Its figures, in the order of columns.
    pub figures: Vec<Value>,
    /// Points of curves, if any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub points: Vec<Point>,
}

impl Sample {
    /// Adds a figure.
    #[must_use]
    pub fn with(mut self, figure: Figure, value: f64) -> Self {
        self.figures.push(Value {
            figure: figure.name.to_owned(),
            unit: figure.unit.to_owned(),
            digits: figure.digits,
            value,
        });
        self
    }

    /// Adds a point of a curve.
    #[must_use]
    pub fn point(mut self, curve: &str, x: f64, y: f64) -> Self {
        self.points.push(Point {
            curve: curve.to_owned(),
            x,
            y,
        });
        self
    }

    /// Adds what the servers cost: CPU seconds, peak memory, and memory now.
    #[must_use]
    pub fn cost(self, cost: &Cost) -> Self {
        self.with(figures::CPU_SECONDS, cost.cpu.as_secs_f64())
            .with(figures::PEAK_RSS, mib(cost.peak_rss))
            .with(figures::RSS, mib(cost.rss))
    }

    /// The value of a figure.
    #[must_use]
    pub fn value(&self, figure: &str) -> Option<f64> {
        let found = self.figures.iter().find(|value| value.figure == figure);
        found.map(|value| value.value)
    }
}
