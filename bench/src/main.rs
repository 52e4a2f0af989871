//! `bench`: see the library.

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    // Every TLS connection of the process uses it; an error only says that one is there already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    bench::cli::run(bench::cli::Cli::parse())
}
