//! How far topics have come, as the uploader knows it. All who want to know at one time are asked for together: hundreds of
//! clients that connect at once cost a few calls, and a few reads and commits there.

use crate::refusals;
use protocol::{Refusal, upload::LogHead};
use service_kit::peer::{Peer, PeerError};
use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::oneshot;

/// Logs that one call asks for at most.
pub(super) const AT_ONCE: usize = 100;

/// Calls under way at most, so that one that is answered late does not hold up everybody.
const CALLS: usize = 2;

/// Asks the uploader. Clones share what waits.
#[derive(Clone)]
pub(super) struct Heads {
    uploader: Peer,
    queue: Arc<Mutex<Queue>>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    calls: usize,
}

/// Who wants to know how far a log has come.
struct Waiting {
    log: Arc<str>,
    answer: oneshot::Sender<Result<LogHead, Refusal>>,
}

impl Heads {
    pub(super) fn new(uploader: Peer) -> Self {
        Self {
            uploader,
            queue: Arc::default(),
        }
    }

    /// How far a log has come. It is read after this was called: nothing that was there before is missed.
    pub(super) async fn of(&self, log: &Arc<str>) -> Result<LogHead, Refusal> {
        let (answer, answered) = oneshot::channel();
        let log = log.clone();
        if self.enqueue(Waiting { log, answer }) {
            tokio::spawn(self.clone().ask_for_all());
        }
        let lost = |_| refusals::unavailable("it can't be told how far the topic has come");
        answered.await.map_err(lost)?
    }

    /// Whether there is to be one more call.
    fn enqueue(&self, waiting: Waiting) -> bool {
        let mut queue = self.queue();
        queue.waiting.push_back(waiting);
        let is_wanted = queue.calls < CALLS;
        queue.calls += usize::from(is_wanted);
        is_wanted
    }

    /// Asks until nobody waits any more.
    async fn ask_for_all(self) {
        let mut call = Call {
            queue: self.queue.clone(),
            is_held: true,
        };
        while let Some(waiting) = call.next() {
            let distinct: HashSet<&str> = waiting.iter().map(|one| &*one.log).collect();
            let distinct: Vec<&str> = distinct.into_iter().collect();
            match self.read(&distinct).await {
                Ok(heads) => answer(waiting, heads),
                Err(error) => {
                    let refusal = refusals::from_peer(error);
                    for Waiting { answer, .. } in waiting {
                        // Whoever has left needs no answer.
                        let _ = answer.send(Err(refusal.clone()));
                    }
                }
            }
        }
    }

    /// How far these logs have come; at most [`AT_ONCE`].
    pub(super) async fn read<S: AsRef<str>>(&self, logs: &[S]) -> Result<Vec<LogHead>, PeerError> {
        let names: Vec<(&str, &str)> = logs.iter().map(|log| ("log", log.as_ref())).collect();
        let query = super::encoded(&self.uploader, names)?;
        let path = format!("/notifications/heads?{query}");
        self.uploader.get_json(path).await
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        lock(&self.queue)
    }
}

fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

fn answer(waiting: Vec<Waiting>, heads: Vec<LogHead>) {
    let heads: HashMap<String, LogHead> = heads
        .into_iter()
        .map(|head| (head.log.clone(), head))
        .collect();
    for Waiting { log, answer } in waiting {
        let head = heads.get(&*log).cloned();
        let _ = answer.send(head.ok_or_else(|| refusals::unavailable("the topic has no log")));
    }
}

/// A place among the calls under way.
struct Call {
    queue: Arc<Mutex<Queue>>,
    is_held: bool,
}

impl Call {
    /// Those for whom to ask next. When there are none, the place is given back under the same lock: whoever comes later finds it
    /// free.
    fn next(&mut self) -> Option<Vec<Waiting>> {
        let mut queue = lock(&self.queue);
        let count = queue.waiting.len().min(AT_ONCE);
        if count == 0 {
            queue.calls -= 1;
            self.is_held = false;
            return None;
        }
        Some(queue.waiting.drain(..count).collect())
    }
}

