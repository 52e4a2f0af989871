//! The command line.

use crate::{
    Result, catalog,
    floors::{self, FloorArguments},
    lab::{Lab, Options},
    process, report, runner,
};
use clap::{Args, Parser, Subcommand};
use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Measures Sluice beside other servers and beside floors, in interleaved rounds on one machine.
#[derive(Debug, Parser)]
#[command(name = "bench", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    measure: Measure,
}

#[derive(Debug, Args)]
struct Measure {
    /// What to measure; uploads and downloads of one process if nothing is said. `bench list` names all, `all` runs all.
    scenarios: Vec<String>,
    /// Rounds that count, after one that does not.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Only contenders whose names contain one of these.
    #[arg(long, value_name = "TARGET", value_delimiter = ',')]
    only: Vec<String>,
    /// The `sluice` binary to measure.
    #[arg(long, default_value = "target/release/sluice")]
    sluice: PathBuf,
    /// Another build of it, which takes its turns beside the first in every scenario.
    #[arg(long, value_name = "SLUICE")]
    beside: Option<PathBuf>,
    /// Where results are written, and where servers keep their data meanwhile: choose the file system to be measured.
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
    /// Tiny sizes: shows that everything works, measures nothing.
    #[arg(long)]
    quick: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Name the scenarios and what they ask.
    List,
    /// Render tables and plots again from the JSON files of a folder.
    Report {
        /// The folder that `--out` named.
        #[arg(default_value = "target/bench")]
        folder: PathBuf,
    },
    /// Be a server that does only what can't be left out.
    #[command(hide = true)]
    Floor(FloorArguments),
}

/// Does what the command line asks for.
#[must_use]
pub fn run(cli: Cli) -> ExitCode {
    let done = match cli.command {
        Some(Command::List) => list(),
        Some(Command::Report { folder }) => report_again(&folder),
        Some(Command::Floor(arguments)) => floors::run(&arguments),
        None => measure(cli.measure),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            say(&format!("bench: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn list() -> Result<ExitCode> {
    let mut text = String::new();
    for scenario in catalog::scenarios() {
        text += &format!("{:<24} {}\n", scenario.name(), scenario.about());
    }
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn report_again(folder: &Path) -> Result<ExitCode> {
    print(&report::render(folder)?)?;
    Ok(ExitCode::SUCCESS)
}

fn measure(arguments: Measure) -> Result<ExitCode> {
    let scenarios = catalog::choose(&arguments.scenarios)?;
    let lab = Lab::new(Options {
        rounds: arguments.rounds.max(1),
        only: arguments.only,
        sluice: arguments.sluice,
        beside: arguments.beside,
        out: arguments.out,
        quick: arguments.quick,
    })?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let code = runtime.block_on(async {
        tokio::select! {
            done = runner::run(&lab, &scenarios) => done,
            _ = tokio::signal::ctrl_c() => Err("interrupted; servers are ended".into()),
        }
    });
    process::end_all();
    runtime.shutdown_background();
    lab.clean();
    code
}

fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// A line for people, beside the results.
pub(crate) fn say(line: &str) {
    // Nobody is left to be told when this fails.
    let _ = writeln!(std::io::stderr(), "{line}");
}
