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
use std::{fmt::Display, io::Write, process::ExitCode};

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
        Command::Health(health) => runtime
            .block_on(health.run())
            .map_err(|error| error.to_string()),
        Command::Config(config) => config.run().map_err(|error| error.to_string()),
        Command::Client(command) => return run_client(runtime, *command),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error),
    }
}

fn run_client(runtime: tokio::runtime::Runtime, command: client::ClientCommand) -> ExitCode {
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

fn fail(error: impl Display) -> ExitCode {
    // If standard error is closed nobody is there to be told.
    let _ = writeln!(std::io::stderr(), "sluice: {error}");
    ExitCode::FAILURE
}
