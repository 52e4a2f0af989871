//! The power is cut at every file operation on a file's way from its first chunk to the blob store.
//!
//! Chunks and blobs are on a [`PowerCut`] disk. SQLite writes to the real one, so its files are copied at the very moment of
//! the cut, while no file operation can happen. The copy is what a power cut at that moment leaves of them, given that
//! SQLite keeps its promise: with `synchronous=FULL` every commit that had returned is on the disk, so it is in the copy;
//! one that was under way may be in it or not, as after a real cut. A checkpoint during the copy would spoil it; then the
//! copy is made again.
//!
//! What clients had been told by then is noted at the same moment: only that counts as promised.

mod check;
mod life;

use check::check;
use futures::{StreamExt, stream};
use life::{Life, Plan, Promises};
use sluice::{Settings, Stores};
use std::{fs, io, path::Path, sync::Arc};
use storage::{
    blobs::DiskBlobs,
    chunks::{ChunkOptions, DiskChunks},
    fs::{Fs, PowerCut, Real, Survives},
};
use tempfile::TempDir;
use tests::{Account, Embedded, case::Case};
use tokio::sync::watch;

/// The databases, in the order in which they are copied. A file is put into the index before its upload is said to be stored;
/// so the index comes last, or the copies could show what never was.
const DATABASES: [&str; 3] = ["auth.db", "uploads.db", "index.db"];

/// Cases that run side by side: they wait for acknowledgements most of the time.
const PARALLEL: usize = 6;

/// In memory where that is possible: what survives is decided by the decorator, and hundreds of disks are made.
fn folder() -> TempDir {
    TempDir::new_in("/dev/shm")
        .or_else(|_| TempDir::new())
        .expect("a temporary folder")
}

async fn stores(settings: &Settings, fs: Arc<dyn Fs>, disk: &Path) -> Stores {
    let options = ChunkOptions {
        min_free_bytes: 0,
        ..ChunkOptions::default()
    };
    let chunks = DiskChunks::open(fs.clone(), &disk.join("chunks"), &options).await;
    let blobs = DiskBlobs::open(fs, &disk.join("blobs")).await;
    Stores::new(settings)
        .with_chunks(Arc::new(chunks.expect("the chunk cache opens")))
        .with_blobs(Arc::new(blobs.expect("the blob store opens")))
}

/// Everything that is the same for all cuts.
struct Scenario {
    plan: Plan,
    account: Account,
    /// A data folder in which the account exists.
    template: TempDir,
}

/// How things stood when the power was cut.
struct Cut {
    /// What was promised by then.
    promises: Promises,
    /// The databases.
    databases: TempDir,
    disk: PowerCut,
    /// Operations since the server had started.
    operations: u64,
    /// Whether it was cut by itself, before the scenario was over.
    is_early: bool,
    _data: TempDir,
}

impl Scenario {
    async fn new() -> Self {
        let template = folder();
        let settings = Embedded::settings(template.path());
        let stores = Stores::new(&settings);
        let server = Embedded::start(settings, stores).await;
        let account = Account::signup(server.url(), "ada").await;
        server.stop().await;
        Self {
            plan: Plan::new(),
            account,
            template,
        }
    }

    fn settings(&self, databases: &Path, data: &Path) -> Settings {
        copy_databases(databases, data).expect("the databases can be copied");
        fs::create_dir_all(data.join("disk")).unwrap();
        Embedded::settings(data)
    }

    /// Runs the scenario and cuts the power at operation `n` after the start; at its end if it takes fewer.
    async fn live_until(&self, n: u64) -> Cut {
        let data = folder();
        let settings = self.settings(self.template.path(), data.path());
        let path = data.path().join("disk");
        let disk = PowerCut::new(&path).unwrap();
        let stores = stores(&settings, Arc::new(disk.clone()), &path).await;
        let chunks = stores.chunks().await.unwrap();
        let server = Embedded::start(settings, stores).await;

        let (noted, is_cut) = watch::channel(false);
        let life = Life::new(&self.plan, self.account.at(server.url()), is_cut.clone());
        let databases = folder();
        disk.at_end({
            let (from, to) = (data.path().to_owned(), databases.path().to_owned());
            let (promises, at_cut) = (life.promises(), life.promises_at_cut());
            move || {
                // First what was promised, then what is there: whatever is told from here on does not count.
                *at_cut.lock().unwrap() = promises.lock().unwrap().clone();
                copy_databases(&from, &to).expect("the databases can be copied");
                noted.send_replace(true);
            }
        });
        let started = disk.operations();
        disk.cut_at(started.saturating_add(n));
        let mut cut = is_cut.clone();
        let is_early = tokio::select! {
            () = life.live(&*chunks) => false,
            _ = cut.wait_for(|is_cut| *is_cut) => true,
        };
        let operations = disk.operations() - started;
        disk.cut();
        server.abort().await;
        let promises = life.promises_at_cut().lock().unwrap().clone();
        Cut {
            promises,
            databases,
            disk,
            operations,
            is_early,
            _data: data,
        }
    }

    /// Starts a server on what survived, and looks at it from all sides.
    async fn examine(&self, cut: &Cut, survives: Survives) {
        let data = folder();
        let settings = self.settings(cut.databases.path(), data.path());
        let path = data.path().join("disk");
        cut.disk.materialise(survives, &path).unwrap();
        let stores = stores(&settings, Arc::new(Real), &path).await;
        let server = Embedded::start(settings, stores.clone()).await;
        let account = self.account.at(server.url());
        check(&self.plan, &cut.promises, &account, &stores).await;
        server.abort().await;
    }
}

/// Copies the databases as they are at one moment, whoever writes to them.
fn copy_databases(from: &Path, to: &Path) -> io::Result<()> {
    for name in DATABASES {
        let log = format!("{name}-wal");
        loop {
            let database = read(&from.join(name))?;
            fs::write(to.join(&log), read(&from.join(&log))?)?;
            // If pages were moved from the log into the database meanwhile, the two copies do not fit each other.
            if read(&from.join(name))? == database {
                fs::write(to.join(name), database)?;
                break;
            }
        }
    }
    Ok(())
}

/// A file that is not there reads as an empty one, which is the same to SQLite.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other,
    }
}

/// About 105 cuts, each looked at in four modes.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_promised_survives_a_power_cut_at_every_step() {
    let scenario = Scenario::new().await;
    let whole = scenario.live_until(u64::MAX).await;
    assert!(!whole.is_early);
    for survives in [Survives::Everything, Survives::DropAll] {
        scenario.examine(&whole, survives).await;
    }
    let case = async |n| {
        let cut = scenario.live_until(n).await;
        let modes = [
            Survives::DropAll,
            Survives::KeepNames,
            Survives::KeepLengths,
            Survives::Random(n),
        ];
        for survives in modes {
            let _case = Case::begin(format!("cut at operation {n}, what survives: {survives:?}"));
            scenario.examine(&cut, survives).await;
        }
        u64::from(cut.is_early)
    };
    let cases = stream::iter(0..whole.operations).map(case);
    let early: u64 = cases
        .buffer_unordered(PARALLEL)
        .collect::<Vec<_>>()
        .await
        .iter()
        .sum();
    assert!(
        early * 10 >= whole.operations * 9,
        "only {early} of {} cuts hit",
        whole.operations
    );
}
