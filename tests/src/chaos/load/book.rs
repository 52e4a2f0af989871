//! When each upload moved, and how it ended.

use crate::content;
use client::{FileOutcome, Progress, UploadState};
use protocol::Digest;
use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// What is known of every upload.
pub(super) struct Book {
    each: usize,
    numbers: AtomicU64,
    pages: Mutex<Pages>,
}

struct Pages {
    uploads: Vec<Verdict>,
    /// Of each worker, when the file that it sends moved.
    moves: Vec<Vec<Instant>>,
    told_to_wait: BTreeMap<String, usize>,
}

/// What became of one file.
#[derive(Clone, Debug)]
pub(in crate::chaos) struct Verdict {
    /// The client that sent it.
    pub(in crate::chaos) client: usize,
    worker: usize,
    pub(in crate::chaos) name: String,
    pub(in crate::chaos) digest: Digest,
    pub(in crate::chaos) begun: Instant,
    pub(in crate::chaos) cached: Option<Instant>,
    pub(in crate::chaos) stored: Option<(Instant, FileOutcome)>,
    acked: u64,
    state: String,
}

impl Verdict {
    /// What is wrong with it: every file has to be stored.
    pub(in crate::chaos) fn complaint(&self) -> Option<String> {
        let Self { name, state, .. } = self;
        (self.stored.is_none()).then(|| format!("{name} was not stored: {state}"))
    }
}

impl Book {
    pub(super) fn new(clients: usize, each: usize) -> Self {
        let pages = Pages {
            uploads: Vec::new(),
            moves: vec![Vec::new(); clients * each],
            told_to_wait: BTreeMap::new(),
        };
        Self {
            each,
            numbers: AtomicU64::new(0),
            pages: Mutex::new(pages),
        }
    }

    pub(super) fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// A file is about to be sent; answers its place in the book.
    pub(super) fn open(&self, worker: usize, number: u64, data: &[u8]) -> usize {
        let verdict = Verdict {
            client: worker / self.each,
            worker,
            name: format!("{number}.dat"),
            digest: content::sha256(data),
            begun: Instant::now(),
            cached: None,
            stored: None,
            acked: 0,
            state: "not begun".to_owned(),
        };
        let mut pages = self.pages();
        pages.uploads.push(verdict);
        pages.uploads.len() - 1
    }

    /// This is how it stands now.
    pub(super) fn note(&self, entry: usize, progress: &Progress) {
        let now = Instant::now();
        let mut pages = self.pages();
        let pages = &mut *pages;
        let upload = &mut pages.uploads[entry];
        let mut moved = progress.acked > upload.acked;
        upload.acked = progress.acked;
        upload.state = format!("{} bytes held, {:?}", progress.acked, progress.state);
        match &progress.state {
            UploadState::Cached(_) if upload.cached.is_none() => {
                upload.cached = Some(now);
                moved = true;
            }
            UploadState::Stored(outcome) if upload.stored.is_none() => {
                moved |= upload.cached.is_none();
                upload.cached.get_or_insert(now);
                upload.stored = Some((now, *outcome));
            }
            UploadState::Waiting(refusal) => {
                let code = refusal.code.to_string();
                *pages.told_to_wait.entry(code).or_default() += 1;
            }
            _ => {}
        }
        if moved {
            pages.moves[upload.worker].push(now);
        }
    }

    pub(super) fn fail(&self, entry: usize, reason: &str) {
        reason.clone_into(&mut self.pages().uploads[entry].state);
    }

    /// When the last of the clients had first moved after `then`, if all workers did; else which ones did not, and why.
    ///
    /// What a client sends lies in buffers in front of a slow link, one upload behind the other, so that each of them moves
    /// seconds after the client does.
    pub(super) fn all_moved_since(&self, then: Instant) -> Result<Instant, String> {
        let pages = self.pages();
        let first = |moves: &Vec<Instant>| moves.iter().find(|at| **at >= then).copied();
        let firsts: Vec<_> = pages.moves.iter().map(first).collect();
        if firsts.iter().all(Option::is_some) {
            let of_clients = firsts.chunks(self.each);
            let of_clients = of_clients.filter_map(|firsts| firsts.iter().flatten().min());
            return Ok(of_clients.max().copied().unwrap_or(then));
        }
        let stuck = |worker: usize| firsts[worker].is_none();
        let last_of = |worker: usize| pages.uploads.iter().rfind(|of| of.worker == worker);
        let stuck: Vec<_> = (0..firsts.len())
            .filter(|worker| stuck(*worker))
            .filter_map(last_of)
            .map(|upload| format!("{} ({})", upload.name, upload.state))
            .collect();
        Err(format!(
            "{} uploads do not move: {}",
            stuck.len(),
            stuck.join("; ")
        ))
    }

    /// The longest time within these in which no file that a client was sending moved.
    pub(super) fn longest_silence(&self, from: Instant, to: Instant) -> Duration {
        let pages = self.pages();
        let silence = |workers: &[Vec<Instant>]| {
            let mut moves: Vec<_> = workers.iter().flatten().copied().collect();
            moves.extend([from, to]);
            moves.sort();
            let gaps = moves.windows(2).map(|pair| pair[1] - pair[0]);
            gaps.max().unwrap_or_default()
        };
        let of_each = pages.moves.chunks(self.each).map(silence);
        of_each.max().unwrap_or_default()
    }

    pub(super) fn verdicts(&self) -> Vec<Verdict> {
        self.pages().uploads.clone()
    }

    pub(super) fn told_to_wait(&self) -> BTreeMap<String, usize> {
        self.pages().told_to_wait.clone()
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
