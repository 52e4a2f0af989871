//! What processes cost, read from the kernel: CPU time and memory of servers and their children.

use crate::Result;
use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

/// The unit of CPU time in `/proc/PID/stat`: 100 per second on every Linux (`USER_HZ`).
const TICK: Duration = Duration::from_millis(10);

/// How far the clock of ticks, which is cut to whole ones twice per process, may be ahead of the exact one of threads before the
/// latter must have missed a thread that ended.
const TICKS_OF_DOUBT: u32 = 4;

/// Servers are at rest when they take less than a twentieth of a core for so long.
const REST: Duration = Duration::from_millis(60);

/// How long is waited for that: some never are.
const REST_WITHIN: Duration = Duration::from_secs(3);

/// What a measured stretch cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Wall clock.
    pub wall: Duration,
    /// CPU time of all server processes, user and system.
    pub cpu: Duration,
    /// The sum of each process's most resident memory in the stretch, bytes.
    pub peak_rss: u64,
    /// Resident memory at the end, bytes.
    pub rss: u64,
    /// CPU time of this program in the stretch, its servers not included.
    pub own_cpu: Duration,
}

/// A measured stretch that has begun.
#[derive(Debug)]
pub struct Meter {
    roots: Vec<u32>,
    cpu: CpuClock,
    own: CpuClock,
    began: Instant,
}

impl Meter {
    /// Begins to measure these processes and all their children: forgets the peaks of memory, reads CPU time and clock.
    ///
    /// # Errors
    /// When a process is gone.
    pub fn start(roots: &[u32]) -> Result<Self> {
        let tree = tree(roots)?;
        for pid in &tree {
            // 5 sets the peak of resident memory to what is resident now. See proc_pid_clear_refs(5).
            fs::write(format!("/proc/{pid}/clear_refs"), "5")
                .map_err(|error| format!("the peak of memory can't be reset: {error}"))?;
        }
        Ok(Self {
            roots: roots.to_vec(),
            own: CpuClock::read(&[std::process::id()])?,
            cpu: CpuClock::read(&tree)?,
            began: Instant::now(),
        })
    }

    /// The time since it began.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Ends the stretch here, by the wall clock; CPU time and memory count until the servers have come to rest, so that work which
    /// they put off is theirs too.
    ///
    /// # Errors
    /// When a process is gone.
    pub async fn finish(self) -> Result<Cost> {
        let wall = self.began.elapsed();
        let deadline = Instant::now() + REST_WITHIN;
        let mut last = CpuClock::read(&tree(&self.roots)?)?;
        while Instant::now() < deadline {
            tokio::time::sleep(REST).await;
            let now = CpuClock::read(&tree(&self.roots)?)?;
            if now.since(&last) < REST / 20 {
                break;
            }
            last = now;
        }
        Ok(Cost {
            wall,
            ..self.stop()?
        })
    }

    /// Ends the stretch.
    ///
    /// # Errors
    /// When a process is gone.
    pub fn stop(self) -> Result<Cost> {
        let wall = self.began.elapsed();
        let tree = tree(&self.roots)?;
        let cpu = CpuClock::read(&tree)?.since(&self.cpu);
        let own_cpu = CpuClock::read(&[std::process::id()])?.since(&self.own);
        let memory = memory(&tree)?;
        Ok(Cost {
            wall,
            cpu,
            peak_rss: memory.peak,
            rss: memory.now,
            own_cpu,
        })
    }
}

/// Resident memory of processes, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The sum of the most that each had since its peak was last reset.
    pub peak: u64,
    /// What they have now.
    pub now: u64,
}

/// Memory of these processes, without their children.
///
/// # Errors
/// When one is gone.
pub fn memory(pids: &[u32]) -> Result<Memory> {
    let mut sum = Memory::default();
    for pid in pids {
        let path = format!("/proc/{pid}/status");
        let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        sum.peak += kib(&text, "VmHWM:").unwrap_or(0) << 10;
        sum.now += kib(&text, "VmRSS:").unwrap_or(0) << 10;
    }
    Ok(sum)
}

/// The processes and all that descend from them.
///
/// # Errors
/// When one of the roots is gone, or `/proc` can't be read.
pub fn tree(roots: &[u32]) -> Result<Vec<u32>> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // Others come and go meanwhile.
        let Some(stat) = stat(pid) else { continue };
        children.entry(stat.parent).or_default().push(pid);
    }
    let mut found = Vec::new();
    let mut next = roots.to_vec();
    while let Some(pid) = next.pop() {
        next.extend(children.remove(&pid).unwrap_or_default());
        found.push(pid);
    }
    match roots.iter().find(|pid| stat(**pid).is_none()) {
        Some(pid) => Err(format!("process {pid} is gone").into()),
        None => Ok(found),
    }
}

