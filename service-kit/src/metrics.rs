//! The Prometheus page: what the code recorded with the `metrics` macros, and facts about process and build.

mod process;

use std::time::Duration;

use ::metrics::{SetRecorderError, gauge};
use axum::{Router, response::IntoResponse, routing::get};
use http::header;
use metrics_exporter_prometheus::{
    BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// How often recorded samples are folded into histograms; until then each one takes memory.
const UPKEEP_PERIOD: Duration = Duration::from_secs(5);

/// Buckets of everything named `…_seconds`: from a local write to the longest deadline.
const SECONDS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0,
];

/// Which build this is. Shown as the gauge `<name>_build_info`.
#[derive(Debug, Clone, Copy)]
pub struct BuildInfo {
    /// The name of the program.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// The revision of its source.
    pub revision: &'static str,
}

/// The metrics of this process. Clones share them.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
}

/// Why metrics cannot be recorded.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The recorder cannot be built.
    #[error("cannot set up the metrics recorder: {0}")]
    Build(#[from] BuildError),
    /// Another recorder is there already.
    #[error("metrics are recorded by somebody else already, install them once per process")]
    Installed(#[from] SetRecorderError<PrometheusRecorder>),
}

impl Metrics {
    /// Begins to record for the whole process.
    ///
    /// # Errors
    /// If something records already.
    pub fn install(build: BuildInfo) -> Result<Self, MetricsError> {
        let recorder = recorder()?;
        let handle = recorder.handle();
        ::metrics::set_global_recorder(recorder)?;
        let BuildInfo {
            name,
            version,
            revision,
        } = build;
        gauge!(format!("{name}_build_info"), "version" => version, "revision" => revision).set(1.0);
        Ok(Self { handle })
    }

    /// Everything, in the text format of Prometheus.
    pub fn render(&self) -> String {
        let mut page = self.handle.render();
        page.push_str(&process::render());
        page
    }

    /// Keeps the recorder small until shutdown. Without it memory grows with every recorded sample.
    pub async fn run_upkeep(self, shutdown: CancellationToken) {
        let mut ticks = interval(UPKEEP_PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
            self.handle.run_upkeep();
        }
    }

    /// The route `/metrics`.
    pub fn router(&self) -> Router {
        let metrics = self.clone();
        let page = move || async move {
            (
                [(
                    header::CONTENT_TYPE,
                    "text/plain; version=0.0.4; charset=utf-8",
                )],
                metrics.render(),
            )
                .into_response()
        };
        Router::new().route("/metrics", get(page))
    }
}

fn recorder() -> Result<PrometheusRecorder, BuildError> {
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .build_recorder();
    Ok(recorder)
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

#[cfg(test)]
mod tests;
