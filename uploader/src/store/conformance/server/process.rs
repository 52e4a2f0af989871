//! A PostgreSQL server of a test's own, which the test may kill and freeze.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::Command,
    thread,
};
use tempfile::TempDir;

/// A server in a temporary folder; gone with the test.
pub(super) struct Server {
    home: TempDir,
    port: u16,
}

impl Server {
    /// Starts one.
    pub(super) fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let server = Self { home, port };
        if let Some((user, group)) = unprivileged() {
            chown(server.home.path(), Some(user), Some(group)).unwrap();
        }
        let password = server.home.path().join("password");
        fs::write(&password, "secret").unwrap();
        server.run(
            "initdb",
            &[
                "--username=postgres",
                "--auth-host=scram-sha-256",
                "--auth-local=trust",
                &format!("--pwfile={}", password.display()),
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
            ],
        );
        server.start_again();
        server
    }

    /// Its URL, with a password.
    pub(super) fn url(&self, password: &str) -> String {
        format!(
            "postgres://postgres:{password}@127.0.0.1:{}/postgres",
            self.port
        )
    }

    /// Starts it after a kill.
    pub(super) fn start_again(&self) {
        let home = self.home.path().display();
        let options = format!(
            "-p {} -c unix_socket_directories='' -c listen_addresses=127.0.0.1",
            self.port
        );
        let log = format!("--log={home}/log");
        self.run("pg_ctl", &["start", "--wait", &log, "--options", &options]);
    }

    /// Kills it with all its processes, and waits until they are gone.
    pub(super) fn kill(&self) {
        for process in self.signal("-KILL") {
            while is_running(&process) {
                thread::yield_now();
            }
        }
        // The file of a dead process keeps nobody from starting, but one that init has not buried yet does.
        let _ = fs::remove_file(self.data().join("postmaster.pid"));
    }

    /// Makes it silent: connections stay, and no answer comes.
    pub(super) fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on.
    pub(super) fn thaw(&self) {
        self.signal("-CONT");
    }

    /// Sends a signal to all its processes; answers which.
    fn signal(&self, signal: &str) -> Vec<String> {
        let Some(postmaster) = self.postmaster() else {
            return Vec::new();
        };
        let children = format!("/proc/{postmaster}/task/{postmaster}/children");
        let children = fs::read_to_string(children).unwrap_or_default();
        let mut processes = vec![postmaster];
        processes.extend(children.split_whitespace().map(str::to_owned));
        // One that has just ended is none to worry about.
        Command::new("kill")
            .arg(signal)
            .args(&processes)
            .output()
            .unwrap();
        processes
    }

    fn postmaster(&self) -> Option<String> {
        let file = fs::read_to_string(self.data().join("postmaster.pid")).ok()?;
        file.lines().next().map(str::to_owned)
    }

    fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let program = folder_of_programs().join(program);
        let mut command = match unprivileged() {
            Some(_) => {
                let mut command = Command::new("runuser");
                command.args(["-u", "postgres", "--"]).arg(&program);
                command
            }
            None => Command::new(&program),
        };
        command.arg("-D").arg(self.data()).args(arguments);
        // What a server that stays would inherit, a reader of the test's output would wait for.
        let log = fs::File::create(self.home.path().join("output")).unwrap();
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let status = command.current_dir("/").status().unwrap();
        let said = |file| fs::read_to_string(self.home.path().join(file)).unwrap_or_default();
        let said = said("output") + &said("log");
        assert!(status.success(), "{}: {said}", program.display());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Whether a process is there and not waiting to be buried.
fn is_running(process: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_some_and(|(_, state)| !state.starts_with(" Z"))
}

/// The server refuses to run as root: then the user and group to run it as.
fn unprivileged() -> Option<(u32, u32)> {
    use std::os::unix::fs::MetadataExt;
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let user = users.lines().find(|user| user.starts_with("postgres:"));
    let fields: Vec<&str> = user
        .expect("root needs the user `postgres` to run a server as")
        .split(':')
        .collect();
    Some((fields[2].parse().unwrap(), fields[3].parse().unwrap()))
}

/// Where the server's programs are: on the path, or where Debian puts the newest version.
fn folder_of_programs() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut debian: Vec<PathBuf> = debian
        .map(|version| version.unwrap().path().join("bin"))
        .collect();
    debian.sort_by_key(|bin| std::cmp::Reverse(version_of(bin)));
    std::env::split_paths(&path)
        .chain(debian)
        .find(|folder| folder.join("initdb").exists())
        .expect("the server's programs (initdb, pg_ctl) must be installed: Debian's package `postgresql`")
}

fn version_of(bin: &Path) -> Option<u32> {
    bin.parent()?.file_name()?.to_str()?.parse().ok()
}
