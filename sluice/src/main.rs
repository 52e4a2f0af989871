//! `sluice`: the server and its client in one binary.

mod commands;

use clap::Parser;
use std::process::ExitCode;

// Many threads allocate and free chunks of one another; the system's allocator keeps too much of that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A WebSocket gateway for chunked file uploads: the server, and a client for the command line.
#[derive(Debug, Parser)]
#[command(name = "sluice", version, about, propagate_version = true, after_help = FIRST_STEPS)]
struct Cli {
    #[command(subcommand)]
    command: commands::Command,
}

const FIRST_STEPS: &str = "\
First steps:
  sluice serve                                                   in one shell
  sluice signup --server http://127.0.0.1:8080 --user ada        in another
  sluice upload FILE…";

fn main() -> ExitCode {
    // Every TLS connection of the process uses it; an error only says that one is there already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    commands::run(Cli::parse().command)
}
