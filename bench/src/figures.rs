//! The figures that several scenarios report, so that they have one name and one unit.

use crate::scenario::Figure;

/// Payload per second of wall clock, in 10^6 bytes.
pub const MB_PER_S: Figure = Figure::new("throughput", "MB/s", 0);
/// Files per second of wall clock.
pub const FILES_PER_S: Figure = Figure::new("files", "1/s", 0);
/// Half of the files were quicker.
pub const P50: Figure = Figure::new("p50", "ms", 1);
/// 99 % of the files were quicker.
pub const P99: Figure = Figure::new("p99", "ms", 1);
/// CPU time of all server processes in the measured stretch, user and system.
pub const CPU_SECONDS: Figure = Figure::new("cpu", "s", 3);
/// The same per 2^30 bytes of payload.
pub const CPU_PER_GIB: Figure = Figure::new("cpu per GiB", "s/GiB", 2);
/// Most memory resident at once in the measured stretch, all server processes.
pub const PEAK_RSS: Figure = Figure::new("peak RSS", "MiB", 1);
/// Memory resident at the end of the measured stretch.
pub const RSS: Figure = Figure::new("RSS", "MiB", 1);
/// CPU time of the load generator in the measured stretch: it shares the machine.
pub const GENERATOR_CPU: Figure = Figure::new("generator cpu", "s", 3);
/// The same per 2^30 bytes of payload.
pub const GENERATOR_CPU_PER_GIB: Figure = Figure::new("generator cpu per GiB", "s/GiB", 2);
