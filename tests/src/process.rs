//! One process of the binary, which can be killed, frozen and started again.

use crate::{
    binary::binary,
    small_disk::SmallDisk,
    threads,
    wait::{PATIENCE, until},
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs::File,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Instant,
};

/// How a process is started, each time.
#[derive(Clone, Debug)]
pub struct Launch {
    /// What it is called in reports.
    pub name: String,
    /// What follows the binary.
    pub arguments: Vec<String>,
    /// What is added to the environment.
    pub environment: Vec<(String, String)>,
    /// The file that its log is added to.
    pub log: PathBuf,
    /// `http://host:port` where it tells about itself: `/readyz`, `/metrics`.
    pub about: String,
    /// Whether it outlives the one that starts it, and is not ended by a Ctrl-C there.
    pub detached: bool,
}

/// A process. Unless it is detached, it is gone when dropped.
pub struct Process {
    launch: Launch,
    child: Option<Child>,
}

impl Process {
    /// One that does not run yet.
    #[must_use]
    pub fn new(launch: Launch) -> Self {
        Self {
            launch,
            child: None,
        }
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.launch.name
    }

    /// Starts it; it is [ready](Self::until_ready) later.
    ///
    /// # Panics
    /// When it can't be started.
    pub fn start(&mut self) {
        self.start_on(None);
    }

    /// As [`start`](Self::start), where this disk is mounted.
    pub(crate) fn start_on(&mut self, disk: Option<&SmallDisk>) {
        self.kill();
        let launch = &self.launch;
        let log = File::options().create(true).append(true).open(&launch.log);
        let log = log.expect("the log can be written");
        let mut command = match disk {
            None if launch.detached => Command::new(binary()),
            None => mortal(),
            Some(disk) => {
                let mut command = disk.launcher();
                command.arg(binary());
                command
            }
        };
        if launch.detached {
            command.process_group(0);
        }
        let level = std::env::var("RUST_LOG").unwrap_or_else(|_| "info".to_owned());
        let child = command
            .args(&launch.arguments)
            .env("RUST_LOG", level)
            .envs(launch.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.child = Some(child.expect("the process can be started"));
    }

    /// Waits until it says that it is ready.
    ///
    /// # Panics
    /// When it does not in time, or ends.
    pub async fn until_ready(&mut self) {
        let url = format!("{}/readyz", self.launch.about);
        let what = format!("{} to be ready", self.launch.name);
        until(&what, async || {
            if let Some(Ok(Some(status))) = self.child.as_mut().map(Child::try_wait) {
                panic!("{} ended with {status}:\n{}", self.launch.name, self.log());
            }
            let answer = crate::account::http().get(&url).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
    }

    /// Starts it again and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn restart(&mut self) {
        self.start();
        self.until_ready().await;
    }

    /// Ends it at once, as `kill -9` does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks it to stop, as `kill` does; answers at once.
    ///
    /// # Panics
    /// When it does not run.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Stops it in the middle of whatever it does: connected, and silent. When this returns, nothing of it runs.
    ///
    /// # Panics
    /// When it does not run.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
        let pid = self.pid().expect("the process runs");
        let deadline = Instant::now() + PATIENCE;
        while !threads::have_stopped(pid) {
            assert!(Instant::now() < deadline, "{} does not stop", self.name());
            std::thread::yield_now();
        }
    }

    /// Lets it go on where it was frozen.
    ///
    /// # Panics
    /// When it does not run.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = self.pid().and_then(Pid::from_raw);
        let pid = pid.expect("the process runs");
        kill_process(pid, signal).expect("the process can be signalled");
    }

    /// Waits until it has ended; answers whether it ended well.
    pub async fn ended(&mut self) -> bool {
        let Some(child) = self.child.as_mut() else {
            return true;
        };
        until("the process to end", async || {
            child.try_wait().ok().flatten()
        })
        .await
        .success()
    }

    /// Whether it was started and not killed since, and did not end by itself.
    pub fn runs(&mut self) -> bool {
        let ended = self.child.as_mut().map(Child::try_wait);
        matches!(ended, Some(Ok(None)))
    }

    /// What it has logged so far, also before it was started again.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.launch.log).unwrap_or_default()
    }

    /// The present value of a metric, named as `/metrics` writes it, with its labels; 0 if it is not there.
    ///
    /// # Errors
    /// When the process does not answer.
    pub async fn metric(&self, name: &str) -> Result<f64, reqwest::Error> {
        let url = format!("{}/metrics", self.launch.about);
        let text = crate::account::http().get(url).send().await?.text().await?;
        let value = text.lines().find_map(|line| line.strip_prefix(name));
        Ok(value.map_or(0.0, |value| value.trim().parse().expect("it is a number")))
    }

    /// The most memory that it had resident since it was started, bytes.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn peak_memory(&self) -> u64 {
        let pid = self.pid().expect("the process runs");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))
            .expect("the kernel tells about processes");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .expect("the kernel counts resident memory");
        let kib: u64 = line
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .expect("it is a number of kB");
        kib << 10
    }

    /// Its number, if it was started.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        let child = self.child.as_ref();
        child.and_then(|child| child.id().try_into().ok())
    }

    /// The last lines of its log, for a test that fails.
    pub(crate) fn tail(&self, lines: usize) -> String {
        let log = self.log();
        let mut tail: Vec<&str> = log.lines().rev().take(lines).collect();
        tail.reverse();
        format!(
            "the last lines of {}:\n{}",
            self.launch.name,
            tail.join("\n")
        )
    }
}

/// The binary, as a process that the kernel kills when the thread that started it is gone, however that ends.
fn mortal() -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(binary());
    command
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.launch.detached {
            self.kill();
        }
    }
}
