//! Clients that upload file after file, fifty files at any moment, and remember when each of them moved.

mod book;

pub(super) use book::Verdict;

use super::stage::Stage;
use crate::{account::Account, content, wait::until};
use book::Book;
use client::{Client, Event, Events, FixedToken, Progress, Source, Upload};
use protocol::UploadId;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    sync::watch,
    task::{JoinHandle, JoinSet},
};

const CLIENTS: usize = 10;

/// Uploads that each client has under way at any moment.
const EACH: usize = 5;

/// Sizes of the files, bytes.
const SIZES: [usize; 7] = [1, 5_000, 65_536, 100_000, 262_145, 400_000, 1_000_000];

/// How often each thing was told to a client that listened all the time.
pub(super) type Heard = BTreeMap<(UploadId, String), usize>;

/// The clients at work.
pub(super) struct Load {
    began: Instant,
    book: Arc<Book>,
    stop: Arc<AtomicBool>,
    workers: Vec<JoinHandle<()>>,
    clients: Vec<Customer>,
}

/// A client, its user, and what it hears.
pub(super) struct Customer {
    pub(super) account: Account,
    client: Client,
    heard: Arc<Mutex<Heard>>,
    listening: JoinHandle<()>,
}

/// What became of everything.
pub(super) struct Ended {
    pub(super) verdicts: Vec<Verdict>,
    pub(super) customers: Vec<Customer>,
    /// The longest time in which nothing of a client's uploads moved.
    pub(super) silence: Duration,
    /// How often clients were told to wait, by code.
    pub(super) told_to_wait: BTreeMap<String, usize>,
}

impl Load {
    /// Starts the clients; each has a user of its own.
    pub(super) async fn start(stage: &Stage) -> Self {
        let book = Arc::new(Book::new(CLIENTS, EACH));
        let stop = Arc::new(AtomicBool::new(false));
        let (mut workers, mut clients) = (Vec::new(), Vec::new());
        for number in 0..CLIENTS {
            let customer = Customer::come(stage, number).await;
            for _ in 0..EACH {
                let (client, book, stop) = (customer.client.clone(), book.clone(), stop.clone());
                let (worker, case) = (workers.len(), stage.cases as u64);
                workers.push(tokio::spawn(work(worker, case, client, book, stop)));
            }
            clients.push(customer);
        }
        Self {
            began: Instant::now(),
            book,
            stop,
            workers,
            clients,
        }
    }

    /// Waits until each of the fifty has moved since then; answers when the last one did.
    ///
    /// # Errors
    /// Which ones have not.
    pub(super) async fn until_all_moved_since(
        &self,
        then: Instant,
        patience: Duration,
    ) -> Result<Instant, String> {
        let deadline = Instant::now() + patience;
        loop {
            match self.book.all_moved_since(then) {
                Ok(last) => return Ok(last),
                Err(stuck) if Instant::now() > deadline => return Err(stuck),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Begins no more uploads and waits until those under way have ended.
    pub(super) async fn finish(self, patience: Duration) -> Ended {
        let silence = self.book.longest_silence(self.began, Instant::now());
        self.stop.store(true, Ordering::Relaxed);
        let deadline = tokio::time::Instant::now() + patience;
        for mut worker in self.workers {
            if tokio::time::timeout_at(deadline, &mut worker)
                .await
                .is_err()
            {
                // What it had under way is in the book, without an end.
                worker.abort();
            }
        }
        Ended {
            verdicts: self.book.verdicts(),
            customers: self.clients,
            silence,
            told_to_wait: self.book.told_to_wait(),
        }
    }
}

impl Customer {
    async fn come(stage: &Stage, number: usize) -> Self {
        let direct = format!("http://{}", stage.side_door.address());
        let name = format!("case{}-{number}", stage.cases);
        let account = Account::signup(&direct, &name).await;
        let url = format!("http://{}", stage.door.address());
        let (client, events) = Client::builder(url.parse().expect("an address"))
            .tokens(FixedToken::new(account.token()))
            .parallel(EACH as u32)
            .connect_with_events()
            .await
            .expect("a client can connect while nothing is wrong");
        let heard = Arc::new(Mutex::new(Heard::new()));
        let listening = tokio::spawn(listen(events, heard.clone()));
        Self {
            account,
            client,
            heard,
            listening,
        }
    }

    /// Waits for what is still on its way to be heard, and leaves; answers what was heard.
    pub(super) async fn leave(self, complete: impl Fn(&Heard) -> bool) -> Heard {
        let heard = || {
            let heard = self.heard.lock();
            heard.unwrap_or_else(PoisonError::into_inner).clone()
        };
        let waited = until("the last notification", async || {
            complete(&heard()).then_some(())
        });
        // Whether all of it came is judged by who asked.
        let _ = tokio::time::timeout(Duration::from_secs(20), waited).await;
        self.client.close().await;
        self.listening.abort();
        heard()
    }
}

async fn listen(mut events: Events, heard: Arc<Mutex<Heard>>) {
    while let Some(event) = events.next().await {
        let Event::Notification(notification) = event else {
            continue;
        };
        let upload = notification.data["upload_id"].as_str();
        if let Some(upload) = upload.and_then(|upload| upload.parse().ok()) {
            let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
            *heard.entry((upload, notification.event)).or_default() += 1;
        }
    }
}

/// Uploads file after file until told to stop, and sees each through to its end.
async fn work(worker: usize, case: u64, client: Client, book: Arc<Book>, stop: Arc<AtomicBool>) {
    let mut storing = JoinSet::new();
    let mut turn = worker;
    while !stop.load(Ordering::Relaxed) {
        let number = book.next_number();
        let data = content::bytes(case << 32 | number, SIZES[turn % SIZES.len()]);
        turn += 1;
        let entry = book.open(worker, number, &data);
        let source = Source::bytes(data);
        let meta = source.meta(format!("{number}.dat"));
        let mut handle = match client.upload(Upload::new(source, meta)).await {
            Ok(handle) => handle,
            Err(error) => return book.fail(entry, &error.to_string()),
        };
        tokio::select! {
            () = follow(handle.progress(), entry, &book) => {}
            _ = handle.cached() => {}
        }
        let book = book.clone();
        storing.spawn(async move { follow(handle.progress(), entry, &book).await });
    }
    while storing.join_next().await.is_some() {}
}

/// Writes down what an upload does until it ends.
async fn follow(mut progress: watch::Receiver<Progress>, entry: usize, book: &Book) {
    loop {
        let now = progress.borrow_and_update().clone();
        book.note(entry, &now);
        if now.state.is_final() {
            return;
        }
        if progress.changed().await.is_err() {
            return book.fail(entry, "the client is gone");
        }
    }
}
