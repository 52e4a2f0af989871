//! Lets contenders take turns.

use crate::{
    Result,
    lab::Lab,
    machine::Machine,
    report::{self, Outcome, Results, Row},
    scenario::{Contender, Part, Scenario},
};
use std::process::ExitCode;

/// Runs the scenarios one after another and writes what came out. The code says whether Sluice was measured and nobody failed.
///
/// # Errors
/// When results can't be written, or nobody has one of the names asked for. A contender that fails is reported, and the others go on.
pub async fn run(lab: &Lab, scenarios: &[Box<dyn Scenario>]) -> Result<ExitCode> {
    let beside = lab.beside()?;
    lab.knows(&names(lab, scenarios))?;
    let mut all_well = true;
    for scenario in scenarios {
        let Some(results) = measure(lab, beside.as_ref(), scenario.as_ref()).await else {
            lab.tell(&format!("{}: nobody asked for takes part", scenario.name()));
            continue;
        };
        all_well &= results.are_whole();
        let shown = report::write(&lab.results()?, &results)?;
        lab.tell(&shown);
    }
    Ok(if all_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The names of all contenders, the other build's too if there is one.
fn names(lab: &Lab, scenarios: &[Box<dyn Scenario>]) -> Vec<String> {
    let contenders = scenarios
        .iter()
        .flat_map(|scenario| scenario.contenders(lab));
    let names = contenders.map(|contender| contender.name());
    let mut names: Vec<String> = names.collect();
    if lab.options.beside.is_some() {
        names.push(OTHER_BUILD.to_owned());
    }
    names
}

/// What the name of the build beside ends with.
const OTHER_BUILD: &str = "other build";

struct Entry<'l> {
    lab: &'l Lab,
    contender: Box<dyn Contender>,
    row: Row,
}

/// None, if nobody takes part.
async fn measure(lab: &Lab, beside: Option<&Lab>, scenario: &dyn Scenario) -> Option<Results> {
    let machine = Machine::here(&lab.options.out);
    let mut entries = Vec::new();
    for contender in scenario.contenders(lab) {
        let row = Row::new(contender.name(), contender.part());
        entries.extend(prepare(lab, scenario, contender, row).await);
    }
    if let Some(lab) = beside {
        for contender in scenario.contenders(lab) {
            if contender.part() == Part::Subject {
                let name = format!("{}, {OTHER_BUILD}", contender.name());
                let row = Row::new(name, Part::Beside);
                let mut entry = prepare(lab, scenario, contender, row).await;
                if let Some(entry) = &mut entry {
                    entry.row.version += &format!(", {}", lab.options.sluice.display());
                }
                entries.extend(entry);
            }
        }
    }
    if entries.is_empty() {
        return None;
    }
    for round in 0..=lab.options.rounds {
        let mut present: Vec<&mut Entry<'_>> = entries.iter_mut().collect();
        present.retain(|entry| entry.row.takes_part());
        for turn in turns(present.len(), round) {
            let entry = &mut present[turn];
            take_turn(scenario.name(), entry, round).await;
        }
    }
    Some(Results {
        scenario: scenario.name().to_owned(),
        about: scenario.about(),
        quick: lab.options.quick,
        rounds: lab.options.rounds,
        machine,
        rows: entries.into_iter().map(|entry| entry.row).collect(),
    })
}

/// The order of a round. Whoever always came behind the same one would always find what that one leaves behind: within as many
/// rounds as there are contenders, each comes behind each other one once (twice in twice as many, if their number is odd). It
/// is Williams' design of balanced Latin squares (1949): zigzag, and one further every round.
fn turns(contenders: usize, round: usize) -> Vec<usize> {
    let zigzag = |place: usize| match place % 2 {
        0 => contenders - place / 2,
        _ => place / 2 + 1,
    };
    let mut turns: Vec<usize> = (0..contenders)
        .map(|place| (zigzag(place) + round) % contenders)
        .collect();
    if contenders % 2 == 1 && round / contenders % 2 == 1 {
        turns.reverse();
    }
    turns
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

#[cfg(test)]
mod tests {
    use super::turns;
    use std::collections::BTreeMap;

    #[test]
    fn each_comes_behind_each_other_equally_often() {
        assert_eq!(turns(4, 0), [0, 1, 3, 2]);
        assert_eq!(turns(1, 3), [0]);
        for contenders in 2..=11 {
            let rounds = contenders * (1 + contenders % 2);
            let mut pairs = BTreeMap::<(usize, usize), usize>::new();
            for round in 0..rounds {
                let turns = turns(contenders, round);
                let mut sorted = turns.clone();
                sorted.sort_unstable();
                assert!(sorted.into_iter().eq(0..contenders), "{turns:?}");
                for pair in turns.windows(2) {
                    *pairs.entry((pair[0], pair[1])).or_default() += 1;
                }
            }
            assert_eq!(pairs.len(), contenders * (contenders - 1));
            let often = 1 + contenders % 2;
            assert!(pairs.values().all(|&times| times == often), "{pairs:?}");
        }
    }
}
