//! Pages of history where there are a million files.

use super::index;
use crate::{
    Result,
    lab::{Lab, Scratch},
    ready::Patience,
    scenario::{Contender, Figure, Part, Sample, Scenario, Skip},
    stats::{millis, percentile},
    target::Running,
    targets::server,
};
use async_trait::async_trait;
use protocol::file::{Cursor, FilePage};
use reqwest::Client;
use rustix::fs::{Advice, fadvise};
use std::{
    fs::{self, File},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

const FILES: u64 = 1_000_000;

/// Pages asked for of each kind.
const PAGES: u64 = 300;

/// The first pages that a fresh process reads, of files of which nothing is in memory.
const COLD: [Figure; 3] = [
    Figure::new("cold p50", "ms", 2),
    Figure::new("cold p99", "ms", 2),
    Figure::new("cold max", "ms", 2),
];
const WARM: [Figure; 3] = [
    Figure::new("warm p50", "ms", 2),
    Figure::new("warm p99", "ms", 2),
    Figure::new("warm max", "ms", 2),
];

/// What is asked for, and its column.
const KINDS: [(Kind, Figure); 7] = [
    (Kind::First, Figure::new("first page p99", "ms", 2)),
    (Kind::Deep, Figure::new("deep page p99", "ms", 2)),
    (Kind::Status, Figure::new("by status p99", "ms", 2)),
    (Kind::Tag, Figure::new("by tag p99", "ms", 2)),
    (Kind::Pool, Figure::new("by pool p99", "ms", 2)),
    (Kind::Time, Figure::new("by time p99", "ms", 2)),
    (Kind::Everyone, Figure::new("everyone's p99", "ms", 2)),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A user's newest files.
    First,
    /// A user's files from somewhere in between.
    Deep,
    /// The same, of one status.
    Status,
    /// A user's files with a tag.
    Tag,
    /// Files of a pool from somewhere in between, as an admin sees them.
    Pool,
    /// A user's files of a stretch of time.
    Time,
    /// The admin's list of all, from somewhere in between.
    Everyone,
}

/// The scenario.
pub(super) struct History;

impl Scenario for History {
    fn name(&self) -> &str {
        "history"
    }

    fn about(&self) -> String {
        format!(
            "pages of 50 files out of {FILES} of {} users: random users, places, and filters, asked for over HTTP by an admin, one \
             after another",
            index::USERS
        )
    }

    fn contenders(&self, _lab: &Lab) -> Vec<Box<dyn Contender>> {
        vec![Box::new(Sluice { folder: None })]
    }
}

struct Sluice {
    /// The data, made once.
    folder: Option<Scratch>,
}

#[async_trait]
impl Contender for Sluice {
    fn name(&self) -> String {
        "sluice".to_owned()
    }

    fn part(&self) -> Part {
        Part::Subject
    }

    async fn prepare(&mut self, lab: &Lab) -> Result<String, Skip> {
        let version = server::version(lab)?;
        let folder = lab.scratch()?;
        index::fill(folder.path(), 1, lab.size(FILES, 10_000)).await?;
        create_admin(lab, folder.path())?;
        self.folder = Some(folder);
        Ok(format!(
            "{version}; cold: a fresh process, and nothing of the index in the page cache"
        ))
    }

    async fn round(&mut self, lab: &Lab) -> Result<Sample> {
        let files = lab.size(FILES, 10_000);
        let folder = self.folder.as_ref().ok_or("it was prepared")?.path();
        let mut running = server::serve(lab, folder, &[]).await?;
        let mut reader = Reader::new(&running, files).await?;
        idle(&running).await?;
        forget(folder)?;
        let mut cold = Vec::new();
        for number in 0..PAGES / 3 {
            for (kind, _) in KINDS {
                cold.push(reader.page(kind, number).await?);
            }
        }
        let mut sample = spread(Sample::default(), COLD, &mut cold);
        let (mut all, mut columns) = (Vec::new(), Vec::new());
        for (kind, column) in KINDS {
            let mut times = Vec::new();
            for number in 0..PAGES {
                times.push(reader.page(kind, number).await?);
            }
            times.sort_unstable();
            columns.push((column, millis(percentile(&times, 0.99))));
            all.append(&mut times);
        }
        sample = spread(sample, WARM, &mut all);
        running.servers.end().await;
        Ok(columns
            .into_iter()
            .fold(sample, |sample, (column, p99)| sample.with(column, p99)))
    }
}

fn spread(sample: Sample, figures: [Figure; 3], times: &mut [Duration]) -> Sample {
    times.sort_unstable();
    let parts = figures.into_iter().zip([0.5, 0.99, 1.0]);
    parts.fold(sample, |sample, (figure, part)| {
        sample.with(figure, millis(percentile(times, part)))
    })
}

/// Makes the admin `root`.
pub(super) fn create_admin(lab: &Lab, folder: &Path) -> Result<()> {
    let password = folder.join("password");
    fs::write(&password, server::PASSWORD)?;
    let made = Command::new(&lab.options.sluice)
        .args(["admin", "create", "--user", "root", "--password-file"])
        .arg(&password)
        .arg("--data")
        .arg(folder)
        .output()?;
    match made.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&made.stderr).into()),
    }
}

