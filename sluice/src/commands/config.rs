//! `sluice config show`: prints the settings in effect.

use super::serve::SettingsFlags;
use clap::Subcommand;
use service_kit::config::{ConfigError, render};
use std::io::Write;

/// What to do about settings.
#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Print the settings in effect as TOML, secrets redacted
    Show(SettingsFlags),
}

impl Config {
    /// Does it.
    pub(crate) fn run(self) -> Result<(), ConfigError> {
        let Self::Show(flags) = self;
        let text = render(&flags.load()?)?;
        // A reader that has seen enough may close its end.
        let _ = std::io::stdout().write_all(text.as_bytes());
        Ok(())
    }
}
