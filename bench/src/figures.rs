//! The figures that several scenarios report, so that they have one name and one unit.

use crate::scenario::Figure;

const fn figure(name: &'static str, unit: &'static str, digits: usize) -> Figure {
    Figure { name, unit, digits }
}

/// Payload per second of wall clock, in 10^6 bytes.
pub const MB_PER_S: Figure = figure("throughput", "MB/s", 0);
/// Files per second of wall clock.
pub const FILES_PER_S: Figure = figure("files", "1/s", 0);
/// Half of the files were quicker.
pub const P50: Figure = figure("p50", "ms", 1);
/// 99 % of the files were quicker.
pub const P99: Figure = figure("p99", "ms", 1);
/// CPU time of all server processes in the measured stretch, user and system.
pub const CPU_SECONDS: Figure = figure("cpu", "s", 3);
/// The same per 2^30 bytes of payload.
pub const CPU_PER_GIB: Figure = figure("cpu per GiB", "s/GiB", 2);
/// Most memory resident at once in the measured stretch, all server processes.
pub const PEAK_RSS: Figure = figure("peak RSS", "MiB", 1);
/// Memory resident at the end of the measured stretch.
pub const RSS: Figure = figure("RSS", "MiB", 1);
/// CPU time of the load generator in the measured stretch: it shares the machine.
pub const GENERATOR_CPU: Figure = figure("generator cpu", "s", 3);
/// The same per 2^30 bytes of payload.
pub const GENERATOR_CPU_PER_GIB: Figure = figure("generator cpu per GiB", "s/GiB", 2);
