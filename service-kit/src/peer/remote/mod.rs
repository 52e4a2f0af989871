//! Calls to the replicas of a service in other processes: which replica, how long, and whether once more.

mod address;
mod breaker;
mod budget;
mod endpoint;
mod failure;
mod message;
mod replicas;
mod tracked;

use std::{
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ::metrics::counter;
use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{Request, StatusCode};
use rand::RngExt;
use tokio::{
    pin, select,
    time::{Instant, sleep, sleep_until, timeout_at},
};
use tokio_util::task::AbortOnDropHandle;

use self::{
    address::{Place, Places},
    breaker::Weight,
    budget::Budget,
    endpoint::Endpoint,
    failure::{Failure, Kind},
    message::{Message, NotKept},
    replicas::{Replicas, choose, has_other},
    tracked::Tracked,
};
use super::{CallOptions, InvalidPeerAddress, PeerConfig};
use crate::internal::{Keys, REFUSED, Refused};

/// The longest pause before the first repetition; doubled for each further one. The pause is a random part of it.
const PAUSE: Duration = Duration::from_millis(25);

/// The replicas of a service in other processes.
pub(super) struct Remote {
    calls: Arc<Calls>,
    _keeper: AbortOnDropHandle<()>,
}

/// What is known of the service, shared by its calls.
struct Calls {
    peer: Arc<str>,
    keys: Arc<Keys>,
    config: Arc<PeerConfig>,
    replicas: Replicas,
    budget: Mutex<Budget>,
    addresses: Vec<String>,
}

/// Why a call has no answer.
pub(super) enum NoAnswer {
    /// No replica gave one.
    Unavailable(String),
    /// It cannot be sent at all.
    Unsendable(String),
}

/// One call, through all its attempts.
struct Course<'a> {
    calls: &'a Calls,
    message: Message,
    options: &'a CallOptions,
    deadline: Instant,
    attempts: u32,
    tried: Vec<SocketAddr>,
    /// A replica has answered that it is in trouble.
    has_answer: bool,
}

impl Remote {
    /// Must be called within a runtime: replicas are looked after in the background as long as this is alive.
    pub(super) fn new(
        peer: Arc<str>,
        addresses: &[String],
        keys: Arc<Keys>,
        config: &PeerConfig,
    ) -> Result<Self, InvalidPeerAddress> {
        let places = addresses
            .iter()
            .map(|address| Place::parse(address.trim()))
            .collect::<Result<Vec<_>, _>>()?;
        if places.is_empty() {
            return Err(InvalidPeerAddress(String::new()));
        }
        let config = Arc::new(config.clone());
        let calls = Arc::new(Calls {
            replicas: Replicas::new(peer.clone(), Places::new(places), config.clone()),
            budget: Mutex::new(Budget::new(&config, Instant::now())),
            addresses: addresses.to_vec(),
            peer,
            keys,
            config,
        });
        let kept = calls.clone();
        let keeper = tokio::spawn(async move { kept.replicas.keep().await });
        Ok(Self {
            calls,
            _keeper: AbortOnDropHandle::new(keeper),
        })
    }

    pub(super) async fn call(
        &self,
        request: Request<Body>,
        options: &CallOptions,
    ) -> Result<Response, NoAnswer> {
        let deadline = Instant::now() + options.deadline;
        let message = match timeout_at(deadline, Message::collect(request)).await {
            Ok(Ok(message)) => message,
            Ok(Err(NotKept::TooLarge)) => {
                return Err(NoAnswer::Unsendable("its body is too large".to_owned()));
            }
            Ok(Err(NotKept::BrokenOff(reason))) => return Err(NoAnswer::Unavailable(reason)),
            Err(_) => {
                return Err(NoAnswer::Unavailable(
                    "its body did not come in time".to_owned(),
                ));
            }
        };
        self.calls.budget().earn();
        let course = Course {
            calls: &self.calls,
            message,
            options,
            deadline,
            attempts: 0,
            tried: Vec::new(),
            has_answer: false,
        };
        course.run().await
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.calls.addresses.join(","))
    }
}

