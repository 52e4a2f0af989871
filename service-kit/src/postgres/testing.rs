//! PostgreSQL for tests: a database of its own for each test on the server that all share, and servers to freeze and to kill.

use std::{
    env, fs,
    net::TcpListener,
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, getuid, kill_process};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tempfile::TempDir;
use tokio::{
    runtime,
    time::{Instant, sleep},
};
use uuid::Uuid;

/// How long a server may take to start.
const START: Duration = Duration::from_secs(60);

/// A database that is dropped with this value.
pub struct Scratch {
    /// Of the server, to create and drop databases by.
    server: String,
    name: String,
    url: String,
}

impl Scratch {
    /// A new database on the server that `TEST_POSTGRES_URL` names.
    ///
    /// # Panics
    /// Without that variable, or when the server refuses.
    pub async fn new() -> Self {
        let server = env::var("TEST_POSTGRES_URL").expect(
            "TEST_POSTGRES_URL is set by `./dev test`; by hand: eval \"$(./dev stack env)\"",
        );
        Self::on(&server).await
    }

    /// A new database on the server of this URL.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn on(server: &str) -> Self {
        let name = format!("test_{}", Uuid::new_v4().simple());
        // Nobody is connected to this template, so that several may copy it.
        execute(server, format!("CREATE DATABASE {name} TEMPLATE template0")).await;
        Self {
            url: with_database(server, &name),
            server: server.to_owned(),
            name,
        }
    }

    /// The URL of the database.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Runs a statement in the database.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn execute(&self, sql: &str) {
        execute(&self.url, sql.to_owned()).await;
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let server = self.server.clone();
        let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        // The runtime of the test can't be waited for from here.
        let dropped = thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(execute(&server, drop));
        });
        if dropped.join().is_err() && !thread::panicking() {
            panic!("the database {} can't be dropped", self.name);
        }
    }
}

async fn execute(url: &str, sql: String) {
    let mut connection = PgConnection::connect(url).await.expect("a server");
    let done = sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(&mut connection)
        .await;
    done.expect("a statement that works");
    connection.close().await.expect("a goodbye");
}

/// The URL with another database in its path.
fn with_database(url: &str, name: &str) -> String {
    let (url, query) = match url.split_once('?') {
        Some((url, query)) => (url, format!("?{query}")),
        None => (url, String::new()),
    };
    let authority = url.find("://").map_or(0, |at| at + 3);
    let end = url[authority..]
        .find('/')
        .map_or(url.len(), |at| authority + at);
    format!("{}/{name}{query}", &url[..end])
}

/// A server of its own, which ends with this value.
pub struct PrivateServer {
    folder: TempDir,
    port: u16,
    process: Option<Child>,
}

impl PrivateServer {
    /// Makes a server and waits until it answers. It is not there before.
    ///
    /// # Panics
    /// When PostgreSQL is not installed, or does not start.
    pub async fn start() -> Self {
        let mut server = Self::stopped();
        server.resurrect().await;
        server
    }

    /// Makes a server that was not started yet.
    ///
    /// # Panics
    /// When PostgreSQL is not installed.
    #[must_use]
    pub fn stopped() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        if let Some(user) = unprivileged() {
            chown(folder.path(), Some(user), None).expect("a folder for the server");
        }
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let made = program("initdb")
            .args([
                "--username=postgres",
                "--auth=trust",
                "--no-sync",
                "--encoding=UTF8",
                "-D",
            ])
            .arg(folder.path().join("data"))
            .stdout(Stdio::null())
            .status();
        assert!(made.expect("initdb runs").success(), "initdb has failed");
        Self {
            folder,
            port,
            process: None,
        }
    }

    /// The URL of its database.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// Starts it on the data that it has, and waits until it answers.
    ///
    /// # Panics
    /// When it does not.
    pub async fn resurrect(&mut self) {
        let port = self.port.to_string();
        let started = program("postgres")
            .arg("-D")
            .arg(self.folder.path().join("data"))
            .args([
                "-h",
                "127.0.0.1",
                "-p",
                &port,
                "-c",
                "unix_socket_directories=",
            ])
            .args(["-c", "fsync=off", "-c", "shared_buffers=16MB"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.process = Some(started.expect("a server"));
        let deadline = Instant::now() + START;
        while let Err(error) = PgConnection::connect(&self.url()).await {
            assert!(
                Instant::now() < deadline,
                "the server does not start: {error}"
            );
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Stops every process of it: it is connected, and silent.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on where it was frozen.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Kills every process of it, as `kill -9` does.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        if let Some(mut process) = self.process.take() {
            // It is gone, or was before.
            let _ = process.wait();
        }
    }

    fn signal(&self, signal: Signal) {
        let Some(main) = self
            .process
            .as_ref()
            .and_then(|process| i32::try_from(process.id()).ok().and_then(Pid::from_raw))
        else {
            return;
        };
        // The main process first: after that it starts no others.
        let _ = kill_process(main, signal);
        for child in children(main) {
            // One may just have ended.
            let _ = kill_process(child, signal);
        }
    }
}

impl Drop for PrivateServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn children(parent: Pid) -> Vec<Pid> {
    let stat = |entry: fs::DirEntry| fs::read_to_string(entry.path().join("stat")).ok();
    let entries = fs::read_dir("/proc").expect("a list of processes");
    let stats = entries.filter_map(Result::ok).filter_map(stat);
    stats.filter_map(|stat| child(&stat, parent)).collect()
}

/// The process that a line of `/proc/<pid>/stat` is about, if it is a child of `parent`: the second field after the name.
fn child(stat: &str, parent: Pid) -> Option<Pid> {
    let (id, rest) = stat.split_once(' ')?;
    let (_, after_name) = rest.rsplit_once(") ")?;
    let its_parent: i32 = after_name.split(' ').nth(1)?.parse().ok()?;
    let id = Pid::from_raw(id.parse().ok()?)?;
    (its_parent == parent.as_raw_nonzero().get()).then_some(id)
}

/// A program of the server, which refuses to run with all rights.
fn program(name: &str) -> Command {
    let mut command = Command::new(find(name));
    if let Some(user) = unprivileged() {
        command.uid(user).current_dir("/");
    }
    command
}

/// The user `postgres`, if everything else runs as root.
fn unprivileged() -> Option<u32> {
    if !getuid().is_root() {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").expect("a list of users");
    let line = users.lines().find(|line| line.starts_with("postgres:"));
    let id = line.and_then(|line| line.split(':').nth(2)?.parse().ok());
    Some(id.expect("PostgreSQL does not run as root, and there is no user `postgres`"))
}

/// On the path, or where Debian puts the programs of each version.
fn find(name: &str) -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = env::split_paths(&path).collect();
    if let Ok(versions) = fs::read_dir(Path::new("/usr/lib/postgresql")) {
        folders.extend(versions.flatten().map(|version| version.path().join("bin")));
    }
    let mut programs = folders.iter().map(|folder| folder.join(name));
    let found = programs.find(|program| program.is_file());
    found
        .unwrap_or_else(|| panic!("`{name}` is not found, install PostgreSQL (Debian: postgresql)"))
}
