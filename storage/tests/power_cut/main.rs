//! The power is cut at every operation of several uploads' lives: what was promised is there, nothing is half-visible,
//! and every upload can be finished.

mod check;
mod life;

use check::check;
use futures::{StreamExt, stream};
use life::{Life, Promises, live};
use std::{path::Path, sync::Arc};
use storage::fs::{PowerCut, Survives};
use tempfile::TempDir;

const SEEDS: u64 = 20;

fn modes() -> impl Iterator<Item = Survives> {
    let fixed = [
        Survives::Everything,
        Survives::DropAll,
        Survives::KeepNames,
        Survives::KeepLengths,
    ];
    fixed.into_iter().chain((0..SEEDS).map(Survives::Random))
}

/// In memory where that is possible: what survives is decided by the decorator, and thousands of disks are made.
fn folder() -> TempDir {
    TempDir::new_in("/dev/shm")
        .or_else(|_| TempDir::new())
        .expect("a temporary folder")
}

fn disk(folder: &Path) -> PowerCut {
    PowerCut::new(folder).expect("the folder can be read")
}

/// The disk after a cut, in a folder of its own.
fn after(cut: &PowerCut, survives: Survives) -> TempDir {
    let left = folder();
    cut.materialise(survives, left.path())
        .expect("the folder is empty");
    left
}

/// Lives until the power is cut at operation `n`.
async fn live_until(life: &Life, n: u64) -> (TempDir, PowerCut, Promises) {
    let folder = folder();
    let cut = disk(folder.path());
    cut.cut_at(n);
    let promises = live(life, &cut, folder.path()).await;
    (folder, cut, promises)
}

/// How many operations a whole life takes.
async fn operations(life: &Life) -> u64 {
    let (folder, cut, promises) = live_until(life, u64::MAX).await;
    assert!(promises.is_done, "without a cut all goes well");
    check(
        life,
        &promises,
        Survives::Everything,
        disk(folder.path()),
        folder.path(),
    )
    .await;
    cut.operations()
}

/// Tries one cut after the other, some at once.
async fn for_each_cut<F: Future<Output = ()> + Send + 'static>(
    step: usize,
    case: impl Fn(Arc<Life>, u64) -> F,
) {
    let life = Arc::new(Life::new());
    let cuts = (0..operations(&life).await).step_by(step);
    let cases = stream::iter(cuts.map(|n| tokio::spawn(case(Arc::clone(&life), n))));
    cases
        .buffer_unordered(4)
        .for_each(async |case| case.expect("the case holds"))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_was_promised_survives_a_power_cut() {
    for_each_cut(1, async |life: Arc<Life>, n| {
        let (_folder, cut, promises) = live_until(&life, n).await;
        for survives in modes() {
            let left = after(&cut, survives);
            check(&life, &promises, survives, disk(left.path()), left.path()).await;
        }
    })
    .await;
}

/// A cut while the first one is being recovered from.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_power_cut_does_no_more_harm() {
    for_each_cut(3, async |life: Arc<Life>, n| {
        let (_folder, cut, promises) = live_until(&life, n).await;
        for survives in [Survives::Everything, Survives::Random(n)] {
            let mut recovered = false;
            for second in 0.. {
                if recovered {
                    break;
                }
                let left = after(&cut, survives);
                let cut_again = disk(left.path());
                cut_again.cut_at(second);
                recovered = life::recover(&life, &cut_again, left.path()).await;
                let survives = Survives::Random(n + second);
                let left_again = after(&cut_again, survives);
                check(
                    &life,
                    &promises,
                    survives,
                    disk(left_again.path()),
                    left_again.path(),
                )
                .await;
            }
        }
    })
    .await;
}

/// The process is killed between two operations: nothing that was acknowledged is lost.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_was_acknowledged_survives_a_kill() {
    for_each_cut(1, async |life: Arc<Life>, n| {
        let (folder, _cut, promises) = live_until(&life, n).await;
        check(
            &life,
            &promises,
            Survives::Everything,
            disk(folder.path()),
            folder.path(),
        )
        .await;
    })
    .await;
}

/// The process is killed, another one finds what was not synced and builds on it, and then the power is cut.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_was_promised_after_a_kill_survives_a_power_cut() {
    for_each_cut(1, async |life: Arc<Life>, n| {
        let folder = folder();
        let disk_of_both = disk(folder.path());
        disk_of_both.kill_at(n);
        let mut promises = live(&life, &disk_of_both, folder.path()).await;
        disk_of_both.restart();
        life::finish(&life, &mut promises, &disk_of_both, folder.path()).await;
        for survives in [
            Survives::DropAll,
            Survives::Random(n),
            Survives::Random(n + 1000),
        ] {
            let left = after(&disk_of_both, survives);
            check(&life, &promises, survives, disk(left.path()), left.path()).await;
        }
    })
    .await;
}