impl Calls {
    fn budget(&self) -> std::sync::MutexGuard<'_, Budget> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends the call to one replica.
    async fn attempt(
        &self,
        endpoint: &Arc<Endpoint>,
        message: &Message,
        limit: Instant,
    ) -> Result<Response, Failure> {
        let call = endpoint.enter();
        let instance = timeout_at(limit, endpoint.instance())
            .await
            .unwrap_or_else(|_| Err(Failure::unsent("it did not tell its instance in time")))?;
        let request = message.signed(&self.keys, (&self.peer, &instance));
        let response = self.wait(endpoint, endpoint.send(request), limit).await?;
        if let Some(cause) = response.headers().get(REFUSED) {
            let is_other = cause == Refused::Misaddressed.cause();
            let kind = if is_other {
                Kind::Misaddressed
            } else {
                Kind::Refused
            };
            let cause = cause.as_bytes().escape_ascii();
            return Err(Failure::new(kind, format!("the call was refused: {cause}")));
        }
        match response.status() {
            // What is between here and the replica says that it does not answer.
            status @ (StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT) => {
                endpoint.failed(Weight::One, status.as_str());
            }
            _ => endpoint.answered(),
        }
        let tracked = |body| Body::new(Tracked::new(body, endpoint.clone(), call));
        Ok(response.map(tracked).into_response())
    }

    /// Waits for the reply, and meanwhile asks now and then whether the replica lives at all.
    async fn wait<R>(
        &self,
        endpoint: &Endpoint,
        reply: impl Future<Output = Result<R, Failure>>,
        limit: Instant,
    ) -> Result<R, Failure> {
        pin!(reply);
        let mut lives = false;
        loop {
            let patient_until = Instant::now() + self.config.patience.duration();
            select! {
                reply = &mut reply => return reply,
                () = sleep_until(patient_until.min(limit)) => {}
            }
            if patient_until < limit {
                select! {
                    reply = &mut reply => return reply,
                    asked = timeout_at(limit, endpoint.ask()) => match asked {
                        Ok(Ok(_)) => lives = true,
                        Ok(Err(failure)) => return Err(Failure::new(Kind::Frozen, failure.reason)),
                        Err(_) => {}
                    },
                }
            }
            if Instant::now() >= limit {
                return Err(Failure::new(
                    Kind::Silent { lives },
                    "it did not answer in time",
                ));
            }
        }
    }
}