/// Waits until the server has nothing to do: it looks over its files when it starts.
pub(super) async fn idle(running: &Running) -> Result<()> {
    let patience = Patience::new("the server to be idle");
    loop {
        let meter = running.servers.meter()?;
        tokio::time::sleep(Duration::from_millis(300)).await;
        if meter.stop()?.cpu < Duration::from_millis(10) {
            return Ok(());
        }
        patience.pause().await?;
    }
}

/// Has the system forget what it keeps of the index in memory.
fn forget(folder: &Path) -> Result<()> {
    const INDEX: &str = "index.db";
    for name in [INDEX, "index.db-wal"] {
        let path = folder.join(name);
        // The log is there only while there is something in it.
        if name == INDEX || path.exists() {
            let file = File::open(path)?;
            file.sync_all()?;
            fadvise(&file, 0, None, Advice::DontNeed)?;
        }
    }
    Ok(())
}

/// An admin who reads pages.
pub(super) struct Reader {
    http: Client,
    url: String,
    token: String,
    files: u64,
}

impl Reader {
    pub(super) async fn new(running: &Running, files: u64) -> Result<Self> {
        let url = running.url();
        Ok(Self {
            http: Client::builder().no_proxy().build()?,
            token: server::api(running.address())?
                .login("root", server::PASSWORD)
                .await?
                .access_token,
            url,
            files,
        })
    }

    /// Asks for a page, which must be the right one; answers how long it took.
    pub(super) async fn page(&mut self, kind: Kind, number: u64) -> Result<Duration> {
        // A file somewhere: its owner is as random as it is.
        let place = 1 + (number + 1) * 7_919_117 % self.files;
        let query = query(kind, place, self.files);
        let url = format!("{}/api/v1/files?{query}", self.url);
        let request = self.http.get(&url).bearer_auth(&self.token);
        let began = Instant::now();
        let answer = request.send().await?.error_for_status()?;
        let body = answer.bytes().await?;
        let took = began.elapsed();
        // Looking at each page would leave nothing idle in between; some of them tell enough.
        if number.is_multiple_of(16) {
            check(kind, place, self.files, &body).map_err(|error| format!("{query}: {error}"))?;
        }
        Ok(took)
    }
}

fn query(kind: Kind, place: u64, files: u64) -> String {
    let owner = index::user(index::owner(place));
    let cursor = Cursor {
        received_at: index::received_at(place),
        file_id: index::file(place),
    };
    let time = |number| {
        let time = jiff::Timestamp::from_microsecond(index::received_at(number));
        time.unwrap_or_default()
    };
    match kind {
        Kind::First => format!("owner={owner}"),
        Kind::Deep => format!("owner={owner}&cursor={cursor}"),
        Kind::Status => format!("owner={owner}&cursor={cursor}&status=uploaded_successfully"),
        Kind::Tag => format!("owner={owner}&tag={}", index::tag(place)),
        Kind::Pool => format!("pool={}&cursor={cursor}", index::pool(place)),
        Kind::Time => format!(
            "owner={owner}&from={}&to={}",
            time(place.saturating_sub(files / 3)),
            time(place)
        ),
        Kind::Everyone => format!("cursor={cursor}"),
    }
}

/// Whether a page holds the files that it must, as far as they follow from how they were made.
fn check(kind: Kind, place: u64, files: u64, body: &[u8]) -> Result<()> {
    let page: FilePage = serde_json::from_slice(body)?;
    let owner = index::owner(place);
    let own = |number: &u64| index::owner(*number) == owner;
    let expected: Vec<u64> = match kind {
        Kind::First => (1..=files).rev().filter(own).take(50).collect(),
        Kind::Deep | Kind::Status => (1..place).rev().filter(own).take(50).collect(),
        Kind::Everyone => (1..place).rev().take(50).collect(),
        Kind::Time => {
            let from = place.saturating_sub(files / 3).max(1);
            (from..place).rev().filter(own).take(50).collect()
        }
        Kind::Tag => {
            let tagged = |number: &u64| index::tag_of(*number) == Some(index::tag(place));
            let found = (1..=files).rev().filter(own).filter(tagged);
            found.take(50).collect()
        }
        Kind::Pool => {
            let sent = |number: &u64| index::pool_of(*number) == Some(index::pool(place));
            (1..place).rev().filter(sent).take(50).collect()
        }
    };
    let found: Vec<_> = page.files.iter().map(|file| file.file_id).collect();
    let expected: Vec<_> = expected.into_iter().map(index::file).collect();
    match found == expected {
        true => Ok(()),
        false => Err(format!(
            "{} files, where {} others were expected",
            found.len(),
            expected.len()
        )
        .into()),
    }
}
