//! A MongoDB of a test's own, which may be killed and frozen: a replica set of one member.

use crate::support::until;
use mongodb::{Client, bson::doc};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

pub(crate) struct Engine {
    folder: TempDir,
    port: u16,
    process: Option<Child>,
}

impl Engine {
    /// Starts one and waits until it takes writes.
    pub(crate) async fn start() -> Self {
        let mut engine = Self::stopped();
        engine.run();
        engine.initiate().await;
        engine
    }

    /// One that does not run yet, and has nothing in it.
    pub(crate) fn stopped() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        Self {
            folder: TempDir::new().expect("a temporary folder"),
            port: port.expect("there is a free port").port(),
            process: None,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("mongodb://127.0.0.1:{}/?replicaSet=rs0", self.port)
    }

    pub(crate) fn run(&mut self) {
        let program = program("TEST_MONGOD", "mongod");
        let mut command = Command::new(&program);
        command
            .args([
                "--replSet",
                "rs0",
                "--bind_ip",
                "127.0.0.1",
                "--nounixsocket",
                "--quiet",
            ])
            .args([
                "--wiredTigerCacheSizeGB",
                "0.25",
                "--port",
                &self.port.to_string(),
            ])
            .arg("--dbpath")
            .arg(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // The libraries that a downloaded mongod came with are beside it.
        if let Some(libraries) = program.ancestors().nth(2).map(|root| root.join("lib"))
            && libraries.join("libssl.so.1.1").exists()
        {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        self.process = Some(
            command
                .spawn()
                .unwrap_or_else(|error| panic!("{}: {error}", program.display())),
        );
    }

    /// Makes it a replica set, and waits for its primary.
    pub(crate) async fn initiate(&self) {
        let url = format!("mongodb://127.0.0.1:{}/?directConnection=true", self.port);
        let client = Client::with_uri_str(url).await.expect("the URL is good");
        let member = doc! { "_id": 0, "host": format!("127.0.0.1:{}", self.port) };
        let set = doc! { "replSetInitiate": { "_id": "rs0", "members": [member] } };
        client
            .database("admin")
            .run_command(set)
            .await
            .expect("it can be initiated");
        self.ready().await;
    }

    /// Waits until it takes writes.
    pub(crate) async fn ready(&self) {
        let client = Client::with_uri_str(self.url())
            .await
            .expect("the URL is good");
        until("a primary", async || {
            let hello = client
                .database("admin")
                .run_command(doc! { "hello": 1 })
                .await;
            hello.is_ok_and(|hello| hello.get_bool("isWritablePrimary").unwrap_or(false))
        })
        .await;
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("it runs");
            process.wait().expect("it ends");
        }
    }

    /// Stops it, and waits until none of its threads runs any more.
    pub(crate) async fn freeze(&self) {
        self.signal(Signal::STOP);
        let tasks = format!(
            "/proc/{}/task",
            self.process.as_ref().expect("it runs").id()
        );
        until("every thread is stopped", async || {
            let tasks = std::fs::read_dir(&tasks).expect("it runs");
            let stats = tasks
                .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("stat")).ok());
            // The state follows the name, which is in parentheses.
            stats.into_iter().all(|stat| {
                stat.rsplit(") ")
                    .next()
                    .is_some_and(|rest| rest.starts_with('T'))
            })
        })
        .await;
    }

    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let process = self.process.as_ref().expect("it runs");
        kill_process(Pid::from_child(process), signal).expect("it runs");
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// A program of MongoDB: the one that the variable names, or one on the `PATH`, or where `./dev` puts it.
pub(crate) fn program(variable: &str, name: &str) -> PathBuf {
    if let Some(named) = std::env::var_os(variable) {
        return named.into();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"));
    let ours = cache
        .or_else(home)
        .map(|cache| cache.join("sluice/engines/mongodb-8.2.0/bin"));
    let mut folders = std::env::split_paths(&path).chain(ours);
    let found = folders.find_map(|folder| Some(folder.join(name)).filter(|path| path.is_file()));
    found.unwrap_or_else(|| {
        panic!("{name} is not installed: `./dev test` installs it; or name one with {variable}")
    })
}
