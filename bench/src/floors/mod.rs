//! Servers that do only what can't be left out, as subcommands in processes of their own: yardsticks.
//!
//! To add one: a variant of [`Kind`], a file with what it does, and a line in [`run`].

mod aligned;
mod files;
mod reader;
mod uploads;

use crate::Result;
use clap::{Args, ValueEnum};
use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

/// What follows `bench floor`.
#[derive(Clone, Debug, Args)]
pub struct FloorArguments {
    /// Which one.
    pub kind: Kind,
    /// Where it listens.
    #[arg(long)]
    pub listen: SocketAddr,
    /// Where it keeps what it keeps.
    #[arg(long)]
    pub dir: PathBuf,
}

/// The floors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Takes uploads, sums and hashes them, and forgets them.
    Discard,
    /// Takes uploads, sums and hashes them, and writes each with `O_DIRECT` and `fdatasync`.
    Direct,
    /// Writes a frame to all who are connected.
    RawLoop,
}

impl Kind {
    /// What it does, for reports.
    #[must_use]
    pub fn about(self) -> &'static str {
        match self {
            Self::Discard => "CRC-32C per chunk, SHA-256 per file; nothing is written",
            Self::Direct => {
                "CRC-32C per chunk, SHA-256 per file; aligned reused buffers, O_DIRECT, fdatasync per file"
            }
            Self::RawLoop => {
                "a plain loop writes a prebuilt frame to each socket, one after another"
            }
        }
    }
}

/// Runs a floor until it is ended.
///
/// # Errors
/// When it can't listen.
pub fn run(arguments: &FloorArguments) -> Result<ExitCode> {
    match arguments.kind {
        Kind::Discard => uploads::serve(arguments.listen, None),
        Kind::Direct => uploads::serve(arguments.listen, Some(&arguments.dir)),
        Kind::RawLoop => {
            crate::sessions::raw_loop::run(arguments.listen)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
