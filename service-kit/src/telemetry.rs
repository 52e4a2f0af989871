//! Logs: text for people, or one JSON object per line for machines.

mod json;

use std::io::{self, IsTerminal};

use serde::{Deserialize, Serialize};
use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::ParseError,
    fmt::{self, MakeWriter},
    layer::SubscriberExt,
    util::{SubscriberInitExt, TryInitError},
};

/// How logs are written, and which.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// The form of the lines.
    pub format: LogFormat,
    /// What is logged: a level, or directives such as `info,gateway=debug`. The variable `RUST_LOG` replaces it.
    pub filter: String,
}

/// The form of the lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people, in colour on a terminal.
    #[default]
    Text,
    /// For machines: an object per line.
    Json,
}

/// Why logging cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is not understood.
    #[error(
        "`{filter}` is no log filter, write a level or directives such as `info,gateway=debug`: {source}"
    )]
    Filter {
        /// The filter as it was given.
        filter: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// Another logger is there already.
    #[error("logging has begun already, begin it once per process: {0}")]
    Installed(#[from] TryInitError),
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            format: LogFormat::Text,
            // The AMQP library logs what the events adapter says, too, and as errors what passes by itself.
            filter: "info,lapin=off".to_owned(),
        }
    }
}

/// Begins to log to standard error, for the whole process.
///
/// `service` names the process in JSON lines; a span with a field `service` speaks for itself. `rust_log` is the value
/// of `RUST_LOG`, if set.
///
/// # Errors
/// If the filter is malformed or something logs already.
pub fn init(
    service: &'static str,
    config: &TelemetryConfig,
    rust_log: Option<&str>,
) -> Result<(), TelemetryError> {
    let colour = io::stderr().is_terminal();
    subscriber(service, config, rust_log, io::stderr, colour)?.try_init()?;
    Ok(())
}

fn subscriber<W>(
    service: &'static str,
    config: &TelemetryConfig,
    rust_log: Option<&str>,
    writer: W,
    colour: bool,
) -> Result<impl Subscriber + Send + Sync + use<W>, TelemetryError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let directives = rust_log
        .filter(|text| !text.is_empty())
        .unwrap_or(&config.filter);
    let filter = EnvFilter::try_new(directives).map_err(|source| TelemetryError::Filter {
        filter: directives.to_owned(),
        source,
    })?;
    let lines = fmt::layer().with_writer(writer);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match config.format {
        LogFormat::Text => lines.with_ansi(colour).boxed(),
        LogFormat::Json => lines
            .fmt_fields(fmt::format::JsonFields::new())
            .event_format(json::Lines { service })
            .boxed(),
    };
    Ok(tracing_subscriber::registry().with(lines.with_filter(filter)))
}

#[cfg(test)]
mod tests;
