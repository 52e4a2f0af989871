use std::time::Duration;

use futures::future::join_all;
use sqlx::Row;
use tokio::{task::yield_now, time::Instant};

use super::{
    testing::{PrivateServer, Scratch},
    *,
};
use crate::{
    database::{Fault, fault},
    migrations::{MigrationError, Step, run_on_postgres},
};

const SCHEMA: &str = "some \"schema";

const STEPS: &[Step] = &[
    Step {
        name: "0001_numbers",
        sql: "CREATE TABLE numbers (number BIGINT NOT NULL PRIMARY KEY); INSERT INTO numbers VALUES (1)",
    },
    Step {
        name: "0002_more",
        sql: "INSERT INTO numbers VALUES (2)",
    },
];

/// Far more than what any call should take that nothing delays.
const LONG: Duration = Duration::from_secs(20);

async fn migrate(server: &Server, steps: &[Step]) -> Result<(), MigrationError> {
    let mut connection = server.connect(SCHEMA).await?;
    run_on_postgres(&mut connection, SCHEMA, steps).await
}

async fn sum(pool: &PgPool) -> Result<i64, sqlx::Error> {
    let sum = sqlx::query_scalar("SELECT SUM(number)::BIGINT FROM numbers");
    within(DEADLINE, sum.fetch_one(pool)).await
}

/// What a call comes to as soon as the server is back, and how many have failed before.
async fn until_served(pool: &PgPool) -> (i64, u32) {
    let deadline = Instant::now() + LONG;
    let mut failed = 0;
    loop {
        match sum(pool).await {
            Ok(sum) => return (sum, failed),
            Err(error) => {
                assert_eq!(fault(&error), Fault::Unavailable, "{error}");
                assert!(Instant::now() < deadline, "{error}");
                failed += 1;
            }
        }
    }
}

#[tokio::test]
async fn many_make_the_schema_and_its_tables_at_once() {
    let database = Scratch::new().await;
    let server = Server::parse(database.url()).unwrap();
    for done in join_all((0..8).map(|_| migrate(&server, STEPS))).await {
        done.unwrap();
    }
    let pool = server.pool(SCHEMA, 2);
    assert_eq!(sum(&pool).await.unwrap(), 3);

    let newer = migrate(&server, &STEPS[..1]).await.unwrap_err();
    assert!(matches!(
        newer,
        MigrationError::Newer { found: 2, known: 1 }
    ));
    let elsewhere = server.pool("elsewhere", 1);
    assert!(
        sum(&elsewhere).await.is_err(),
        "another schema sees nothing"
    );
}

#[tokio::test]
async fn connections_give_up_by_themselves() {
    let database = Scratch::new().await;
    let pool = Server::parse(database.url()).unwrap().pool(SCHEMA, 1);
    for (setting, expected) in [
        ("search_path", "\"some \"\"schema\""),
        ("default_transaction_isolation", "read committed"),
        ("statement_timeout", "4500ms"),
        ("lock_timeout", "4s"),
        ("idle_in_transaction_session_timeout", "3s"),
        ("tcp_user_timeout", "30000"),
        ("application_name", "sluice-some \"schema"),
    ] {
        let value: String = sqlx::query_scalar("SELECT current_setting($1)")
            .bind(setting)
            .fetch_one(&pool)
            .await
            .unwrap();
        assert_eq!(value, expected, "{setting}");
    }
}

#[tokio::test]
async fn what_is_refused_for_good_is_told_apart() {
    let database = Scratch::new().await;
    let url = format!("{}_missing", database.url());
    let missing = Server::parse(&url).unwrap().connect(SCHEMA).await;
    assert_eq!(fault(&missing.unwrap_err()), Fault::Permanent);
    let nobody = Server::parse("postgres://127.0.0.1:1/x").unwrap();
    let unreachable = nobody.connect(SCHEMA).await;
    assert_eq!(fault(&unreachable.unwrap_err()), Fault::Unavailable);
}

#[tokio::test]
async fn writers_follow_one_another() {
    let database = Scratch::new().await;
    let server = Server::parse(database.url()).unwrap();
    migrate(&server, STEPS).await.unwrap();
    let lock = WriteLock::of(SCHEMA);
    // Each reads the highest number and adds the next one, in processes of their own.
    let writers = join_all((0..4).map(async |_| {
        let pool = server.pool(SCHEMA, 2);
        for _ in 0..10 {
            let mut transaction = lock.begin(&pool).await?;
            let last: i64 = sqlx::query_scalar("SELECT MAX(number) FROM numbers")
                .fetch_one(&mut *transaction)
                .await?;
            yield_now().await;
            sqlx::query("INSERT INTO numbers VALUES ($1)")
                .bind(last + 1)
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await?;
        }
        Ok::<_, sqlx::Error>(())
    }));
    for done in writers.await {
        done.unwrap();
    }
    assert_eq!(
        sum(&server.pool(SCHEMA, 1)).await.unwrap(),
        (1..=42).sum::<i64>()
    );
}

