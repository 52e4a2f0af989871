//! Is the process alive, and may it be given work: `/healthz` and `/readyz`.

use std::{
    collections::BTreeMap,
    fmt::{self, Display},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{Router, extract::State, routing::get};
use futures::{
    FutureExt,
    future::{BoxFuture, join_all},
};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::{
    lifecycle::Shutdown,
    problem::{Json, Problem},
};

/// How long one probe may take.
const PROBE_DEADLINE: Duration = Duration::from_secs(2);

/// What a client that finds this instance not ready is told to wait.
const RETRY_AFTER: Duration = Duration::from_secs(1);

type Probe = Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// The checks that decide whether this process is ready. Clones share them.
#[derive(Clone)]
pub struct Health {
    checks: Arc<Mutex<BTreeMap<String, Condition>>>,
    draining: CancellationToken,
}

#[derive(Clone)]
enum Condition {
    Ready,
    Failed(String),
    Probed(Probe),
}

/// The handle by which a part of the process says how it is.
#[derive(Debug, Clone)]
pub struct Check {
    name: String,
    health: Health,
}

/// What is asked for is well.
#[derive(Debug, Serialize)]
pub struct Status {
    status: &'static str,
}

impl Health {
    /// A process without checks is ready until `shutdown` begins.
    pub fn new(shutdown: &Shutdown) -> Self {
        Self {
            checks: Arc::default(),
            draining: shutdown.draining().clone(),
        }
    }

    /// Adds a check that is not ready until its handle says so.
    pub fn register(&self, name: impl Into<String>) -> Check {
        let check = Check {
            name: name.into(),
            health: self.clone(),
        };
        check.set_failed("is starting");
        check
    }

    /// Adds a check that is made each time somebody asks; it fails when it takes longer than two seconds.
    pub fn register_probe<P, F, E>(&self, name: impl Into<String>, probe: P)
    where
        P: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Display,
    {
        let probe: Probe = Arc::new(move || {
            probe()
                .map(|result| result.map_err(|error| error.to_string()))
                .boxed()
        });
        self.lock().insert(name.into(), Condition::Probed(probe));
    }

    /// What is not ready, and why; empty if this process may be given work.
    pub async fn failures(&self) -> BTreeMap<String, String> {
        if self.draining.is_cancelled() {
            return BTreeMap::from([("shutdown".to_owned(), "is stopping".to_owned())]);
        }
        let checks = self.lock().clone();
        let reasons = checks
            .into_iter()
            .map(|(name, state)| async { Some((name, state.failure().await?)) });
        join_all(reasons).await.into_iter().flatten().collect()
    }

    /// The routes `/healthz` (the process runs) and `/readyz` (503 names what is not ready).
    pub fn router(&self) -> Router {
        Router::new()
            .route("/healthz", get(async || Json(Status { status: "alive" })))
            .route("/readyz", get(ready))
            .with_state(self.clone())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Condition>> {
        self.checks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn ready(State(health): State<Health>) -> Result<Json<Status>, Problem> {
    let failures = health.failures().await;
    if failures.is_empty() {
        return Ok(Json(Status { status: "ready" }));
    }
    let detail = failures
        .iter()
        .map(|(name, reason)| format!("{name} {reason}"))
        .collect::<Vec<_>>()
        .join("; ");
    let checks: serde_json::Map<_, _> = failures
        .into_iter()
        .map(|(name, reason)| (name, reason.into()))
        .collect();
    Err(Problem::unavailable(RETRY_AFTER)
        .with_detail(detail)
        .with("checks", checks))
}

impl Check {
    /// From now on this part is ready.
    pub fn set_ready(&self) {
        self.set(Condition::Ready);
    }

    /// From now on this part is not ready. The reason completes a sentence that begins with the name.
    pub fn set_failed(&self, reason: impl Into<String>) {
        self.set(Condition::Failed(reason.into()));
    }

    fn set(&self, state: Condition) {
        self.health.lock().insert(self.name.clone(), state);
    }
}

impl Condition {
    /// Why this check fails, if it does.
    async fn failure(self) -> Option<String> {
        match self {
            Self::Ready => None,
            Self::Failed(reason) => Some(reason),
            Self::Probed(probe) => match tokio::time::timeout(PROBE_DEADLINE, probe()).await {
                Ok(result) => result.err(),
                Err(_) => Some(format!(
                    "did not answer within {} s",
                    PROBE_DEADLINE.as_secs()
                )),
            },
        }
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.lock().keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use http::{Request, StatusCode};
    use tower::ServiceExt;

    use super::*;

    async fn get_ready(health: &Health) -> (StatusCode, serde_json::Value) {
        let request = Request::get("/readyz").body(Body::empty()).unwrap();
        let response = health.router().oneshot(request).await.unwrap();
        let status = response.status();
        (
            status,
            serde_json::from_slice(&to_bytes(response.into_body(), 4096).await.unwrap()).unwrap(),
        )
    }

    #[tokio::test]
    async fn is_ready_when_every_check_is() {
        let health = Health::new(&Shutdown::new());
        assert_eq!(get_ready(&health).await.0, StatusCode::OK);

        let database = health.register("database");
        let queue = health.register("queue");
        queue.set_ready();
        let (status, problem) = get_ready(&health).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(problem["code"], "unavailable");
        assert_eq!(
            problem["checks"],
            serde_json::json!({"database": "is starting"})
        );

        database.set_ready();
        assert_eq!(get_ready(&health).await.0, StatusCode::OK);
        queue.set_failed("does not answer");
        assert_eq!(
            get_ready(&health).await.1["detail"],
            "queue does not answer"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_is_asked_each_time_and_may_not_hang() {
        let health = Health::new(&Shutdown::new());
        let full = Arc::new(Mutex::new(true));
        let seen = full.clone();
        health.register_probe("disk", move || {
            let full = *seen.lock().unwrap();
            async move { if full { Err("is full") } else { Ok(()) } }
        });
        assert_eq!(
            health.failures().await,
            BTreeMap::from([("disk".to_owned(), "is full".to_owned())])
        );
        *full.lock().unwrap() = false;
        assert!(health.failures().await.is_empty());

        health.register_probe("network", std::future::pending::<Result<(), String>>);
        assert_eq!(
            health.failures().await["network"],
            "did not answer within 2 s"
        );
    }

    #[tokio::test]
    async fn is_not_ready_but_alive_while_it_stops() {
        let shutdown = Shutdown::new();
        let health = Health::new(&shutdown);
        shutdown.drain();
        let (status, problem) = get_ready(&health).await;
        assert_eq!(
            (status, &problem["detail"]),
            (
                StatusCode::SERVICE_UNAVAILABLE,
                &"shutdown is stopping".into()
            )
        );

        let alive = Request::get("/healthz").body(Body::empty()).unwrap();
        assert_eq!(
            health.router().oneshot(alive).await.unwrap().status(),
            StatusCode::OK
        );
    }
}
