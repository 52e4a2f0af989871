//! Server processes: started in groups of their own, and gone when the benchmark is.

use crate::{Result, accounting::Meter};
use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process_group};
use std::{
    fs::File,
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, OnceLock, PoisonError, mpsc},
    time::Duration,
};

/// How long a server may take to end in order before it is killed.
const PATIENCE: Duration = Duration::from_secs(5);

/// Groups that run, so that an interrupted or failed run leaves none behind.
static GROUPS: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// The processes of a target, in the order they were started. Ended when dropped.
#[derive(Debug, Default)]
pub struct Servers {
    processes: Vec<Process>,
}

#[derive(Debug)]
struct Process {
    name: String,
    child: Child,
    group: Pid,
    log: PathBuf,
}

impl Servers {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a process in a group of its own; what it prints goes to `log`. The kernel kills it when this program dies.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn spawn(&mut self, name: &str, command: &Command, log: &Path) -> Result<()> {
        let out = File::options().create(true).append(true).open(log)?;
        let mut mortal = Command::new("setpriv");
        mortal.args(["--pdeathsig", "KILL", "--"]);
        mortal.arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => mortal.env(key, value),
                None => mortal.env_remove(key),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            mortal.current_dir(folder);
        }
        mortal
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out);
        let child = spawn(mortal).map_err(|error| format!("{name} can't be started: {error}"))?;
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let group = group.ok_or("a process has a number")?;
        groups().push(group);
        self.processes.push(Process {
            name: name.to_owned(),
            child,
            group,
            log: log.to_owned(),
        });
        Ok(())
    }

    /// The numbers of the processes started; they may have children.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        let ids = self.processes.iter().map(|process| process.child.id());
        ids.collect()
    }

    /// Begins a measured stretch.
    ///
    /// # Errors
    /// When a process has ended.
    pub fn meter(&self) -> Result<Meter> {
        Meter::start(&self.pids())
    }

    /// Fails if a process has ended by itself, with the end of its log.
    ///
    /// # Errors
    /// When one has.
    pub fn check(&mut self) -> Result<()> {
        for process in &mut self.processes {
            if let Some(status) = process.child.try_wait()? {
                return Err(process.obituary(status).into());
            }
        }
        Ok(())
    }

    /// Ends all of them in order, the last one started first, and waits until they are gone.
    pub async fn end(&mut self) {
        for process in self.processes.iter().rev() {
            // It may be gone already.
            let _ = kill_process(process.group, Signal::TERM);
        }
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while self.any_runs() && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.kill();
    }

    fn any_runs(&mut self) -> bool {
        let mut runs = false;
        for process in &mut self.processes {
            // Children may outlive the process that began the group.
            runs |= matches!(process.child.try_wait(), Ok(None))
                || test_kill_process_group(process.group).is_ok();
        }
        runs
    }

    fn kill(&mut self) {
        for mut process in self.processes.drain(..) {
            let _ = kill_process_group(process.group, Signal::KILL);
            let _ = process.child.wait();
            groups().retain(|group| *group != process.group);
        }
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Process {
    fn obituary(&self, status: ExitStatus) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = &lines[lines.len().saturating_sub(5)..];
        format!("{} ended with {status}: {}", self.name, tail.join(" / "))
    }
}

/// Kills whatever still runs.
pub fn end_all() {
    for group in groups().drain(..) {
        let _ = kill_process_group(group, Signal::KILL);
    }
}

fn groups() -> std::sync::MutexGuard<'static, Vec<Pid>> {
    GROUPS.lock().unwrap_or_else(PoisonError::into_inner)
}

type Order = (Command, mpsc::Sender<io::Result<Child>>);

/// Starts a process from a thread that lives as long as the program: the kernel kills such a child when the *thread* that started it
/// ends, and a runtime's threads come and go.
fn spawn(command: Command) -> io::Result<Child> {
    static STARTER: OnceLock<Mutex<mpsc::Sender<Order>>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (orders, incoming) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, answer) in incoming {
                // The one who asked may have given up.
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(orders)
    });
    let (answer, child) = mpsc::channel();
    let starter = starter.lock().unwrap_or_else(PoisonError::into_inner);
    let gone = || io::Error::other("the thread that starts processes is gone");
    starter.send((command, answer)).map_err(|_| gone())?;
    drop(starter);
    child.recv().map_err(|_| gone())?
}
