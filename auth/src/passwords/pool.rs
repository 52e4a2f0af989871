//! A bound on expensive work: so much at a time, so much waiting, the rest refused.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{sync::Semaphore, task, time::Instant};

/// How long nobody uses a workspace before it is let go of.
const REST: Duration = Duration::from_secs(2);

/// Runs work on blocking threads, a bounded number at a time. Each piece is lent a workspace that an earlier one may
/// have used, so that there are never more workspaces than pieces that run at a time.
pub(crate) struct WorkPool<S> {
    /// One permit for each piece that runs.
    running: Arc<Semaphore>,
    /// One permit for each piece that runs or waits.
    admitted: Semaphore,
    /// Workspaces that nobody uses now, and since when; the one used last comes last.
    idle: Arc<Mutex<Vec<(S, Instant)>>>,
}

/// Why work was not done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PoolError {
    /// As much waits as may.
    Full,
    /// It panicked, or the runtime is going away.
    Died(String),
}

impl<S: Default + Send + 'static> WorkPool<S> {
    pub(crate) fn new(parallel: usize, max_waiting: usize) -> Self {
        let parallel = parallel.clamp(1, Semaphore::MAX_PERMITS / 2);
        Self {
            running: Arc::new(Semaphore::new(parallel)),
            admitted: Semaphore::new(parallel + max_waiting.min(Semaphore::MAX_PERMITS / 2)),
            idle: Arc::default(),
        }
    }

    /// Does the work when its turn comes, in order of asking.
    pub(crate) async fn run<T, F>(&self, work: F) -> Result<T, PoolError>
    where
        T: Send + 'static,
        F: FnOnce(&mut S) -> T + Send + 'static,
    {
        let _admitted = self.admitted.try_acquire().map_err(|_| PoolError::Full)?;
        let died = |error: &dyn ToString| PoolError::Died(error.to_string());
        let permit = Arc::clone(&self.running)
            .acquire_owned()
            .await
            .map_err(|error| died(&error))?;
        let idle = Arc::clone(&self.idle);
        // The permit moves along: work goes on when whoever asked for it has left, and its memory still counts.
        let done = task::spawn_blocking(move || {
            let _running = permit;
            let known = lock(&idle).pop();
            let mut workspace = known.map(|(workspace, _)| workspace).unwrap_or_default();
            let result = work(&mut workspace);
            lock(&idle).push((workspace, Instant::now()));
            result
        });
        done.await.map_err(|error| died(&error))
    }

    /// Lets go of workspaces that nobody has used for a while, again and again.
    pub(crate) async fn keep_small(&self) {
        loop {
            tokio::time::sleep(REST / 2).await;
            self.let_go(REST);
        }
    }

    /// Lets go of workspaces that nobody has used for so long.
    fn let_go(&self, rest: Duration) {
        let is_resting = |(_, since): &mut (S, Instant)| since.elapsed() >= rest;
        let resting: Vec<_> = lock(&self.idle).extract_if(.., is_resting).collect();
        // Not under the lock: the system takes its time.
        drop(resting);
    }
}

fn lock<T>(idle: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::future::join_all;
    use std::{
        sync::{
            atomic::{AtomicUsize, Ordering},
            mpsc,
        },
        thread,
    };
    use tokio::{sync::oneshot, time::timeout};

    type Pool = WorkPool<u32>;

    #[tokio::test(flavor = "multi_thread")]
    async fn no_more_than_the_bound_runs_at_once() {
        const BOUND: usize = 3;
        let pool = Pool::new(BOUND, 100);
        let now = Arc::new(AtomicUsize::new(0));
        let most = Arc::new(AtomicUsize::new(0));
        let work = join_all((0..100).map(|_| {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            pool.run(move |uses| {
                *uses += 1;
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                // Gives others every opportunity to break the bound.
                for _ in 0..100 {
                    thread::yield_now();
                }
                now.fetch_sub(1, Ordering::SeqCst);
            })
        }));
        assert!(work.await.iter().all(Result::is_ok));
        assert!(
            (1..=BOUND).contains(&most.load(Ordering::SeqCst)),
            "{most:?} ran at once"
        );
        let uses: Vec<u32> = lock(&pool.idle).iter().map(|(uses, _)| *uses).collect();
        assert!(uses.len() <= BOUND, "{} workspaces", uses.len());
        assert_eq!(uses.iter().sum::<u32>(), 100, "workspaces are used again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_workspace_that_nobody_uses_is_let_go_of() {
        let pool = Pool::new(1, 1);
        assert_eq!(pool.run(|uses| *uses += 1).await, Ok(()));
        assert!(timeout(REST / 4, pool.keep_small()).await.is_err());
        assert_eq!(pool.run(|uses| *uses).await, Ok(1), "it is still there");
        assert!(timeout(REST * 2, pool.keep_small()).await.is_err());
        assert_eq!(pool.run(|uses| *uses).await, Ok(0));
    }

    #[tokio::test]
    async fn what_does_not_fit_is_refused_at_once() {
        let pool = Arc::new(Pool::new(1, 1));
        let (release, wait) = mpsc::channel::<()>();
        let (started, has_started) = oneshot::channel();
        let running = tokio::spawn({
            let pool = Arc::clone(&pool);
            async move {
                pool.run(move |_| {
                    started.send(()).unwrap();
                    wait.recv().unwrap();
                })
                .await
            }
        });
        has_started.await.unwrap();

        let mut waiting = Box::pin(pool.run(|_| ()));
        assert!(futures::poll!(&mut waiting).is_pending());
        assert_eq!(pool.run(|_| ()).await, Err(PoolError::Full));

        release.send(()).unwrap();
        assert_eq!(running.await.unwrap(), Ok(()));
        assert_eq!(waiting.await, Ok(()));
        assert_eq!(pool.run(|_| 7).await, Ok(7), "places are given back");
    }

    #[tokio::test]
    async fn work_that_nobody_waits_for_still_counts_as_running() {
        let pool = Pool::new(1, 1);
        let (release, wait) = mpsc::channel::<()>();
        let mut left = Box::pin(pool.run(move |_| wait.recv().unwrap()));
        assert!(futures::poll!(&mut left).is_pending());
        drop(left);

        let mut next = Box::pin(pool.run(|_| ()));
        assert!(futures::poll!(&mut next).is_pending());
        assert_eq!(pool.running.available_permits(), 0);
        release.send(()).unwrap();
        assert_eq!(next.await, Ok(()));
    }

    #[tokio::test]
    async fn a_panic_gives_its_place_back() {
        let pool = Pool::new(1, 0);
        assert!(matches!(
            pool.run(|_| panic!("on purpose")).await,
            Err(PoolError::Died(_))
        ));
        assert_eq!(pool.run(|_| 1).await, Ok(1));
    }
}
