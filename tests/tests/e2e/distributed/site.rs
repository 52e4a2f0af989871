//! Where these tests happen: a cluster with two processes of each role.

use sluice::Role;
use std::collections::BTreeSet;
use tests::{
    Account, Cluster, Plan, Process, chunk_keys,
    daemon::State,
    engines::{Engines, Namespace, Urls},
    server::CHEAP,
};
use tokio::sync::{Mutex, MutexGuard, OnceCell};

/// A cluster on a part of some engines.
pub(super) struct Site {
    pub(super) cluster: Cluster,
    pub(super) namespace: Namespace,
    pub(super) engines: Urls,
    _folder: tempfile::TempDir,
}

impl Site {
    /// Two of each role on the engines that all tests share.
    pub(super) async fn new() -> Self {
        Self::on(&Urls::shared(), async |plan, _| plan).await
    }

    /// Two of each role on these engines; `change` may put proxies between.
    pub(super) async fn on(
        engines: &Urls,
        change: impl AsyncFnOnce(Plan, &Namespace) -> Plan,
    ) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let namespace = Namespace::create(engines).await;
        let plan = Plan::new(namespace.stores(engines), 2, folder.path());
        let plan = CHEAP
            .iter()
            .fold(plan, |plan, (name, value)| plan.set(name, *value));
        let plan = change(plan, &namespace).await;
        Self {
            cluster: Cluster::start(plan).await,
            namespace,
            engines: engines.clone(),
            _folder: folder,
        }
    }

    /// The address of a gateway as a URL.
    pub(super) fn url(&self, gateway: usize) -> String {
        self.cluster.urls().swap_remove(gateway)
    }

    /// A new user, who talks to the first gateway.
    pub(super) async fn account(&self, name: &str) -> Account {
        Account::signup(&self.url(0), name).await
    }

    pub(super) fn process(&mut self, role: Role, number: usize) -> &mut Process {
        self.cluster.replica(role, number)
    }

    /// Starts a process again.
    pub(super) async fn restart(&mut self, role: Role, number: usize) {
        self.process(role, number).restart().await;
    }

    /// The uploads that the chunk cache holds anything of.
    pub(super) fn cached(&self) -> BTreeSet<String> {
        chunk_keys::uploads(&self.engines.redis, self.namespace.name())
    }

    pub(super) async fn until_cache_is_empty(&self) {
        tests::until("the chunk cache to be empty", async || {
            self.cached().is_empty().then_some(())
        })
        .await;
    }

    /// The names of all blobs, as any client of MongoDB sees them.
    pub(super) async fn blobs(&self) -> Vec<String> {
        let client = mongodb::Client::with_uri_str(&self.engines.mongodb).await;
        let database = client
            .expect("MongoDB's URL")
            .database(self.namespace.name());
        let files = database.collection::<mongodb::bson::Document>("fs.files");
        let mut found = files
            .find(mongodb::bson::doc! {})
            .await
            .expect("MongoDB answers");
        let mut names = Vec::new();
        while found.advance().await.expect("MongoDB answers") {
            let name = found.current().get_str("filename");
            names.push(name.expect("a blob has a name").to_owned());
        }
        names
    }
}

impl Drop for Site {
    #[expect(
        clippy::print_stderr,
        reason = "the harness shows it with the failure of the test"
    )]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.cluster.tail(25));
        }
    }
}

/// A set of engines that may be harmed, for one test at a time. Whatever the one before left, all of them run now.
pub(super) async fn harmed() -> MutexGuard<'static, Engines> {
    static HARMED: OnceCell<Mutex<Engines>> = OnceCell::const_new();
    let engines = HARMED.get_or_init(async || Mutex::new(Engines::start().await));
    let engines = engines.await.lock().await;
    for engine in engines.all() {
        match engine.state() {
            State::Running => {}
            State::Frozen => engine.thaw(),
            State::Ended => engine.start(),
        }
        engine.until_ready().await;
    }
    engines
}
