//! Reports on attempts on their way to the uploader. Those that wait while others are under way share a call, and there a commit.

use super::known;
use protocol::{
    TransferStatus,
    upload::{MAX_REPORTS, StatusUpdated, StatusesUpdated, UpdateStatus, UpdateStatuses},
};
use service_kit::peer::{Peer, PeerError};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::{Semaphore, oneshot};

/// Calls under way at once.
const CALLS: usize = 2;

/// Reports that wait, and who may send them.
pub(super) struct Reports {
    waiting: Mutex<Vec<Waiting>>,
    calls: Semaphore,
}

struct Waiting {
    report: UpdateStatus,
    answer: oneshot::Sender<Answer>,
}

/// The status of an upload after a report, if the uploader knows it.
type Answer = Result<Option<TransferStatus>, PeerError>;

impl Default for Reports {
    fn default() -> Self {
        Self {
            waiting: Mutex::default(),
            calls: Semaphore::new(CALLS),
        }
    }
}

impl Reports {
    /// Sends a report, with others if there are any.
    pub(super) async fn send(&self, peer: &Peer, report: &UpdateStatus) -> Answer {
        let (answer, mut answered) = oneshot::channel();
        self.waiting().push(Waiting {
            report: report.clone(),
            answer,
        });
        let answered = tokio::select! {
            biased;
            answered = &mut answered => answered,
            _turn = self.calls.acquire() => {
                self.send_those_that_wait(peer).await;
                answered.await
            }
        };
        match answered {
            Ok(answer) => answer,
            // The call failed that it shared with others, for a reason that may be another's.
            Err(_) => alone(peer, report).await,
        }
    }

    async fn send_those_that_wait(&self, peer: &Peer) {
        let mut together = self.take();
        // Who has given up needs no answer.
        together.retain(|waiting| !waiting.answer.is_closed());
        if together.len() > 1 {
            return share(peer, together).await;
        }
        for Waiting { report, answer } in together {
            let _ = answer.send(alone(peer, &report).await);
        }
    }

    fn take(&self) -> Vec<Waiting> {
        let mut waiting = self.waiting();
        let count = waiting.len().min(MAX_REPORTS);
        waiting.drain(..count).collect()
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends reports in one call, and gives each its answer if there is one.
async fn share(peer: &Peer, together: Vec<Waiting>) {
    let reports = together.iter().map(|waiting| waiting.report.clone());
    let reports = UpdateStatuses {
        reports: reports.collect(),
    };
    let updated = peer.put_json::<_, StatusesUpdated>("/file/update/statuses", &reports);
    match updated.await {
        Ok(updated) => {
            for (waiting, status) in together.into_iter().zip(updated.statuses) {
                let _ = waiting.answer.send(Ok(status));
            }
        }
        Err(error) => {
            tracing::debug!(%error, reports = together.len(), "reports are sent one by one");
        }
    }
}

async fn alone(peer: &Peer, report: &UpdateStatus) -> Answer {
    let updated = known(
        peer.put_json::<_, StatusUpdated>("/file/update/status", report)
            .await,
    )?;
    Ok(updated.map(|updated| updated.upload.status))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{Json, Router, extract::State, routing::put};
    use futures::future::join_all;
    use jiff::Timestamp;
    use protocol::{UploadId, upload::AttemptOutcome};
    use service_kit::problem::Problem;
    use std::sync::Arc;

    /// Calls by how many reports they had; each waits for a permit.
    #[derive(Clone)]
    struct Calls(Arc<(Mutex<Vec<usize>>, Semaphore)>);

    impl Calls {
        fn new(permits: usize) -> Self {
            Self(Arc::new((Mutex::default(), Semaphore::new(permits))))
        }

        fn sizes(&self) -> Vec<usize> {
            self.0.0.lock().unwrap().clone()
        }

        async fn called(&self, reports: usize) {
            self.0.0.lock().unwrap().push(reports);
            self.0.1.acquire().await.unwrap().forget();
        }
    }

    async fn one(State(calls): State<Calls>, Json(_): Json<UpdateStatus>) -> Problem {
        calls.called(1).await;
        Problem::not_found()
    }

    async fn several(
        State(calls): State<Calls>,
        Json(reports): Json<UpdateStatuses>,
    ) -> Json<StatusesUpdated> {
        calls.called(reports.reports.len()).await;
        let status = |report: &UpdateStatus| {
            let is_even = report.attempt.is_multiple_of(2);
            is_even.then_some(TransferStatus::UploadedSuccessfully)
        };
        let statuses = reports.reports.iter().map(status).collect();
        Json(StatusesUpdated { statuses })
    }

    fn report(attempt: u32) -> UpdateStatus {
        UpdateStatus {
            upload_id: UploadId::new(),
            attempt,
            outcome: AttemptOutcome::UploadedSuccessfully {
                stored_at: Timestamp::UNIX_EPOCH,
            },
        }
    }

    async fn send_ten(peer: &Peer, calls: &Calls) -> Vec<Answer> {
        let reports = Reports::default();
        let sent: Vec<_> = (0..10).map(report).collect();
        let sending = join_all(sent.iter().map(|report| reports.send(peer, report)));
        let going_on = async {
            while calls.sizes().len() < CALLS {
                tokio::task::yield_now().await;
            }
            calls.0.1.add_permits(100);
        };
        tokio::join!(sending, going_on).0
    }

    #[tokio::test]
    async fn those_that_wait_share_a_call_and_get_their_own_answers() {
        let calls = Calls::new(0);
        let router = Router::new()
            .route("/file/update/status", put(one))
            .route("/file/update/statuses", put(several))
            .with_state(calls.clone());
        let answers = send_ten(&Peer::local("uploader", router), &calls).await;
        let shared = calls.sizes().iter().any(|size| *size > CALLS);
        assert!(shared, "{:?}", calls.sizes());
        assert_eq!(calls.sizes().iter().sum::<usize>(), 10);
        for (number, answer) in answers.into_iter().enumerate() {
            let status = answer.unwrap();
            // Whoever was alone is not known here.
            let is_even = number % 2 == 0;
            assert!(status.is_none() || is_even, "{number}: {status:?}");
        }
    }

    #[tokio::test]
    async fn each_is_sent_alone_if_they_can_not_be_sent_together() {
        let calls = Calls::new(0);
        let router = Router::new()
            .route("/file/update/status", put(one))
            .with_state(calls.clone());
        let answers = send_ten(&Peer::local("uploader", router), &calls).await;
        assert!(answers.into_iter().all(|answer| answer.unwrap().is_none()));
        assert_eq!(calls.sizes(), [1; 10]);
    }
}
