//! A server as users run it: the binary, in a process of its own, that can be killed.

use crate::{
    account::{Account, PASSWORD},
    small_disk::SmallDisk,
    wait::until,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

/// The `sluice` binary: the one that `TESTED_BINARY` names, or else the workspace's own, built if need be.
///
/// # Panics
/// When it can't be built.
#[must_use]
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(path) = std::env::var_os("TESTED_BINARY") {
            return path.into();
        }
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
        let built = Command::new(cargo)
            .args(["build", "--quiet", "--package", "sluice", "--bin", "sluice"])
            .status();
        assert!(
            built.is_ok_and(|status| status.success()),
            "the sluice binary can't be built"
        );
        let test = std::env::current_exe().expect("a test knows its own path");
        let target = test
            .ancestors()
            .nth(2)
            .expect("tests lie in <target>/<profile>/deps");
        target.join("sluice")
    })
}

/// A server's process and its data, both gone when dropped.
pub struct Server {
    child: Option<Child>,
    address: SocketAddr,
    data: PathBuf,
    flags: Vec<(String, String)>,
    disk: Option<SmallDisk>,
    folder: tempfile::TempDir,
}

impl Server {
    /// Starts a server on a fresh data folder and waits until it is ready.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// As [`start`](Self::start), with settings given as variables of the environment.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn start_with(settings: &[(&str, &str)]) -> Self {
        Self::start_anywhere(settings, None).await
    }

    /// As [`start_with`](Self::start_with), with all data on this disk.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn start_on(disk: SmallDisk, settings: &[(&str, &str)]) -> Self {
        Self::start_anywhere(settings, Some(disk)).await
    }

    async fn start_anywhere(settings: &[(&str, &str)], disk: Option<SmallDisk>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        // A port that was free a moment ago: a restarted server must come back at the same address.
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = free.expect("a port is free");
        let mut flags: Vec<(String, String)> = settings
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        flags.push((
            "SLUICE_AUTH__PASSWORDS__MEMORY".to_owned(),
            "64 KiB".to_owned(),
        ));
        flags.push((
            "SLUICE_AUTH__PASSWORDS__ITERATIONS".to_owned(),
            "1".to_owned(),
        ));
        let root = disk.as_ref().map(SmallDisk::seen);
        let data = root.unwrap_or(folder.path().to_owned()).join("data");
        let mut server = Self {
            child: None,
            address,
            data,
            flags,
            disk,
            folder,
        };
        server.restart().await;
        server
    }

    /// Starts the server again, with the same data at the same address.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn restart(&mut self) {
        self.kill();
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .expect("the log can be written");
        let (mut command, data) = match &self.disk {
            None => (Command::new(binary()), self.data.clone()),
            Some(disk) => (disk.launcher(), disk.mounted().join("data")),
        };
        if self.disk.is_some() {
            command.arg(binary());
        }
        let child = command
            .arg("serve")
            .arg("--listen")
            .arg(self.address.to_string())
            .arg("--data")
            .arg(data)
            .envs(self.flags.iter().cloned())
            .env(
                "RUST_LOG",
                std::env::var("RUST_LOG").unwrap_or_else(|_| "info".to_owned()),
            )
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.child = Some(child.expect("the server can be started"));
        self.until_ready().await;
    }

    async fn until_ready(&mut self) {
        let url = format!("{}/readyz", self.url());
        until("the server to be ready", async || {
            if let Some(Ok(Some(status))) = self.child.as_mut().map(Child::try_wait) {
                panic!("the server ended with {status}:\n{}", self.log());
            }
            let answer = crate::account::http().get(&url).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
    }

    /// Ends the process at once, as `kill -9` does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks the process to stop, as `kill` does; answers at once.
    ///
    /// # Panics
    /// When it does not run.
    pub fn terminate(&self) {
        let pid = self.pid().and_then(Pid::from_raw).expect("the server runs");
        kill_process(pid, Signal::TERM).expect("the server can be signalled");
    }

    /// Waits until the process has ended; answers whether it ended well.
    pub async fn ended(&mut self) -> bool {
        let child = self.child.as_mut();
        let Some(child) = child else { return true };
        until("the server to end", async || {
            child.try_wait().ok().flatten()
        })
        .await
        .success()
    }

    /// The address as a URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The disk that it was started on.
    ///
    /// # Panics
    /// When that is not a disk of its own.
    #[must_use]
    pub fn disk(&self) -> &SmallDisk {
        self.disk.as_ref().expect("it was started on a disk")
    }

    /// The data folder.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// What the server has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// The most memory that the process had resident since it was started, bytes.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn peak_memory(&self) -> u64 {
        let pid = self.pid().expect("the server runs");
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

    /// The uploads of which the chunk cache holds anything.
    ///
    /// # Panics
    /// When it can't be read.
    #[must_use]
    pub fn cached(&self) -> BTreeSet<String> {
        let mut uploads = BTreeSet::new();
        let mut folders = vec![self.data.join("chunks")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("the chunk cache can be read") {
                let path = entry.expect("the chunk cache can be read").path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some() {
                    uploads.extend(path.file_stem().and_then(OsStr::to_str).map(str::to_owned));
                }
            }
        }
        uploads
    }

    /// Waits until the chunk cache holds exactly these uploads.
    pub async fn until_cached(&self, uploads: &[&Value]) {
        let wanted: BTreeSet<String> = uploads
            .iter()
            .filter_map(|id| id.as_str().map(str::to_owned))
            .collect();
        until("the chunk cache to hold what it should", async || {
            (self.cached() == wanted).then_some(())
        })
        .await;
    }

    /// The present value of a metric, named as `/metrics` writes it, with its labels; 0 if it is not there.
    ///
    /// # Panics
    /// When the server does not answer.
    pub async fn metric(&self, name: &str) -> f64 {
        let url = format!("{}/metrics", self.url());
        let answer = crate::account::http().get(url).send().await;
        let text = answer.expect("the server answers").text().await;
        let text = text.expect("metrics are text");
        let value = text.lines().find_map(|line| line.strip_prefix(name));
        value.map_or(0.0, |value| value.trim().parse().expect("it is a number"))
    }

    /// Waits until this many sockets were closed with this code.
    pub async fn until_closed(&self, code: u16, sockets: u32) {
        let name = format!("sluice_session_closes_total{{code=\"{code}\"}}");
        until("the server to close sockets", async || {
            (self.metric(&name).await >= f64::from(sockets)).then_some(())
        })
        .await;
    }

    /// Creates an admin on the running server's data folder, as its operator does, and logs in.
    ///
    /// # Panics
    /// When the command fails.
    pub async fn admin(&self, name: &str) -> Account {
        let password = self.data.with_extension("password");
        std::fs::write(&password, PASSWORD).expect("the password can be written");
        let created = Command::new(binary())
            .args(["admin", "create", "--user", name, "--password-file"])
            .arg(&password)
            .arg("--data")
            .arg(&self.data)
            .envs(self.flags.iter().cloned())
            .output()
            .expect("the command can be started");
        assert!(
            created.status.success(),
            "{}",
            String::from_utf8_lossy(&created.stderr)
        );
        Account::login(&self.url(), name).await
    }

    fn pid(&self) -> Option<i32> {
        self.child
            .as_ref()
            .and_then(|child| child.id().try_into().ok())
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }
}

impl Drop for Server {
    #[expect(
        clippy::print_stderr,
        reason = "the harness shows it with the failure of the test"
    )]
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(60).collect();
            eprintln!(
                "the server's last lines:\n{}",
                tail.into_iter().rev().collect::<Vec<_>>().join("\n")
            );
        }
    }
}
