//! The commands, one module each.

mod admin;
mod config;
mod password;
mod serve;

use clap::Subcommand;
use std::{fmt::Display, io::Write, process::ExitCode};

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a server
    Serve(Box<serve::Serve>),
    /// Administer a server's data folder
    #[command(subcommand)]
    Admin(Box<admin::Admin>),
    /// Look at settings
    #[command(subcommand)]
    Config(Box<config::Config>),
}

/// Runs a command to its end.
pub(crate) fn run(command: Command) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(format!("can't start threads: {error}")),
    };
    let done = match command {
        Command::Serve(serve) => runtime
            .block_on(Box::pin(serve.run()))
            .map_err(|error| error.to_string()),
        Command::Admin(admin) => runtime
            .block_on(admin.run())
            .map_err(|error| error.to_string()),
        Command::Config(config) => config.run().map_err(|error| error.to_string()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error),
    }
}

fn fail(error: impl Display) -> ExitCode {
    // If standard error is closed nobody is there to be told.
    let _ = writeln!(std::io::stderr(), "sluice: {error}");
    ExitCode::FAILURE
}
