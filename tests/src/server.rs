//! A server as users run it, in the form that this run is about: one process, or one for each role.

mod alone;

use crate::{
    account::{Account, PASSWORD},
    binary::binary,
    chunk_keys,
    cluster::{Cluster, Plan},
    engines::{Namespace, Urls},
    mode::Mode,
    process::Process,
    small_disk::SmallDisk,
    wait::until,
};
use alone::Alone;
use serde_json::Value;
use sluice::Role;
use std::{collections::BTreeSet, net::SocketAddr, path::Path, process::Command};

/// Passwords that cost little.
pub const CHEAP: [(&str, &str); 2] = [
    ("SLUICE_AUTH__PASSWORDS__MEMORY", "64 KiB"),
    ("SLUICE_AUTH__PASSWORDS__ITERATIONS", "1"),
];

/// A server and its data, both gone when dropped.
pub struct Server {
    form: Form,
    folder: tempfile::TempDir,
}

enum Form {
    Embedded(Box<Alone>),
    Distributed(Box<Cluster>, Namespace),
}

impl Server {
    /// Starts a server without any data and waits until it is ready.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// As [`start`](Self::start), with settings given as variables of the environment.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn start_with(settings: &[(&str, &str)]) -> Self {
        let settings = [settings, &CHEAP].concat();
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let form = match Mode::tested() {
            Mode::Embedded => {
                let alone = Alone::start(folder.path(), &settings, None).await;
                Form::Embedded(Box::new(alone))
            }
            Mode::Distributed => {
                let engines = Urls::shared();
                let namespace = Namespace::create(&engines).await;
                let plan = Plan::new(namespace.stores(&engines), 1, folder.path());
                let plan = settings
                    .iter()
                    .fold(plan, |plan, (name, value)| plan.set(name, *value));
                Form::Distributed(Box::new(Cluster::start(plan).await), namespace)
            }
        };
        Self { form, folder }
    }

    /// An embedded server with all data on this disk, whatever the run is about.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn start_on(disk: SmallDisk, settings: &[(&str, &str)]) -> Self {
        let settings = [settings, &CHEAP].concat();
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let alone = Alone::start(folder.path(), &settings, Some(disk)).await;
        let form = Form::Embedded(Box::new(alone));
        Self { form, folder }
    }

    /// Starts the server again, with the same data at the same address.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn restart(&mut self) {
        match &mut self.form {
            Form::Embedded(alone) => alone.restart().await,
            Form::Distributed(cluster, _) => cluster.restart().await,
        }
    }

    /// Ends every process at once, as `kill -9` does.
    pub fn kill(&mut self) {
        match &mut self.form {
            Form::Embedded(alone) => alone.process.kill(),
            Form::Distributed(cluster, _) => cluster.kill(),
        }
    }

    /// Asks every process to stop, as `kill` does; answers at once.
    ///
    /// # Panics
    /// When one does not run.
    pub fn terminate(&self) {
        for process in self.processes() {
            process.terminate();
        }
    }

    /// Waits until every process has ended; answers whether all ended well.
    pub async fn ended(&mut self) -> bool {
        let mut well = true;
        for process in self.processes_mut() {
            well &= process.ended().await;
        }
        well
    }

    /// The address as a URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// The address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        match &self.form {
            Form::Embedded(alone) => alone.address,
            Form::Distributed(cluster, _) => cluster.gateways()[0],
        }
    }

    /// Where the process that clients reach tells operators about itself, as a URL.
    #[must_use]
    pub fn about(&self) -> String {
        match &self.form {
            Form::Embedded(_) => self.url(),
            Form::Distributed(cluster, _) => {
                format!("http://{}", cluster.plan().internal(Role::Gateway, 0))
            }
        }
    }

    /// The disk that it was started on.
    ///
    /// # Panics
    /// When that is not a disk of its own.
    #[must_use]
    pub fn disk(&self) -> &SmallDisk {
        let disk = match &self.form {
            Form::Embedded(alone) => alone.disk.as_ref(),
            Form::Distributed(..) => None,
        };
        disk.expect("it was started on a disk")
    }

    /// What a command of an operator needs to work on the same data: variables of the environment.
    #[must_use]
    pub fn operators_settings(&self) -> Vec<(String, String)> {
        match &self.form {
            Form::Embedded(alone) => alone.operators_settings(),
            Form::Distributed(cluster, _) => {
                let data = self.folder.path().join("operator").display().to_string();
                let mut settings = cluster.plan().common_settings();
                settings.push(("SLUICE_DATA".to_owned(), data));
                settings
            }
        }
    }

    /// What the server has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.processes().map(Process::log).collect()
    }

    /// The most memory that any one of its processes had resident since it was started, bytes.
    ///
    /// # Panics
    /// When one does not run.
    #[must_use]
    pub fn peak_memory(&self) -> u64 {
        let peaks = self.processes().map(Process::peak_memory);
        peaks.max().expect("there is a process")
    }

    /// The uploads of which the chunk cache holds anything.
    ///
    /// # Panics
    /// When it can't be read.
    #[must_use]
    pub fn cached(&self) -> BTreeSet<String> {
        match &self.form {
            Form::Embedded(alone) => alone.cached(),
            Form::Distributed(_, namespace) => {
                chunk_keys::uploads(&Urls::shared().redis, namespace.name())
            }
        }
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

    /// The present value of a metric, named as `/metrics` writes it, with its labels; 0 if it is not there. Of several
    /// processes it is the sum.
    ///
    /// # Panics
    /// When a process does not answer.
    pub async fn metric(&self, name: &str) -> f64 {
        let mut sum = 0.0;
        for process in self.processes() {
            sum += process.metric(name).await.expect("the server answers");
        }
        sum
    }

    /// Waits until this many sockets were closed with this code.
    pub async fn until_closed(&self, code: u16, sockets: u32) {
        let name = format!("sluice_session_closes_total{{code=\"{code}\"}}");
        until("the server to close sockets", async || {
            (self.metric(&name).await >= f64::from(sockets)).then_some(())
        })
        .await;
    }

    /// Creates an admin on the running server's data, as its operator does, and logs in.
    ///
    /// # Panics
    /// When the command fails.
    pub async fn admin(&self, name: &str) -> Account {
        create_admin(self.folder.path(), &self.operators_settings(), name);
        Account::login(&self.url(), name).await
    }

    fn processes(&self) -> impl Iterator<Item = &Process> {
        let (alone, cluster) = match &self.form {
            Form::Embedded(alone) => (Some(&alone.process), None),
            Form::Distributed(cluster, _) => (None, Some(cluster.replicas())),
        };
        let replicas = cluster.into_iter().flatten();
        alone
            .into_iter()
            .chain(replicas.map(|replica| &replica.process))
    }

    fn processes_mut(&mut self) -> Vec<&mut Process> {
        match &mut self.form {
            Form::Embedded(alone) => vec![&mut alone.process],
            Form::Distributed(cluster, _) => cluster.processes_mut().collect(),
        }
    }
}

/// Creates an admin with the command for it; `folder` is where the password may be kept.
///
/// # Panics
/// When the command fails.
pub fn create_admin(folder: &Path, settings: &[(String, String)], name: &str) {
    let password = folder.join("admin.password");
    std::fs::write(&password, PASSWORD).expect("the password can be written");
    let created = Command::new(binary())
        .args(["admin", "create", "--user", name, "--password-file"])
        .arg(&password)
        .envs(settings.iter().cloned())
        .output()
        .expect("the command can be started");
    assert!(
        created.status.success(),
        "{}",
        String::from_utf8_lossy(&created.stderr)
    );
}

impl Drop for Server {
    #[expect(
        clippy::print_stderr,
        reason = "the harness shows it with the failure of the test"
    )]
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            match &self.form {
                Form::Embedded(alone) => eprintln!("{}", alone.process.tail(60)),
                Form::Distributed(cluster, _) => eprintln!("{}", cluster.tail(30)),
            }
        }
    }
}
