use std::path::Path;

use futures::future::join_all;
use sqlx::ConnectOptions;

use super::*;
use crate::sqlite;

const FIRST: Step = Step {
    name: "0001_first",
    sql: "CREATE TABLE first (id BIGINT NOT NULL PRIMARY KEY); INSERT INTO first (id) VALUES (1);",
};
const SECOND: Step = Step {
    name: "0002_second",
    sql: "INSERT INTO first (id) VALUES (2);",
};

async fn open(path: &Path) -> SqliteConnection {
    let file = sqlite::file(path, Duration::from_secs(10)).create_if_missing(true);
    file.connect().await.unwrap()
}

async fn ids(connection: &mut SqliteConnection) -> Vec<i64> {
    sqlx::query_scalar("SELECT id FROM first ORDER BY id")
        .fetch_all(connection)
        .await
        .unwrap()
}

#[tokio::test]
async fn each_step_is_taken_once_and_later_ones_follow() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = open(&folder.path().join("x.db")).await;
    for (steps, expected) in [
        (&[FIRST][..], &[1][..]),
        (&[FIRST], &[1]),
        (&[FIRST, SECOND], &[1, 2]),
    ] {
        run_on_sqlite(&mut file, steps).await.unwrap();
        assert_eq!(ids(&mut file).await, expected);
    }
}

#[tokio::test]
async fn many_may_open_a_new_file_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.db");
    // Switching to write-ahead logging is the opener's own concern.
    let mut file = open(&path).await;
    let all = join_all((0..8).map(async |_| {
        let mut file = open(&path).await;
        run_on_sqlite(&mut file, &[FIRST, SECOND]).await
    }));
    for done in all.await {
        done.unwrap();
    }
    assert_eq!(ids(&mut file).await, [1, 2]);
}

#[tokio::test]
async fn what_a_newer_or_another_program_has_used_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = open(&folder.path().join("x.db")).await;
    run_on_sqlite(&mut file, &[FIRST, SECOND]).await.unwrap();
    let newer = run_on_sqlite(&mut file, &[FIRST]).await.unwrap_err();
    assert!(
        matches!(newer, MigrationError::Newer { found: 2, known: 1 }),
        "{newer}"
    );
    let changed = Step {
        sql: "SELECT 1",
        ..FIRST
    };
    let other = run_on_sqlite(&mut file, &[changed, SECOND])
        .await
        .unwrap_err();
    assert!(matches!(other, MigrationError::Changed(1)), "{other}");
    assert_eq!(newer.fault(), Fault::Permanent);
    run_on_sqlite(&mut file, &[FIRST, SECOND]).await.unwrap();
}

#[tokio::test]
async fn a_step_that_fails_undoes_those_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = open(&folder.path().join("x.db")).await;
    let broken = Step {
        sql: "CREATE TABLE second (id BIGINT); INSERT INTO nowhere VALUES (1);",
        ..SECOND
    };
    assert!(run_on_sqlite(&mut file, &[FIRST, broken]).await.is_err());
    run_on_sqlite(&mut file, &[FIRST, SECOND]).await.unwrap();
    assert_eq!(ids(&mut file).await, [1, 2]);
}

#[tokio::test]
async fn a_step_has_a_number() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = open(&folder.path().join("x.db")).await;
    let step = Step {
        name: "first",
        ..FIRST
    };
    let error = run_on_sqlite(&mut file, &[step]).await.unwrap_err();
    assert!(matches!(error, MigrationError::Unnumbered("first")));
}
