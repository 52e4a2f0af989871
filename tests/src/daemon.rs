//! A program that serves in the background, known by the folder that it works in: it can be killed, frozen and started again,
//! also by another process than the one that started it.

use crate::threads;
use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    os::{fd::OwnedFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// How long the kernel may take to end what was killed. A process that waits for a disk ends when the disk answers.
const PATIENCE: Duration = Duration::from_secs(30);

/// What every daemon is called for a moment, before it is what it will be.
const LAUNCHER: &str = "setsid";

/// How it is started, and by what its processes are known: they work in its folder and are called as told.
///
/// Neither process groups nor parents would do: PostgreSQL and Erlang give their children groups of their own, and a child may
/// outlive its parent. A pid that is found by its folder can't be one that was used a second time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Daemon {
    /// What it is called in reports.
    pub name: String,
    /// The folder that it works in, and nobody else. Absolute, without symbolic links.
    pub folder: PathBuf,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// What is added to the environment.
    pub environment: Vec<(String, String)>,
    /// What its processes are called (`/proc/<pid>/comm`), the helpers too.
    pub programs: Vec<String>,
    /// The user and the group that it runs as, when those are others.
    pub user: Option<(u32, u32)>,
}

/// How a daemon is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It has processes, and all of them may run.
    Running,
    /// One of its processes is stopped.
    Frozen,
    /// It has no process.
    Ended,
}

impl Daemon {
    /// Starts it in a session of its own, with nothing of ours but the environment; its output is added to [the log](Self::log_path).
    ///
    /// # Errors
    /// When the program or the log can't be opened.
    pub fn start(&self) -> std::io::Result<Child> {
        let log = self.log_path();
        let log = File::options().create(true).append(true).open(log)?;
        // It leads no process group yet, so `setsid` does not fork but becomes the program.
        let mut command = Command::new(LAUNCHER);
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command
            .args(&self.command)
            .current_dir(&self.folder)
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
    }

    /// Ends every process of it at once, as `kill -9` does, and waits until they are gone.
    ///
    /// # Panics
    /// When a process does not go.
    pub fn kill(&self) {
        let deadline = Instant::now() + PATIENCE;
        while self.signal(Signal::KILL) > 0 {
            assert!(Instant::now() < deadline, "{} can't be killed", self.name);
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Stops every process of it in the middle of whatever it does: connected, and silent. When it returns, all stand still.
    ///
    /// # Panics
    /// When one does not stop.
    pub fn freeze(&self) {
        // A process may have begun another one before it was stopped itself.
        let mut stopped = 0;
        loop {
            let found = self.signal(Signal::STOP);
            if found == stopped {
                break;
            }
            stopped = found;
        }
        let deadline = Instant::now() + PATIENCE;
        let stands = |daemon: &Self| {
            daemon
                .processes()
                .iter()
                .all(|(pid, _)| threads::have_stopped(*pid))
        };
        while !stands(self) {
            assert!(Instant::now() < deadline, "{} can't be frozen", self.name);
            std::thread::yield_now();
        }
    }

    /// Lets it go on where it was frozen.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// How it is.
    #[must_use]
    pub fn state(&self) -> State {
        let pids = self.processes();
        if pids.is_empty() {
            return State::Ended;
        }
        let frozen = pids.iter().any(|(pid, _)| state_of(*pid) == Some('T'));
        if frozen {
            State::Frozen
        } else {
            State::Running
        }
    }

    /// Its processes, the oldest first.
    #[must_use]
    pub fn pids(&self) -> Vec<i32> {
        let mut pids: Vec<i32> = self.processes().iter().map(|(pid, _)| *pid).collect();
        pids.sort_by_key(|pid| start_of(*pid));
        pids
    }

    /// The file that gets its output.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// The last lines of its log.
    #[must_use]
    pub fn tail(&self, lines: usize) -> String {
        let log = std::fs::read(self.log_path()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let tail: Vec<&str> = log.lines().rev().take(lines).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        format!("the last lines of {}:\n{}", self.name, tail.join("\n"))
    }

    /// What its processes can be called, those that it begins as included.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        let programs = self.programs.iter().map(String::as_str);
        programs.chain([LAUNCHER]).collect()
    }

    /// Sends a signal to every process; answers how many there were.
    fn signal(&self, signal: Signal) -> usize {
        let processes = self.processes();
        for (_, process) in &processes {
            match pidfd_send_signal(process, signal) {
                // It has just ended.
                Ok(()) | Err(Errno::SRCH) => {}
                Err(error) => panic!("{} can't be signalled: {error}", self.name),
            }
        }
        processes.len()
    }

    fn processes(&self) -> Vec<(i32, OwnedFd)> {
        let entries = std::fs::read_dir("/proc").expect("the kernel tells about processes");
        let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        pids.filter_map(|pid| Some((pid, self.open(pid)?)))
            .collect()
    }

    /// A hold on this process, if it is one of the daemon's. What is looked at after it is taken is about the process held.
    fn open(&self, pid: i32) -> Option<OwnedFd> {
        let held = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
        let process = Path::new("/proc").join(pid.to_string());
        // One that has ended and is not waited for yet works nowhere.
        let place = std::fs::read_link(process.join("cwd")).ok()?;
        let name = std::fs::read_to_string(process.join("comm")).ok()?;
        let ours = place.starts_with(&self.folder) && self.names().contains(&name.trim_end());
        ours.then_some(held)
    }
}

/// The single letter of the state of a process, as `ps` shows it.
fn state_of(pid: i32) -> Option<char> {
    field_of(pid, 0)?.chars().next()
}

/// When it was started, in ticks since the machine was.
fn start_of(pid: i32) -> Option<u64> {
    field_of(pid, 19)?.parse().ok()
}

/// A field of `/proc/<pid>/stat`, counted from the one after the name.
fn field_of(pid: i32, number: usize) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may contain anything, parentheses too.
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split(' ').nth(number).map(str::to_owned)
}
