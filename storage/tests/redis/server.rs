//! A Redis of a test's own, which may be killed, frozen and filled.

use crate::until;
use redis::{Client, Cmd, FromRedisValue, aio::MultiplexedConnection, cmd};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    net::{Ipv4Addr, TcpListener},
    process::{Child, Command, Stdio},
    sync::Arc,
};
use storage::{
    chunks::{ChunkCache, ChunkOptions},
    open_chunks,
};
use tempfile::TempDir;

pub(crate) struct Server {
    folder: TempDir,
    pub(crate) port: u16,
    options: Vec<String>,
    process: Option<Child>,
}

impl Server {
    /// Starts one and waits until it answers. `options` are as in its configuration file.
    pub(crate) async fn start(options: &[&str]) -> Self {
        let mut server = Self::stopped(options);
        server.run().await;
        server
    }

    /// One that does not run yet.
    pub(crate) fn stopped(options: &[&str]) -> Self {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr());
        Self {
            folder: TempDir::new().expect("a temporary folder"),
            port: free.expect("there is a free port").port(),
            options: options
                .iter()
                .flat_map(|option| option.split(' '))
                .map(str::to_owned)
                .collect(),
            process: None,
        }
    }

    pub(crate) async fn run(&mut self) {
        self.spawn();
        until("Redis answers", async || {
            self.try_ask::<()>(&cmd("PING")).await.is_ok()
        })
        .await;
    }

    pub(crate) fn spawn(&mut self) {
        let process = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string()])
            .args(["--save", "", "--dir"])
            .arg(self.folder.path())
            .args(&self.options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.process = Some(process.expect("redis-server is installed"));
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    pub(crate) async fn cache(&self) -> Arc<dyn ChunkCache> {
        self.cache_with(&ChunkOptions::default()).await
    }

    pub(crate) async fn cache_with(&self, options: &ChunkOptions) -> Arc<dyn ChunkCache> {
        open_chunks(&self.url(), options)
            .await
            .expect("Redis is fine")
    }

    pub(crate) async fn connection(&self) -> redis::RedisResult<MultiplexedConnection> {
        Client::open(self.url())?
            .get_multiplexed_async_connection()
            .await
    }

    async fn try_ask<T: FromRedisValue>(&self, command: &Cmd) -> redis::RedisResult<T> {
        command.query_async(&mut self.connection().await?).await
    }

    /// Asks behind the adapter's back: a command in one line.
    pub(crate) async fn ask<T: FromRedisValue>(&self, line: &str) -> T {
        let mut command = Cmd::new();
        for word in line.split(' ') {
            command.arg(word);
        }
        self.try_ask(&command).await.expect("it is answered")
    }

    pub(crate) async fn keys(&self) -> Vec<String> {
        self.ask("KEYS *").await
    }

    /// The keys of uploads; the ledger stays when all are gone.
    pub(crate) async fn upload_keys(&self) -> Vec<String> {
        let mut keys = self.keys().await;
        keys.retain(|key| key != "sluice:ledger");
        keys
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("it runs");
            process.wait().expect("it ends");
        }
    }

    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let process = self.process.as_ref().expect("it runs");
        kill_process(Pid::from_child(process), signal).expect("it runs");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
