//! Faults one after another beneath uploads that are under way, and what became of every file: `./dev chaos`.

mod check;
mod load;
mod matrix;
mod report;
mod stage;

pub use matrix::{Case, matrix};
pub use report::{Outcome, Report};

use futures::FutureExt;
use load::{Load, Verdict};
use stage::Stage;
use std::{
    panic::AssertUnwindSafe,
    time::{Duration, Instant},
};

/// How long everything may take to move again, and to be stored, once a fault is over.
const PATIENCE: Duration = Duration::from_secs(180);

/// How long uploads go on after all have moved again.
const AFTERWARDS: Duration = Duration::from_secs(2);

/// Runs cases on one installation, which is only set up anew after a case that failed.
#[derive(Default)]
pub struct Chaos {
    stage: Option<Stage>,
}

impl Chaos {
    /// Runs a case; `tell` hears what it is doing.
    pub async fn run(&mut self, case: &Case, tell: &dyn Fn(&str)) -> Outcome {
        let begun = Instant::now();
        if self.stage.is_none() {
            tell("starting the engines and the cluster");
        }
        let mut stage = match self.stage.take() {
            Some(stage) => stage,
            None => Box::pin(Stage::set()).await,
        };
        let running = Box::pin(one(&mut stage, case, tell));
        // What the harness itself could not do is a failure of this case, not of those to come.
        let mut outcome = match AssertUnwindSafe(running).catch_unwind().await {
            Ok(outcome) => outcome,
            Err(panic) => {
                let mut outcome = Outcome::of(case);
                let said = panic.downcast_ref::<String>().cloned();
                outcome
                    .failures
                    .push(said.unwrap_or_else(|| "the harness failed".to_owned()));
                outcome
            }
        };
        outcome.took = begun.elapsed();
        if outcome.failures.is_empty() {
            self.stage = Some(stage);
        } else {
            outcome.logs = stage.keep_logs(case.name());
        }
        outcome
    }
}

async fn one(stage: &mut Stage, case: &Case, tell: &dyn Fn(&str)) -> Outcome {
    stage.begin_case();
    tell("uploads begin");
    let load = Load::start(stage).await;
    let mut outcome = Outcome::of(case);
    if let Err(late) = load.until_all_moved_since(Instant::now(), PATIENCE).await {
        outcome.failures.push(format!("before the fault: {late}"));
        return outcome;
    }
    tell("the fault lasts");
    let began = Instant::now();
    case.fault().inflict(stage).await;
    outcome.lasted = began.elapsed();
    let healed = Instant::now();
    tell("it is over: everything has to move again");
    match load.until_all_moved_since(healed, PATIENCE).await {
        Ok(moved) => outcome.moving_after = Some(moved.saturating_duration_since(healed)),
        Err(late) => outcome.failures.push(late),
    }
    tokio::time::sleep(AFTERWARDS).await;
    tell("everything has to be stored");
    let ended = load.finish(PATIENCE).await;
    outcome.note(&ended, began, healed);
    outcome
        .failures
        .extend(ended.verdicts.iter().filter_map(Verdict::complaint));
    tell("checking every file");
    check::everything(stage, ended, case, &mut outcome).await;
    outcome
}
