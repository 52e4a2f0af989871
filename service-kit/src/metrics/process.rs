//! Memory, CPU time and open files of this process, under the names that Prometheus' own clients use.

use std::{fmt::Write, fs};

use rustix::param::{clock_ticks_per_second, page_size};

/// The facts that the system offers; none where there is no `/proc`.
pub(super) fn render() -> String {
    let mut page = String::new();
    let mut add = |name: &str, kind: &str, help: &str, value: Option<f64>| {
        if let Some(value) = value {
            // Writing to a string cannot fail.
            let _ = writeln!(
                page,
                "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n"
            );
        }
    };
    add(
        "process_resident_memory_bytes",
        "gauge",
        "Resident memory size in bytes.",
        resident_bytes(),
    );
    add(
        "process_cpu_seconds_total",
        "counter",
        "User and system CPU time spent in seconds.",
        cpu_seconds(),
    );
    add(
        "process_open_fds",
        "gauge",
        "Number of open file descriptors.",
        open_files(),
    );
    add(
        "process_max_fds",
        "gauge",
        "Maximum number of open file descriptors.",
        crate::open_files::limit().map(|limit| limit as f64),
    );
    page
}

/// The second number of `statm` (proc_pid_statm(5)), in pages.
fn resident_bytes() -> Option<f64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: f64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * page_size() as f64)
}

/// Fields 14 and 15 of `stat` (proc_pid_stat(5)), in clock ticks.
fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in parentheses, which may hold spaces; field 3 follows the last one.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(14 - 3);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / clock_ticks_per_second() as f64)
}

fn open_files() -> Option<f64> {
    // One of them is open for the sake of counting.
    let count = fs::read_dir("/proc/self/fd").ok()?.count();
    Some(count.saturating_sub(1) as f64)
}
