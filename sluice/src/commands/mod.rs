//! The commands, one module each.

mod account;
mod admin;
mod client;
mod config;
mod download;
mod health;
mod history;
mod login;
mod logout;
mod password;
mod serve;
mod signup;
mod status;
mod upload;

use clap::Subcommand;
use std::{fmt::Display, io::Write, num::NonZeroUsize, process::ExitCode};
use tokio::runtime::Runtime;

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a server
    Serve(Box<serve::Serve>),
    /// Administer a server's data folder
    #[command(subcommand)]
    Admin(Box<admin::Admin>),
    /// Ask the server with these settings whether it is ready
    Health(Box<health::Health>),
    /// Look at settings
    #[command(subcommand)]
    Config(Box<config::Config>),
    #[command(flatten)]
    Client(Box<client::ClientCommand>),
}

/// Runs a command to its end.
pub(crate) fn run(command: Command) -> ExitCode {
    let done = match command {
        Command::Serve(serve) => run_server(&serve),
        Command::Admin(admin) => runtime(cores()).and_then(|runtime| {
            let done = runtime.block_on(admin.run());
            done.map_err(|error| error.to_string())
        }),
        Command::Health(health) => runtime(cores()).and_then(|runtime| {
            let done = runtime.block_on(health.run());
            done.map_err(|error| error.to_string())
        }),
        Command::Config(config) => config.run().map_err(|error| error.to_string()),
        Command::Client(command) => return run_client(*command),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error),
    }
}

fn run_server(serve: &serve::Serve) -> Result<(), String> {
    let settings = serve.load().map_err(|error| error.to_string())?;
    let runtime = runtime(settings.threads_on(cores()))?;
    let done = runtime.block_on(Box::pin(serve::run(settings)));
    done.map_err(|error| error.to_string())
}

fn run_client(command: client::ClientCommand) -> ExitCode {
    let runtime = match runtime(cores()) {
        Ok(runtime) => runtime,
        Err(error) => return fail(error),
    };
    let done = runtime.block_on(Box::pin(command.run()));
    // A file may still be read or hashed whose upload was interrupted: nobody needs to wait for that.
    runtime.shutdown_background();
    match done {
        Ok(exit) => exit.into(),
        Err(failure) => {
            fail(&failure);
            failure.exit.into()
        }
    }
}

fn runtime(threads: usize) -> Result<Runtime, String> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .map_err(|error| format!("can't start threads: {error}"))
}

/// How many cores this process may use.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

fn fail(error: impl Display) -> ExitCode {
    // If standard error is closed nobody is there to be told.
    let _ = writeln!(std::io::stderr(), "sluice: {error}");
    ExitCode::FAILURE
}