/// CPU time of some processes until some moment, by two clocks: ticks, which also know of children that have ended, and the exact
/// run time of each living thread.
#[derive(Clone, Debug, Default)]
struct CpuClock {
    ticks: u64,
    threads: BTreeMap<(u32, u32), u64>,
}

impl CpuClock {
    fn read(pids: &[u32]) -> Result<Self> {
        let mut clock = Self::default();
        for &pid in pids {
            let stat = stat(pid).ok_or_else(|| format!("process {pid} is gone"))?;
            // Of this program, what its ended children cost is not its own.
            let own = pid == std::process::id();
            clock.ticks += stat.ticks + if own { 0 } else { stat.ticks_of_ended };
            for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
                let name = entry?.file_name();
                let Some(tid) = name.to_str().and_then(|name| name.parse().ok()) else {
                    continue;
                };
                let path = format!("/proc/{pid}/task/{tid}/schedstat");
                if let Some(run) = fs::read_to_string(path).ok().as_deref().and_then(run_time) {
                    clock.threads.insert((pid, tid), run);
                }
            }
        }
        Ok(clock)
    }

    fn since(&self, before: &Self) -> Duration {
        let nanos = self.threads.iter().map(|(thread, run)| {
            run.saturating_sub(before.threads.get(thread).copied().unwrap_or(0))
        });
        let exact = Duration::from_nanos(nanos.sum());
        let ticks = self.ticks.saturating_sub(before.ticks);
        let ticked = TICK.saturating_mul(ticks.try_into().unwrap_or(u32::MAX));
        if ticked > exact + TICK * TICKS_OF_DOUBT {
            ticked
        } else {
            exact
        }
    }
}

/// What `/proc/PID/stat` tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    /// User and system time of the process.
    ticks: u64,
    /// The same of its children that have ended and were waited for.
    ticks_of_ended: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// See proc_pid_stat(5). The name in parentheses may hold anything, so what counts begins behind the last one.
fn parse_stat(text: &str) -> Option<Stat> {
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    // The first field here is the third one of the manual.
    let field = |number: usize| fields.get(number - 3);
    let ticks = |number| field(number)?.parse::<u64>().ok();
    Some(Stat {
        parent: field(4)?.parse().ok()?,
        ticks: ticks(14)? + ticks(15)?,
        ticks_of_ended: ticks(16)? + ticks(17)?,
    })
}

/// The first number of `schedstat`: nanoseconds on a CPU.
fn run_time(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

fn kib(status: &str, key: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_stat_whatever_the_name() {
        let line = "12 (a) b (c) S 7 12 12 0 -1 4194560 1 0 0 0 150 25 30 4 20 0 1 0 9 1 1";
        let stat = Stat {
            parent: 7,
            ticks: 175,
            ticks_of_ended: 34,
        };
        assert_eq!(parse_stat(line), Some(stat));
        assert_eq!(parse_stat("12 (a"), None);
        assert_eq!(parse_stat("12 (a) S 7 1"), None);
    }

    #[test]
    fn reads_memory() {
        let status = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t     12 kB\n";
        assert_eq!(kib(status, "VmHWM:"), Some(2048));
        assert_eq!(kib(status, "VmRSS:"), Some(12));
        assert_eq!(kib(status, "VmSwap:"), None);
    }

    #[test]
    fn a_thread_that_ended_is_known_by_the_ticks() {
        let clock = |ticks, threads: &[(u32, u64)]| CpuClock {
            ticks,
            threads: threads.iter().map(|&(tid, run)| ((1, tid), run)).collect(),
        };
        let before = clock(100, &[(1, 500_000_000), (2, 500_000_000)]);
        let exact = clock(101, &[(1, 513_000_000), (2, 501_000_000), (3, 1_000_000)]);
        assert_eq!(exact.since(&before), Duration::from_millis(15));
        let ended = clock(150, &[(1, 513_000_000)]);
        assert_eq!(ended.since(&before), Duration::from_millis(500));
    }

    #[test]
    fn measures_what_a_child_costs() {
        let burn = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; sleep 5";
        let mut child = std::process::Command::new("sh")
            .args(["-c", &format!("sh -c '{burn}'; true")])
            .spawn()
            .unwrap();
        let meter = Meter::start(&[child.id()]).unwrap();
        std::thread::sleep(Duration::from_millis(600));
        let pids = tree(&[child.id()]).unwrap();
        let cost = meter.stop().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        for pid in pids
            .into_iter()
            .skip(1)
            .filter_map(|pid| i32::try_from(pid).ok())
        {
            let pid = rustix::process::Pid::from_raw(pid).unwrap();
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        assert!(cost.cpu > Duration::from_millis(20), "{cost:?}");
        assert!(cost.peak_rss >= cost.rss && cost.rss > 0, "{cost:?}");
    }
}
