use std::{
    convert::Infallible,
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::process::{Signal as UnixSignal, getpid, kill_process};

use super::*;

const GRACE: Duration = Duration::from_secs(10);

/// A task as services write them: it runs until shutdown begins.
async fn well_behaved(shutdown: Shutdown) -> Result<(), Infallible> {
    shutdown.draining().cancelled().await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_process_that_is_asked_to_stop_waits_for_its_tasks() {
    let mut life = Lifecycle::new(GRACE);
    let shutdown = life.shutdown();
    life.spawn_critical("a", well_behaved(shutdown.clone()));
    let finished = Arc::new(AtomicBool::new(false));
    let seen = finished.clone();
    shutdown.spawn(async move {
        sleep(GRACE / 2).await;
        seen.store(true, Ordering::Relaxed);
    });
    shutdown.drain();
    life.wait().await.unwrap();
    assert!(
        finished.load(Ordering::Relaxed),
        "work in flight is finished"
    );
    assert!(
        !shutdown.abort().is_cancelled(),
        "nothing had to be cut off"
    );
}

#[tokio::test(start_paused = true)]
async fn a_failing_task_stops_the_others_and_is_named() {
    async fn fails() -> Result<(), io::Error> {
        Err(io::Error::other("the disk is gone"))
    }
    async fn panics() -> Result<(), Infallible> {
        panic!("a bug")
    }
    async fn ends() -> Result<(), Infallible> {
        Ok(())
    }
    type Spawn = fn(&mut Lifecycle);
    let cases: [(Spawn, &str); 3] = [
        (
            |life| life.spawn_critical("relay", fails()),
            "task `relay` failed: the disk is gone",
        ),
        (
            |life| life.spawn_critical("relay", panics()),
            "task `relay` panicked: a bug",
        ),
        (
            |life| life.spawn_critical("relay", ends()),
            "task `relay` ended although it should run until shutdown",
        ),
    ];
    for (spawn, text) in cases {
        let mut life = Lifecycle::new(GRACE);
        let shutdown = life.shutdown();
        life.spawn_critical("other", well_behaved(shutdown.clone()));
        spawn(&mut life);
        assert_eq!(life.wait().await.unwrap_err().to_string(), text);
        assert!(shutdown.draining().is_cancelled());
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_while_stopping_counts() {
    let mut life = Lifecycle::new(GRACE);
    let shutdown = life.shutdown();
    let draining = shutdown.draining().clone();
    life.spawn_critical("writer", async move {
        draining.cancelled().await;
        Err("the last write failed")
    });
    shutdown.drain();
    assert_eq!(
        life.wait().await.unwrap_err().to_string(),
        "task `writer` failed: the last write failed"
    );
}

#[tokio::test(start_paused = true)]
async fn what_does_not_finish_in_time_is_cut_off() {
    let life = Lifecycle::new(GRACE);
    let shutdown = life.shutdown();
    shutdown.spawn(pending());
    shutdown.drain();
    let begun = Instant::now();
    life.wait().await.unwrap();
    assert_eq!(begun.elapsed().as_secs(), GRACE.as_secs());
    assert!(shutdown.abort().is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn what_ignores_even_that_is_left_behind() {
    let mut life = Lifecycle::new(GRACE);
    let shutdown = life.shutdown();
    life.spawn_critical("deaf", pending::<Result<(), Infallible>>());
    shutdown.tracker().spawn(pending::<()>());
    shutdown.drain();
    let begun = Instant::now();
    life.wait().await.unwrap();
    assert_eq!(begun.elapsed().as_secs(), (GRACE + ABORT_GRACE).as_secs());
}

#[tokio::test]
async fn the_first_signal_drains_and_the_second_aborts() {
    let mut life = Lifecycle::new(Duration::from_secs(3600));
    life.handle_signals().unwrap();
    let shutdown = life.shutdown();
    shutdown.spawn(pending());
    let waiting = tokio::spawn(life.wait());

    kill_process(getpid(), UnixSignal::TERM).unwrap();
    shutdown.draining().cancelled().await;
    assert!(!shutdown.abort().is_cancelled());
    kill_process(getpid(), UnixSignal::INT).unwrap();
    shutdown.abort().cancelled().await;
    waiting.await.unwrap().unwrap();
}
