//! The program behind `./dev stack`.

use clap::{Parser, Subcommand};
use std::{path::PathBuf, process::ExitCode};
use tests::stack::{self, Deed, Refusal};

/// Starts, harms and ends everything that Sluice consists of, on this machine.
#[derive(Debug, Parser)]
struct Cli {
    /// The folder that remembers what is up.
    #[arg(long, default_value = "target/stack")]
    state: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the engines, and the roles if a binary is given.
    Up {
        /// The `sluice` binary.
        #[arg(long)]
        binary: Option<PathBuf>,
    },
    /// Show how each process is; fails unless all are ready.
    Status,
    /// Print where everything is, for `eval`.
    Env,
    /// End everything and remove its data.
    Down,
    /// Kill -9 one process.
    Kill { name: String },
    /// Stop one process: connected, and silent.
    Freeze { name: String },
    /// Let a frozen process go on.
    Thaw { name: String },
    /// Kill one process, if it runs, and start it again.
    Restart { name: String },
    /// Run the server's binary, told about the stores: `sluice admin create --user root`
    Sluice {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    // What the tests' own parts say when they panic is meant for people.
    std::panic::set_hook(Box::new(|panic| {
        say(panic.payload_as_str().unwrap_or("it failed"));
    }));
    // An error only says that one is there already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Box::pin(run(Cli::parse())).await.unwrap_or_else(|refusal| {
        say(&refusal);
        ExitCode::FAILURE
    })
}

async fn run(Cli { state, command }: Cli) -> Result<ExitCode, Refusal> {
    match command {
        Command::Up { binary } => print(&stack::up(&state, binary, say).await?),
        Command::Status => {
            let (text, all_ready) = stack::status(&state).await?;
            print(text.trim_end());
            if !all_ready {
                return Ok(ExitCode::FAILURE);
            }
        }
        Command::Env => print(stack::env(&state)?.trim_end()),
        Command::Down => say(&stack::down(&state)?),
        Command::Kill { name } => say(&stack::does(&state, Deed::Kill, &name).await?),
        Command::Freeze { name } => say(&stack::does(&state, Deed::Freeze, &name).await?),
        Command::Thaw { name } => say(&stack::does(&state, Deed::Thaw, &name).await?),
        Command::Restart { name } => say(&stack::does(&state, Deed::Restart, &name).await?),
        Command::Sluice { arguments } => return stack::sluice(&state, &arguments),
    }
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::print_stdout, reason = "this is the answer")]
fn print(text: &str) {
    println!("{text}");
}

#[expect(clippy::print_stderr, reason = "this is progress, and errors")]
fn say(text: &str) {
    eprintln!("stack: {text}");
}
