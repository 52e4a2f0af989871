//! One replica: its connections, its breaker, and which instance it is.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use ::metrics::{counter, gauge};
use axum::body::Body;
use http::{
    Request, Response, Uri,
    uri::{Authority, Scheme},
};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, Error as ClientError, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};

use super::{
    breaker::{Breaker, Limits, State, Weight},
    failure::Failure,
};
use crate::{
    internal::{INSTANCE_PATH, Instance},
    peer::{PeerConfig, chain},
};

/// The largest answer to the question which instance it is, in bytes.
const MAX_INSTANCE_BYTES: usize = 64 << 10;

/// After how long a silence of a connection the other machine is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// A good answer to that question that is this young is as good as a new one.
const SHARED_FOR: Duration = Duration::from_millis(250);

type HttpClient = Client<HttpConnector, Body>;

pub(super) struct Endpoint {
    peer: Arc<str>,
    address: SocketAddr,
    authority: Authority,
    config: Arc<PeerConfig>,
    client: Mutex<HttpClient>,
    breaker: Mutex<Breaker>,
    /// Tells who looks after breakers that one of them has moved.
    moved: Arc<Notify>,
    in_flight: AtomicUsize,
    is_suspect: AtomicBool,
    instance: Mutex<Option<Arc<str>>>,
    asked: tokio::sync::Mutex<Option<(Instant, Asked)>>,
}

/// What came of asking which instance it is.
type Asked = Result<Arc<str>, Failure>;

/// A call that an endpoint has not finished.
pub(super) struct InFlight(Arc<Endpoint>);

impl Endpoint {
    pub(super) fn new(
        peer: Arc<str>,
        address: SocketAddr,
        config: Arc<PeerConfig>,
        moved: Arc<Notify>,
    ) -> Result<Self, http::uri::InvalidUri> {
        let endpoint = Self {
            authority: address.to_string().parse()?,
            client: Mutex::new(client(&config)),
            breaker: Mutex::new(Breaker::new(Limits::of(&config))),
            in_flight: AtomicUsize::new(0),
            is_suspect: AtomicBool::new(false),
            instance: Mutex::default(),
            asked: tokio::sync::Mutex::default(),
            peer,
            address,
            config,
            moved,
        };
        endpoint.show(State::Closed);
        Ok(endpoint)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Counts a call in, until the guard is dropped.
    pub(super) fn enter(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self.clone())
    }

    /// Whether it should be given calls.
    pub(super) fn is_usable(&self) -> bool {
        lock(&self.breaker).is_closed()
    }

    /// Sends a request with a bare path, and answers the head of the reply.
    pub(super) async fn send(
        &self,
        mut request: Request<Body>,
    ) -> Result<Response<Incoming>, Failure> {
        let mut uri = std::mem::take(request.uri_mut()).into_parts();
        uri.scheme = Some(Scheme::HTTP);
        uri.authority = Some(self.authority.clone());
        *request.uri_mut() =
            Uri::from_parts(uri).map_err(|error| Failure::unsent(error.to_string()))?;
        let client = lock(&self.client).clone();
        client.request(request).await.map_err(|error| {
            if was_sent(&error) {
                Failure::lost(chain(&error))
            } else {
                Failure::unsent(chain(&error))
            }
        })
    }

    /// Which instance it is, asked for if not known.
    pub(super) async fn instance(&self) -> Asked {
        if let Some(instance) = lock(&self.instance).clone() {
            return Ok(instance);
        }
        self.ask().await
    }

    /// The instance is another now, or may be.
    pub(super) fn forget_instance(&self) {
        *lock(&self.instance) = None;
    }

    /// Asks which instance it is. Several who ask at the same time share the answer.
    pub(super) async fn ask(&self) -> Asked {
        let since = Instant::now();
        let mut asked = self.asked.lock().await;
        if let Some((at, answer)) = &*asked {
            let came_meanwhile = *at >= since;
            let is_young = came_meanwhile || since.duration_since(*at) < SHARED_FOR;
            let is_shared = match answer {
                Ok(_) => is_young && lock(&self.instance).is_some(),
                Err(_) => came_meanwhile,
            };
            if is_shared {
                return answer.clone();
            }
        }
        let answer = timeout(self.config.probe_timeout.duration(), self.ask_now())
            .await
            .unwrap_or_else(|_| {
                let time = self.config.probe_timeout;
                Err(Failure::unsent(format!(
                    "it does not say within {time} that it lives"
                )))
            });
        *lock(&self.instance) = answer.as_ref().ok().cloned();
        *asked = Some((Instant::now(), answer.clone()));
        answer
    }

