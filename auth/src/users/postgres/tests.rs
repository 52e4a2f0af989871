use super::*;
use crate::{
    refresh_token::RefreshToken,
    users::{
        Users,
        conformance::{self, at, begin, user},
    },
};
use futures::future::join_all;
use protocol::ids::UserId;
use service_kit::{
    database::Fault,
    postgres::testing::{PrivateServer, Scratch},
};
use std::collections::BTreeSet;
use uuid::Uuid;

async fn open(database: &Scratch, schema: &str) -> PostgresUsers {
    let server = Server::parse(database.url()).unwrap();
    let users = PostgresUsers::in_schema(server, schema.to_owned());
    users.prepare().await.unwrap();
    users
}

/// Two processes on one database.
async fn two(database: &Scratch) -> [PostgresUsers; 2] {
    [open(database, SCHEMA).await, open(database, SCHEMA).await]
}

#[tokio::test]
async fn conforms_to_the_port() {
    let database = Scratch::new().await;
    conformance::run_all(async || open(&database, &Uuid::now_v7().to_string()).await).await;
}

#[tokio::test]
async fn many_make_the_tables_at_once() {
    let database = Scratch::new().await;
    for users in join_all((0..8).map(|_| open(&database, SCHEMA))).await {
        users.check().await.unwrap();
    }
}

#[tokio::test]
async fn who_follows_the_feed_misses_nothing_that_others_append() {
    let database = Scratch::new().await;
    let [one, other] = two(&database).await;
    let mut accounts = Vec::new();
    for name in 0..30 {
        accounts.push(user(&one, &format!("user{name}")).await);
    }
    let ending = join_all(accounts.iter().enumerate().map(async |(index, user)| {
        let users = if index % 2 == 0 { &one } else { &other };
        users.end_sessions(*user, at(1)).await.unwrap().unwrap().seq
    }));
    let following = async {
        let (mut known, mut revoked) = (0, BTreeSet::<UserId>::new());
        while known < 30 {
            let news = other.revocations_after(known, at(0)).await.unwrap();
            assert!(news.seq >= known, "numbers only rise");
            known = news.seq;
            revoked.extend(news.revoked.iter().map(|revocation| revocation.user_id));
        }
        revoked
    };
    let (mut numbers, revoked) = tokio::join!(ending, following);
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=30).collect::<Vec<_>>());
    assert_eq!(revoked, accounts.into_iter().collect());
}

#[tokio::test]
async fn a_token_is_exchanged_by_one_of_two() {
    let database = Scratch::new().await;
    let [one, other] = two(&database).await;
    for _ in 0..10 {
        conformance::rotate_at_once(&[&one, &other]).await;
    }
}

#[tokio::test]
async fn logins_at_two_stay_within_the_bound() {
    let database = Scratch::new().await;
    let [one, other] = two(&database).await;
    let ada = user(&one, "ada").await;
    let tokens: Vec<_> = (0..20).map(|_| RefreshToken::generate()).collect();
    let logins = tokens.iter().enumerate().map(async |(index, token)| {
        let users = if index % 2 == 0 { &one } else { &other };
        begin(users, ada, token, 0).await.unwrap();
    });
    join_all(logins).await;
    let kept: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM sessions")
        .fetch_one(one.readers())
        .await
        .unwrap();
    assert_eq!(kept, 3);
}

#[tokio::test]
async fn before_there_are_tables_nothing_is_available() {
    let database = Scratch::new().await;
    let users = PostgresUsers::new(Server::parse(database.url()).unwrap());
    let refused = users.check().await.unwrap_err();
    assert_eq!(refused.fault(), Fault::Unavailable, "{refused}");
    users.prepare().await.unwrap();
    users.check().await.unwrap();
}

#[tokio::test]
async fn a_change_on_a_frozen_server_fails_in_time_and_later_ones_succeed() {
    let server = PrivateServer::start().await;
    let users = PostgresUsers::new(Server::parse(&server.url()).unwrap());
    users.prepare().await.unwrap();
    let ada = user(&users, "ada").await;
    server.freeze();
    let begun = std::time::Instant::now();
    let failed = users.end_sessions(ada, at(1)).await.unwrap_err();
    assert_eq!(failed.fault(), Fault::Unavailable, "{failed}");
    assert!(begun.elapsed() < DEADLINE * 2, "{:?}", begun.elapsed());
    server.thaw();
    let ended = loop {
        match users.end_sessions(ada, at(2)).await {
            Ok(ended) => break ended.unwrap(),
            Err(error) => assert_eq!(error.fault(), Fault::Unavailable, "{error}"),
        }
    };
    // Whether the first took place is not known, and nothing is left out or done twice.
    assert_eq!(ended.generation, ended.seq + 1);
}
