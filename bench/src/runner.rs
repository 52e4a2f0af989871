//! Lets contenders take turns.

use crate::{
    Result,
    lab::Lab,
    machine::Machine,
    report::{self, Outcome, Results, Row},
    scenario::{Contender, Part, Scenario},
};
use std::process::ExitCode;

/// Runs the scenarios one after another and writes what came out.
///
/// # Errors
/// When results can't be written. A contender that fails is reported, and the others go on.
pub async fn run(lab: &Lab, scenarios: &[Box<dyn Scenario>]) -> Result<ExitCode> {
    let beside = lab.beside()?;
    let mut all_well = true;
    for scenario in scenarios {
        let results = measure(lab, beside.as_ref(), scenario.as_ref()).await;
        all_well &= !results.rows.iter().any(Row::has_failed);
        let shown = report::write(&lab.options.out, &results)?;
        lab.tell(&shown);
    }
    Ok(if all_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

struct Entry<'l> {
    lab: &'l Lab,
    contender: Box<dyn Contender>,
    row: Row,
}

async fn measure(lab: &Lab, beside: Option<&Lab>, scenario: &dyn Scenario) -> Results {
    let machine = Machine::here(&lab.options.out);
    let mut entries = Vec::new();
    for contender in scenario.contenders(lab) {
        let row = Row::new(contender.name(), contender.part());
        entries.extend(prepare(lab, scenario, contender, row).await);
    }
    if let Some(lab) = beside {
        for contender in scenario.contenders(lab) {
            if contender.part() == Part::Subject {
                let name = format!("{}, other build", contender.name());
                let row = Row::new(name, Part::Beside);
                entries.extend(prepare(lab, scenario, contender, row).await);
            }
        }
    }
    for round in 0..=lab.options.rounds {
        let mut turns: Vec<usize> = (0..entries.len()).collect();
        // Whoever always comes behind the same one would always find what that one leaves behind.
        if round % 2 == 1 {
            turns.reverse();
        }
        for turn in turns {
            let entry = &mut entries[turn];
            if entry.row.takes_part() {
                take_turn(scenario.name(), entry, round).await;
            }
        }
    }
    Results {
        scenario: scenario.name().to_owned(),
        about: scenario.about(),
        quick: lab.options.quick,
        rounds: lab.options.rounds,
        machine,
        rows: entries.into_iter().map(|entry| entry.row).collect(),
    }
}

/// None, if nobody asked for it.
async fn prepare<'l>(
    lab: &'l Lab,
    scenario: &dyn Scenario,
    mut contender: Box<dyn Contender>,
    mut row: Row,
) -> Option<Entry<'l>> {
    if !lab.wants(&row.name) {
        return None;
    }
    lab.doing(format!("{}: preparing {}", scenario.name(), row.name));
    match contender.prepare(lab).await {
        Ok(version) => row.version = version,
        Err(reason) => {
            lab.tell(&format!("skipped: {}: {}", row.name, reason.0));
            row.outcome = Outcome::Skipped(reason.0);
        }
    }
    Some(Entry {
        lab,
        contender,
        row,
    })
}

/// Round 0 warms up and is not counted.
async fn take_turn(scenario: &str, entry: &mut Entry<'_>, round: usize) {
    let lab = entry.lab;
    let name = &entry.row.name;
    let rounds = lab.options.rounds;
    lab.doing(format!("{scenario}: round {round} of {rounds}: {name}"));
    match entry.contender.round(lab).await {
        Ok(sample) if round > 0 => entry.row.rounds.push(sample),
        Ok(_) => {}
        Err(error) => {
            lab.tell(&format!("failed: {name}, round {round}: {error}"));
            entry.row.outcome = Outcome::Failed(format!("round {round}: {error}"));
        }
    }
    lab.settle().await;
}