    async fn ask_now(&self) -> Asked {
        let request = Request::get(INSTANCE_PATH)
            .body(Body::empty())
            .map_err(|error| Failure::unsent(error.to_string()))?;
        // Whatever happens here: of the call itself nothing was sent yet.
        let response = self.send(request).await.map_err(Failure::before_sending)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_INSTANCE_BYTES).collect();
        let body = body
            .await
            .map_err(|error| Failure::unsent(chain(&*error)))?
            .to_bytes();
        let Ok(Instance { instance, services }) = serde_json::from_slice(&body) else {
            return Err(Failure::unsent(format!(
                "it does not say which instance it is, but {status}: is this an internal listener?"
            )));
        };
        if !services.iter().any(|service| **service == *self.peer) {
            let services = services.join(", ");
            return Err(Failure::unsent(format!(
                "it has not this service but: {services}"
            )));
        }
        Ok(instance.into())
    }

    /// A call was answered.
    pub(super) fn answered(&self) {
        self.change(|breaker, now, _| breaker.answered(now), "");
    }

    /// A call failed.
    pub(super) fn failed(&self, weight: Weight, reason: &str) {
        self.change(
            |breaker, now, jitter| breaker.failed(weight, now, jitter),
            reason,
        );
    }

    /// When it is to be looked at, if calls go elsewhere.
    pub(super) fn due(&self) -> Option<Instant> {
        lock(&self.breaker).due()
    }

    /// It was silent, for a time that also one that lives may need: it is looked at.
    pub(super) fn suspect(&self) {
        self.is_suspect.store(true, Ordering::Relaxed);
        self.moved.notify_one();
    }

    /// Looks whether it lives, if it is time or there is doubt.
    pub(super) async fn look(&self) {
        let is_suspect = self.is_suspect.swap(false, Ordering::Relaxed);
        let mut is_due = false;
        self.change(|breaker, now, _| is_due = breaker.begin_probe(now), "");
        if !(is_due || is_suspect) {
            return;
        }
        let answer = self.ask().await;
        let reason = answer.as_ref().err().map_or("", |failure| &failure.reason);
        if is_due {
            self.change(
                |breaker, now, jitter| breaker.probed(answer.is_ok(), now, jitter),
                reason,
            );
        } else if answer.is_err() {
            self.failed(Weight::Enough, reason);
        }
    }

    /// Changes the breaker, and tells of it in log and metrics if it moves.
    fn change(&self, change: impl FnOnce(&mut Breaker, Instant, f64), reason: &str) {
        let (before, after) = {
            let mut breaker = lock(&self.breaker);
            let before = breaker.state();
            change(&mut breaker, Instant::now(), rand::random());
            (before, breaker.state())
        };
        if before == after {
            return;
        }
        self.moved.notify_one();
        if before.name() == after.name() {
            return;
        }
        let (peer, endpoint) = (&*self.peer, self.address);
        match after {
            State::Open(until) => {
                // Connections to one that does not answer are of no use when it does again.
                *lock(&self.client) = client(&self.config);
                self.forget_instance();
                let millis = until.saturating_duration_since(Instant::now()).as_millis();
                tracing::warn!(peer, %endpoint, reason, retry_in_ms = %millis, "a replica is left out");
            }
            State::HalfOpen => {
                tracing::debug!(peer, %endpoint, "a replica that was left out is looked at");
            }
            State::Closed => tracing::info!(peer, %endpoint, "a replica is given calls again"),
        }
        let labels = self.labels();
        let to = ("to", after.name().to_owned());
        counter!(
            "peer_breaker_transitions_total",
            &[labels[0].clone(), labels[1].clone(), to]
        )
        .increment(1);
        self.show(after);
    }

    fn show(&self, state: State) {
        gauge!("peer_breaker_state", &self.labels()).set(state.number());
    }

    fn labels(&self) -> [(&'static str, String); 2] {
        [
            ("peer", self.peer.to_string()),
            ("endpoint", self.address.to_string()),
        ]
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        // A replica that is gone is not one that is left out.
        self.show(State::Closed);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

fn client(config: &PeerConfig) -> HttpClient {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(config.connect_timeout.duration()));
    // Who only receives, a download say, would otherwise never learn that the other machine is gone.
    connector.set_keepalive(Some(KEEPALIVE));
    connector.set_keepalive_interval(Some(KEEPALIVE / 3));
    connector.set_keepalive_retries(Some(3));
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(config.idle_timeout.duration())
        .pool_max_idle_per_host(config.idle_connections)
        .build(connector)
}

/// Whether the other side may have got anything of a request that failed.
fn was_sent(error: &ClientError) -> bool {
    let is_canceled = std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<hyper::Error>())
        .is_some_and(hyper::Error::is_canceled);
    !(error.is_connect() || is_canceled)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
