//! `./dev chaos [NAME]`: runs the cases whose names contain NAME, all if none is given, and writes a report.

use indicatif::{ProgressBar, ProgressStyle};
use std::{process::ExitCode, time::Duration};
use tests::chaos::{Chaos, Outcome, Report, matrix};

#[tokio::main]
async fn main() -> ExitCode {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    let mut cases = matrix();
    cases.retain(|case| case.name().contains(&wanted));
    if cases.is_empty() {
        say(&format!("no case is called {wanted}; there are:"));
        matrix()
            .iter()
            .for_each(|case| say(&format!("  {}", case.name())));
        return ExitCode::from(2);
    }
    let bar = ProgressBar::new(cases.len() as u64);
    let style = ProgressStyle::with_template("{pos}/{len} {wide_bar} {elapsed} {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(500));
    let (mut chaos, mut report) = (Chaos::default(), Report::default());
    for case in &cases {
        let tell = |doing: &str| bar.set_message(format!("{}: {doing}", case.name()));
        let outcome = Box::pin(chaos.run(case, &tell)).await;
        bar.suspend(|| describe(&outcome));
        bar.inc(1);
        report.outcomes.push(outcome);
        // After each case, so that a run that is ended early has a report, too.
        match report.write() {
            Ok(path) if report.outcomes.len() == cases.len() => {
                bar.suspend(|| say(&format!("report: {}", path.display())));
            }
            Ok(_) => {}
            Err(error) => bar.suspend(|| say(&format!("the report can't be written: {error}"))),
        }
    }
    bar.finish_and_clear();
    match report.outcomes.iter().all(Outcome::is_well) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn describe(outcome: &Outcome) {
    let seconds = |time: Option<Duration>| {
        time.map_or_else(
            || "never".to_owned(),
            |time| format!("{:.1} s", time.as_secs_f64()),
        )
    };
    say(&format!(
        "{} {}: {} files, all moving again after {}, stored after {}, longest silence {}",
        if outcome.is_well() {
            "ok    "
        } else {
            "FAILED"
        },
        outcome.name,
        outcome.files,
        seconds(outcome.moving_after),
        seconds(outcome.stored_after),
        seconds(Some(outcome.silence)),
    ));
    for failure in outcome.failures.iter().take(5) {
        say(&format!("         {failure}"));
    }
}

#[expect(clippy::print_stderr, reason = "it is what the command is for")]
fn say(text: &str) {
    eprintln!("{text}");
}