#[tokio::test]
async fn who_is_silent_in_a_transaction_loses_the_lock_while_others_wait() {
    let database = Scratch::new().await;
    let server = Server::parse(database.url()).unwrap();
    let (frozen, pool) = (server.pool(SCHEMA, 1), server.pool(SCHEMA, 1));
    let lock = WriteLock::of(SCHEMA);
    let silent = lock.begin(&frozen).await.unwrap();
    let waited = within::<_, sqlx::Error>(DEADLINE, lock.begin(&pool)).await;
    waited.expect("the lock, before patience is at an end");
    let late = silent.commit().await.unwrap_err();
    assert_eq!(fault(&late), Fault::Unavailable, "{late}");
}

#[tokio::test]
async fn a_call_that_is_abandoned_anywhere_leaves_nothing_behind() {
    let database = Scratch::new().await;
    let server = Server::parse(database.url()).unwrap();
    migrate(&server, STEPS).await.unwrap();
    let pool = server.pool(SCHEMA, 1);
    let write = async || {
        let mut transaction = WriteLock::of(SCHEMA).begin(&pool).await?;
        sqlx::query("INSERT INTO numbers VALUES (1000)")
            .execute(&mut *transaction)
            .await?;
        transaction.rollback().await
    };
    for micros in (0..3_000).step_by(150) {
        let _ = tokio::time::timeout(Duration::from_micros(micros), write()).await;
        // By the simple protocol, where a statement and the transaction that it makes for itself begin at the same time.
        let row = sqlx::raw_sql("SELECT now() = statement_timestamp()")
            .fetch_one(&pool)
            .await
            .unwrap();
        let is_outside: bool = row.get(0);
        assert!(is_outside, "still in a transaction, left after {micros} µs");
    }
    assert_eq!(sum(&pool).await.unwrap(), 3);
}

#[tokio::test]
async fn a_frozen_server_is_an_unavailable_one_until_it_goes_on() {
    let private = PrivateServer::start().await;
    let server = Server::parse(&private.url()).unwrap();
    migrate(&server, STEPS).await.unwrap();
    let pool = server.pool(SCHEMA, 2);
    let both = async || tokio::join!(sum(&pool), sum(&pool));
    assert!(both().await.0.is_ok());
    private.freeze();
    for _ in 0..2 {
        let begun = Instant::now();
        let (one, other) = both().await;
        for failed in [one, other] {
            let error = failed.unwrap_err();
            assert_eq!(fault(&error), Fault::Unavailable, "{error}");
        }
        assert!(begun.elapsed() < DEADLINE + Duration::from_secs(1));
    }
    private.thaw();
    assert_eq!(until_served(&pool).await.0, 3);
}

#[tokio::test]
async fn a_server_that_was_killed_is_used_again_when_it_is_back() {
    let mut private = PrivateServer::start().await;
    let server = Server::parse(&private.url()).unwrap();
    migrate(&server, STEPS).await.unwrap();
    let pool = server.pool(SCHEMA, 4);
    let all = async || join_all((0..4).map(|_| sum(&pool))).await;
    assert!(all().await.iter().all(Result::is_ok));
    private.kill();
    for failed in all().await {
        let error = failed.unwrap_err();
        assert_eq!(fault(&error), Fault::Unavailable, "{error}");
    }
    private.resurrect().await;
    let (sum, failed) = until_served(&pool).await;
    assert_eq!((sum, failed), (3, 0), "no old connection is used");
}

#[tokio::test]
async fn a_server_that_was_restarted_while_nobody_asked_is_not_noticed() {
    let mut private = PrivateServer::start().await;
    let server = Server::parse(&private.url()).unwrap();
    migrate(&server, STEPS).await.unwrap();
    let pool = server.pool(SCHEMA, 4);
    let asked = join_all((0..4).map(|_| sum(&pool))).await;
    let quiet_since = Instant::now();
    assert!(asked.iter().all(Result::is_ok));
    private.kill();
    private.resurrect().await;
    tokio::time::sleep_until(quiet_since + BELIEVED * 2).await;
    for asked in join_all((0..4).map(|_| sum(&pool))).await {
        assert_eq!(asked.unwrap(), 3);
    }
}
