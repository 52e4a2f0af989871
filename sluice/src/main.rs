//! `sluice`: the server and its client in one binary.

mod commands;

use clap::Parser;
use std::process::ExitCode;

// Many threads allocate and free chunks of one another; the system's allocator keeps too much of that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A WebSocket gateway for chunked file-upload pools.
#[derive(Debug, Parser)]
#[command(name = "sluice", version, about, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: commands::Command,
}

fn main() -> ExitCode {
    commands::run(Cli::parse().command)
}
