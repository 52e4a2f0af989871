//! Replicas of a small service, ways for them to fail, and what they leave in metrics and logs.

use std::{
    io::Write,
    net::SocketAddr,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Bytes,
    routing::{MethodRouter, any},
};
use service_kit::{
    config::{Millis, Secret},
    internal::{InstanceId, Keys, Listener},
    lifecycle::{HttpLimits, Shutdown, serve},
    metrics::{BuildInfo, Metrics},
    peer::{Peer, PeerConfig},
};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// How long a test waits for what must happen; one that passes never waits it out.
const PATIENCE: Duration = Duration::from_secs(30);

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Keys of these names, each with its own secret.
pub(crate) fn keys(names: &[&str]) -> Arc<Keys> {
    let keys: Vec<_> = names
        .iter()
        .map(|name| format!("{name}:{SECRET}{name}"))
        .collect();
    Arc::new(Keys::parse(&Secret::from(keys.join(","))).unwrap())
}

/// A name for the service of one test, so that its metrics and logs are told from those of others.
pub(crate) fn unique(name: &str) -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    format!("{name}-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// Short times, but not so short that a busy machine looks like a frozen one.
pub(crate) fn config() -> PeerConfig {
    PeerConfig {
        patience: Millis(300),
        probe_timeout: Millis(300),
        breaker_open_min: Millis(200),
        breaker_open_max: Millis(400),
        ..PeerConfig::default()
    }
}

/// A caller of the service at these addresses.
pub(crate) fn peer(service: &str, addresses: &[SocketAddr], config: &PeerConfig) -> Peer {
    let addresses: Vec<_> = addresses.iter().map(|at| format!("http://{at}")).collect();
    Peer::remote(service, &addresses, keys(&["a"]), config).unwrap()
}

/// Answers every call with its body.
pub(crate) fn echo() -> Router {
    answering(any(async |body: Bytes| body))
}

/// Answers every call in the same way.
pub(crate) fn answering(answer: MethodRouter) -> Router {
    Router::new().fallback_service(answer)
}

/// A replica that counts the calls that it gets.
pub(crate) struct Replica {
    pub(crate) address: SocketAddr,
    pub(crate) instance: InstanceId,
    pub(crate) calls: Arc<AtomicU64>,
    shutdown: Shutdown,
    serving: JoinHandle<()>,
}

impl Replica {
    /// Starts one that answers every call with its body.
    pub(crate) async fn echo(service: &str) -> Self {
        Self::start(service, free(), keys(&["a"]), echo()).await
    }

    pub(crate) async fn start(
        service: &str,
        at: SocketAddr,
        keys: Arc<Keys>,
        router: Router,
    ) -> Self {
        let listener = TcpListener::bind(at).await.unwrap();
        let (calls, instance) = (Arc::new(AtomicU64::new(0)), InstanceId::random());
        let counter = calls.clone();
        let counted = Router::new().route(
            "/{*path}",
            any(move |request: axum::extract::Request| {
                counter.fetch_add(1, Ordering::SeqCst);
                let router = router.clone();
                async move { tower::ServiceExt::oneshot(router, request).await }
            }),
        );
        let router = Listener::new(keys, instance.clone())
            .service(service, counted)
            .public(metrics().router())
            .into_router();
        let shutdown = Shutdown::new();
        let address = listener.local_addr().unwrap();
        let serving = serve(listener, router, HttpLimits::default(), shutdown.clone());
        Self {
            address,
            instance,
            calls,
            shutdown,
            serving: tokio::spawn(
                async move { serving.await.unwrap_or_else(|never| match never {}) },
            ),
        }
    }

    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// Stops as a process does that is told to: what is in flight is finished.
    pub(crate) async fn stop(self) {
        self.shutdown.drain();
        self.serving.await.unwrap();
        self.shutdown.tracker().close();
        self.shutdown.tracker().wait().await;
    }

    /// Stops as a process does that is killed: every connection breaks.
    pub(crate) async fn kill(self) {
        self.shutdown.abort().cancel();
        self.stop().await;
    }
}

/// A port of this machine that nobody listens at.
pub(crate) fn free() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// A process that is frozen: the system accepts connections for it, and nobody ever answers. It is so until dropped.
pub(crate) fn frozen(at: SocketAddr) -> std::net::TcpListener {
    std::net::TcpListener::bind(at).unwrap()
}

/// A proxy to `target` that breaks each connection off as soon as a request has come whose first line has this in it. Answers
/// where it is, and how many it broke.
pub(crate) async fn breaking(
    target: SocketAddr,
    word: &'static str,
) -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, broken) = (listener.local_addr().unwrap(), Arc::new(AtomicU64::new(0)));
    let count = broken.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let count = count.clone();
            tokio::spawn(async move { pass_on(stream, target, word, &count).await });
        }
    });
    (address, broken)
}

async fn pass_on(
    mut caller: TcpStream,
    target: SocketAddr,
    word: &str,
    broken: &AtomicU64,
) -> std::io::Result<()> {
    let mut replica = TcpStream::connect(target).await?;
    let mut part = vec![0; 64 << 10];
    loop {
        tokio::select! {
            // Requests of these tests come in one piece.
            read = caller.read(&mut part) => {
                let read = read?;
                let text = String::from_utf8_lossy(&part[..read]).into_owned();
                if read == 0 || text.lines().next().is_some_and(|line| line.contains(word)) {
                    broken.fetch_add(u64::from(read > 0), Ordering::SeqCst);
                    return Ok(());
                }
                tokio::io::AsyncWriteExt::write_all(&mut replica, &part[..read]).await?;
            }
            ready = replica.readable() => {
                ready?;
                let mut answer = vec![0; 64 << 10];
                match replica.try_read(&mut answer) {
                    Ok(0) => return Ok(()),
                    Ok(read) => tokio::io::AsyncWriteExt::write_all(&mut caller, &answer[..read]).await?,
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
}

/// Asks `condition` again and again until it is so.
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(
            Instant::now() < deadline,
            "waited {PATIENCE:?} in vain for {what}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What this process records; the logs are kept from the first use on.
pub(crate) fn metrics() -> &'static Metrics {
    static METRICS: OnceLock<Metrics> = OnceLock::new();
    METRICS.get_or_init(|| {
        tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(|| Logs)
            .init();
        Metrics::install(BuildInfo {
            name: "test",
            version: "1",
            revision: "1",
        })
        .unwrap()
    })
}

/// The value on the metrics page of this name with these labels; 0 if it is not there.
pub(crate) fn metric(name: &str, labels: &[(&str, &str)]) -> f64 {
    let page = metrics().render();
    let has_all = |line: &str| {
        labels
            .iter()
            .all(|(label, value)| line.contains(&format!("{label}=\"{value}\"")))
    };
    page.lines()
        .filter(|line| line.starts_with(&format!("{name}{{")) && has_all(line))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Logs;

impl Write for Logs {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Whether a line of the log has all of these words.
pub(crate) fn is_logged(words: &[&str]) -> bool {
    let log = LOG.lock().unwrap();
    String::from_utf8_lossy(&log)
        .lines()
        .any(|line| words.iter().all(|word| line.contains(word)))
}
