//! A broker that a test may kill and freeze: its own node, in a folder of its own.

use lapin::{Connection, ConnectionProperties};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs::{self, File},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};

/// Nodes are heavy: one at a time.
static ONE: Mutex<()> = Mutex::const_new(());

/// Where Debian puts the scripts; their wrapper on the path insists on another user and folder.
const SCRIPTS: &str = "/usr/lib/rabbitmq/bin";

/// How long a node may take to start.
const START: Duration = Duration::from_secs(90);

pub(crate) struct Node {
    folder: TempDir,
    port: u16,
    epmd_port: u16,
    dist_port: u16,
    epmd: Child,
    server: Option<Child>,
    _turn: MutexGuard<'static, ()>,
}

impl Node {
    /// A node that answers.
    pub(crate) async fn start() -> Self {
        let turn = ONE.lock().await;
        let folder = TempDir::new().expect("a temporary folder");
        let [port, epmd_port, dist_port] = free_ports();
        let config = format!(
            "listeners.tcp.1 = 127.0.0.1:{port}\n\
             log.console = true\n\
             log.file = false\n\
             vm_memory_high_watermark.absolute = 512MB\n\
             disk_free_limit.absolute = 50MB\n"
        );
        fs::create_dir(folder.path().join("home")).expect("a new folder");
        fs::write(folder.path().join("rabbitmq.conf"), config).expect("a new file");
        fs::write(folder.path().join("enabled_plugins"), "[].").expect("a new file");
        let epmd = Command::new("epmd")
            .args(["-address", "127.0.0.1", "-port", &epmd_port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("epmd is installed with rabbitmq-server");
        let mut node = Self {
            folder,
            port,
            epmd_port,
            dist_port,
            epmd,
            server: None,
            _turn: turn,
        };
        node.restart().await;
        node
    }

    /// The node's URL for one installation.
    pub(crate) fn url(&self, prefix: &str) -> String {
        format!(
            "amqp://guest:guest@127.0.0.1:{}/%2f?prefix={prefix}",
            self.port
        )
    }

    /// Waits until the node would know a new quorum queue again after a crash. For about three seconds it would not: then
    /// RabbitMQ (3.10, and still 4.x: rabbitmq-server issue 15725) begins the queue anew, without a leader.
    pub(crate) async fn remembers(&self, queue: &str) {
        let name = format!("test{}@localhost", self.port);
        let names = self.path("mnesia").join(&name).join("quorum").join(&name);
        let names = names.join("names.dets");
        super::until("the node remembers the queue", async || {
            fs::read(&names).is_ok_and(|content| {
                content
                    .windows(queue.len())
                    .any(|window| window == queue.as_bytes())
            })
        })
        .await;
    }

    /// Ends the node without any warning.
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::KILL);
        if let Some(mut server) = self.server.take() {
            server.wait().expect("it is our child");
        }
    }

    /// Starts the node again, with what it had, and waits until it answers.
    pub(crate) async fn restart(&mut self) {
        let _ = fs::remove_file(self.path("pid"));
        self.server = Some(self.spawn());
        let started = tokio::time::timeout(START, async {
            while !self.answers().await {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        });
        if started.await.is_err() {
            let log = fs::read_to_string(self.path("log")).unwrap_or_default();
            panic!("the broker does not start:\n{log}");
        }
    }

    /// Stops the node in its tracks: connections stay, and nothing is answered.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Sets how much memory the node thinks it has; with very little it takes nothing from publishers.
    pub(crate) async fn limit_memory(&self, limit: &str) {
        let node = format!("test{}@localhost", self.port);
        let mut command =
            tokio::process::Command::from(self.command(&format!("{SCRIPTS}/rabbitmqctl")));
        command.args([
            "-n",
            &node,
            "set_vm_memory_high_watermark",
            "absolute",
            limit,
        ]);
        let done = command
            .output()
            .await
            .expect("it comes with rabbitmq-server");
        assert!(done.status.success(), "{done:?}");
    }

    fn spawn(&self) -> Child {
        let log = File::create(self.path("log")).expect("a new file");
        self.command(&format!("{SCRIPTS}/rabbitmq-server"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("it is open"))
            .stderr(log)
            .spawn()
            .expect("rabbitmq-server is installed")
    }

    fn command(&self, program: &str) -> Command {
        let folder = |name: &str| self.path(name).into_os_string();
        let mut command = Command::new(program);
        command
            .env("HOME", folder("home"))
            .env("ERL_EPMD_PORT", self.epmd_port.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODENAME", format!("test{}@localhost", self.port))
            .env("RABBITMQ_DIST_PORT", self.dist_port.to_string())
            .env("RABBITMQ_CONF_ENV_FILE", folder("none"))
            .env("RABBITMQ_CONFIG_FILE", folder("rabbitmq.conf"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", folder("enabled_plugins"))
            .env("RABBITMQ_MNESIA_BASE", folder("mnesia"))
            .env("RABBITMQ_LOG_BASE", folder("logs"))
            .env("RABBITMQ_PID_FILE", folder("pid"))
            .env(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "+S 1:1 -kernel inet_dist_use_interface {127,0,0,1}",
            );
        command
    }

    async fn answers(&self) -> bool {
        let url = format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port);
        let connected = Connection::connect(&url, ConnectionProperties::default());
        let connected = tokio::time::timeout(Duration::from_secs(5), connected).await;
        connected.is_ok_and(|connected| connected.is_ok())
    }

    fn signal(&self, signal: Signal) {
        let pid = fs::read_to_string(self.path("pid")).ok();
        let pid = pid.and_then(|pid| pid.trim().parse().ok());
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            kill_process(pid, signal).expect("the node runs");
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::join(self.folder.path(), name)
    }
}

impl Drop for Node {
    #[expect(
        clippy::print_stdout,
        reason = "what the broker said helps whoever reads the failure"
    )]
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.path("log")).unwrap_or_default();
            println!("the broker's log:\n{log}");
        }
        if self.server.is_some() {
            self.kill();
        }
        // It may have ended by itself.
        let _ = self.epmd.kill();
        let _ = self.epmd.wait();
    }
}

fn free_ports() -> [u16; 3] {
    // All are held until all are known, so that they differ.
    let held = [(); 3].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port"));
    held.map(|listener| listener.local_addr().expect("it is bound").port())
}