impl Drop for Call {
    /// A call that panics does not keep its place.
    fn drop(&mut self) {
        if self.is_held {
            lock(&self.queue).calls -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{
        Json, Router,
        extract::{Query, State},
        routing::get,
    };
    use futures::future::join_all;
    use service_kit::problem::Problem;
    use tokio::sync::Semaphore;

    /// An uploader that answers when it is let, and remembers what it was asked.
    #[derive(Clone)]
    struct Uploader {
        asked: Arc<Mutex<Vec<Vec<String>>>>,
        leave: Arc<Semaphore>,
    }

    impl Uploader {
        fn new() -> Self {
            Self {
                asked: Arc::default(),
                leave: Arc::new(Semaphore::new(0)),
            }
        }

        fn peer(&self) -> Peer {
            let router = Router::new().route("/notifications/heads", get(heads));
            Peer::local("uploader", router.with_state(self.clone()))
        }

        fn sizes(&self) -> Vec<usize> {
            self.asked.lock().unwrap().iter().map(Vec::len).collect()
        }
    }

    async fn heads(
        State(uploader): State<Uploader>,
        Query(logs): Query<Vec<(String, String)>>,
    ) -> Result<Json<Vec<LogHead>>, Problem> {
        let logs: Vec<String> = logs.into_iter().map(|(_, log)| log).collect();
        uploader.asked.lock().unwrap().push(logs.clone());
        uploader.leave.acquire().await.unwrap().forget();
        if logs.iter().any(|log| log == "bad") {
            return Err(Problem::internal());
        }
        let head = |log: String| LogHead {
            head: log.len() as u64,
            log,
            epoch: "one".to_owned(),
            oldest: 1,
        };
        Ok(Json(logs.into_iter().map(head).collect()))
    }

    fn logs(count: usize) -> Vec<Arc<str>> {
        (0..count)
            .map(|number| "x".repeat(number + 1).into())
            .collect()
    }

    #[tokio::test]
    async fn all_who_wait_are_asked_for_together() {
        let uploader = Uploader::new();
        let heads = Heads::new(uploader.peer());
        let logs = logs(150);
        let asking = join_all(logs.iter().map(|log| heads.of(log)));
        let letting = async {
            while uploader.sizes().len() < CALLS {
                tokio::task::yield_now().await;
            }
            uploader.leave.add_permits(10);
        };
        let (answers, ()) = tokio::join!(asking, letting);
        for (log, answer) in logs.iter().zip(answers) {
            assert_eq!(answer.unwrap().head, log.len() as u64);
        }
        let sizes = uploader.sizes();
        assert!(sizes.len() <= 4, "{sizes:?}");
        assert_eq!(sizes.iter().sum::<usize>(), 150);
        assert_eq!(heads.queue().calls, 0);
    }

    #[tokio::test]
    async fn a_log_that_many_ask_for_is_asked_for_once_in_a_call() {
        let uploader = Uploader::new();
        let heads = Heads::new(uploader.peer());
        uploader.leave.add_permits(10);
        let log: Arc<str> = "user:one".into();
        let answers = join_all((0..50).map(|_| heads.of(&log))).await;
        assert!(answers.into_iter().all(|answer| answer.unwrap().head == 8));
        assert!(uploader.sizes().iter().all(|size| *size == 1));
    }

    #[tokio::test]
    async fn a_call_that_fails_is_the_answer_of_those_in_it_and_of_nobody_later() {
        let uploader = Uploader::new();
        let heads = Heads::new(uploader.peer());
        uploader.leave.add_permits(10);
        assert!(heads.of(&"bad".into()).await.is_err());
        assert_eq!(heads.of(&"good".into()).await.unwrap().head, 4);
    }

    #[tokio::test]
    async fn who_leaves_takes_nobody_along() {
        let uploader = Uploader::new();
        let heads = Heads::new(uploader.peer());
        let (one, other) = ("one".into(), "other".into());
        {
            let leaving = heads.of(&one);
            tokio::pin!(leaving);
            assert!(futures::poll!(&mut leaving).is_pending());
        }
        uploader.leave.add_permits(10);
        assert_eq!(heads.of(&other).await.unwrap().head, 5);
    }
}