impl Course<'_> {
    async fn run(mut self) -> Result<Response, NoAnswer> {
        // Of a replica in trouble: better than none.
        let mut answer = None;
        loop {
            let replicas = timeout_at(self.deadline, self.calls.replicas.all()).await;
            let replicas = replicas.unwrap_or_default();
            let Some(endpoint) = choose(&replicas, &self.tried) else {
                return self.give_up(answer, "no address is known");
            };
            let limit = self.limit();
            self.attempts += 1;
            if !self.tried.contains(&endpoint.address()) {
                self.tried.push(endpoint.address());
            }
            let failure = match self.calls.attempt(endpoint, &self.message, limit).await {
                Ok(response) => {
                    if !(is_in_trouble(response.status())
                        && self.may_ask_another(&replicas, response.status()))
                    {
                        return Ok(response);
                    }
                    (answer, self.has_answer) = (Some(response), true);
                    continue;
                }
                Err(failure) => failure,
            };
            self.note(endpoint, &failure);
            if !self.goes_on(endpoint.address(), &failure, replicas.len()) || !self.pause().await {
                return self.give_up(
                    answer,
                    &format!("{}: {}", endpoint.address(), failure.reason),
                );
            }
        }
    }

    /// Until when the next attempt may take. One that may be repeated leaves time for that.
    fn limit(&self) -> Instant {
        let now = Instant::now();
        let left = self.deadline.saturating_duration_since(now);
        let time = match self.options.attempt_timeout {
            Some(time) => time,
            None if !self.is_repeatable() => left,
            None => {
                let time = self.calls.config.attempt_timeout.duration();
                if time >= left && self.attempts == 0 {
                    left / 2
                } else {
                    time
                }
            }
        };
        now + time.min(left)
    }

    fn is_repeatable(&self) -> bool {
        self.options.repeatable || self.message.is_idempotent()
    }

    /// What a failure says about the replica.
    fn note(&self, endpoint: &Endpoint, failure: &Failure) {
        if failure.kind.changes_instance() {
            endpoint.forget_instance();
        }
        if let Some(weight) = failure.weight() {
            endpoint.failed(weight, &failure.reason);
            self.calls.replicas.doubt();
        }
        if failure.kind == (Kind::Silent { lives: false }) {
            endpoint.suspect();
        }
        let (peer, reason) = (&*self.calls.peer, &*failure.reason);
        match failure.kind {
            // Each of our processes signs in the same way, so this is not the replica's fault alone.
            Kind::Refused => {
                tracing::error!(peer, endpoint = %endpoint.address(), reason, "a replica refuses our calls");
            }
            _ => tracing::debug!(peer, endpoint = %endpoint.address(), reason, "an attempt failed"),
        }
    }

    /// Whether the call is made again after this failure.
    fn goes_on(&mut self, endpoint: SocketAddr, failure: &Failure, replicas: usize) -> bool {
        let most = if failure.kind.is_free() {
            self.calls
                .config
                .attempts
                .max(u32::try_from(replicas).unwrap_or(u32::MAX))
        } else {
            self.calls.config.attempts
        };
        let is_allowed = failure.kind.had_no_effect() || self.is_repeatable();
        if self.attempts >= most || !is_allowed {
            return false;
        }
        if failure.kind == Kind::Misaddressed {
            // The same address, where another instance is now.
            self.tried.retain(|address| *address != endpoint);
        }
        self.spend(failure.kind.is_free(), failure.kind.name())
    }

    /// Whether another replica is asked after one has answered that it is in trouble. Only one: what a service needs is
    /// usually away for all of its replicas, and asking them all would make it worse.
    fn may_ask_another(&mut self, replicas: &[Arc<Endpoint>], status: StatusCode) -> bool {
        !self.has_answer
            && self.is_repeatable()
            && self.attempts < self.calls.config.attempts
            && has_other(replicas, &self.tried)
            && Instant::now() < self.deadline
            && self.spend(false, status.as_str())
    }

    /// Takes a repetition out of the budget, unless it costs nothing.
    fn spend(&self, is_free: bool, reason: &str) -> bool {
        let is_there = is_free || self.calls.budget().spend(Instant::now());
        let name = match is_there {
            true => "peer_retries_total",
            false => "peer_retries_denied_total",
        };
        let labels = [
            ("peer", self.calls.peer.to_string()),
            ("reason", reason.to_owned()),
        ];
        counter!(name, &labels).increment(1);
        is_there
    }

    /// Waits before the next attempt; false if there is no time for it.
    async fn pause(&self) -> bool {
        let doubled = 1_u32.checked_shl(self.attempts - 1).unwrap_or(u32::MAX);
        let pause = PAUSE.saturating_mul(doubled);
        let pause = rand::rng().random_range(Duration::ZERO..=pause);
        if Instant::now() + pause >= self.deadline {
            return false;
        }
        sleep(pause).await;
        true
    }

    fn give_up(&self, answer: Option<Response>, reason: &str) -> Result<Response, NoAnswer> {
        let attempts = self.attempts;
        answer.ok_or_else(|| NoAnswer::Unavailable(format!("{reason} (attempts: {attempts})")))
    }
}

/// Whether another replica might be better off.
fn is_in_trouble(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
    )
}
