//! What every adapter of the port must do.

use super::{NewSession, NewUser, Rotated, Rotation, User, Users, UsersError};
use crate::{names::UserName, refresh_token::RefreshToken, tokens::StoredKey};
use futures::future::join_all;
use jiff::Timestamp;
use protocol::{
    identity::Role,
    ids::{TenantId, UserId},
    token::Revocation,
};
use std::collections::BTreeSet;
use uuid::Uuid;

/// Runs every case, each on accounts of its own that `open` gives.
pub(crate) async fn run_all<U: Users>(open: impl AsyncFn() -> U) {
    accounts(&open).await;
    refreshing(&open).await;
    ending(&open).await;
    keeping(&open).await;
}

async fn accounts<U: Users>(open: &impl AsyncFn() -> U) {
    names_are_unique_in_any_case(&open().await).await;
    one_of_many_gets_a_name(&open().await).await;
    accounts_come_back_as_they_were(&open().await).await;
    roles_have_their_permissions(&open().await).await;
    nobody_logs_in_without_an_account(&open().await).await;
}

async fn refreshing<U: Users>(open: &impl AsyncFn() -> U) {
    tokens_rotate(&open().await).await;
    a_lost_answer_is_forgiven_for_a_moment(&open().await).await;
    a_used_token_ends_its_login_only(&open().await).await;
    a_replaced_successor_ends_the_login(&open().await).await;
    one_of_many_rotates(&open().await).await;
    expired_logins_are_unknown(&open().await).await;
    the_stalest_logins_make_room(&open().await).await;
}

async fn ending<U: Users>(open: &impl AsyncFn() -> U) {
    ending_sessions_ends_all_of_that_user(&open().await).await;
    concurrent_ends_are_numbered_densely(&open().await).await;
    revocations_are_read_from_where_one_stands(&open().await).await;
    numbers_are_not_used_again(&open().await).await;
}

async fn keeping<U: Users>(open: &impl AsyncFn() -> U) {
    one_key_signs_and_retired_ones_follow(&open().await).await;
    sweeping_spares_what_is_good(&open().await).await;
}

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn new_user(name: &str) -> NewUser {
    NewUser {
        id: UserId::new(),
        name: UserName::parse(name).unwrap(),
        password_hash: "hash".into(),
        role: Role::User,
        tenant: TenantId::default(),
        created_at: at(0),
    }
}

pub(super) async fn user(users: &dyn Users, name: &str) -> UserId {
    let user = new_user(name);
    users.create_user(&user).await.unwrap();
    user.id
}

async fn find(users: &dyn Users, id: UserId) -> User {
    users.user_by_id(id).await.unwrap().unwrap()
}

/// Begins a login at `second` that expires 100 seconds later.
async fn login(users: &dyn Users, user_id: UserId, second: i64) -> RefreshToken {
    let token = RefreshToken::generate();
    assert!(begin(users, user_id, &token, second).await.is_some());
    token
}

pub(super) async fn begin(
    users: &dyn Users,
    user_id: UserId,
    token: &RefreshToken,
    second: i64,
) -> Option<User> {
    let session = NewSession {
        id: Uuid::now_v7(),
        user_id,
        family_hash: token.family_hash(),
        token_hash: token.hash(),
        created_at: at(second),
        expires_at: at(second + 100),
    };
    users.begin_session(&session, 3).await.unwrap()
}

/// Uses a token at `second`, with 10 seconds of grace.
async fn rotate(users: &dyn Users, token: &RefreshToken, second: i64) -> (Rotated, RefreshToken) {
    let successor = token.successor();
    let rotation = Rotation {
        family_hash: token.family_hash(),
        token_hash: token.hash(),
        successor_hash: successor.hash(),
        now: at(second),
        expires_at: at(second + 100),
        reusable_since: at(second - 10),
    };
    (users.rotate_refresh(&rotation).await.unwrap(), successor)
}

async fn renewed(users: &dyn Users, token: &RefreshToken, second: i64) -> RefreshToken {
    let (rotated, successor) = rotate(users, token, second).await;
    assert!(matches!(rotated, Rotated::Renewed { .. }), "{rotated:?}");
    successor
}

async fn refused_as_unknown(users: &dyn Users, token: &RefreshToken, second: i64) {
    let (rotated, _) = rotate(users, token, second).await;
    assert!(matches!(rotated, Rotated::Unknown), "{rotated:?}");
}

async fn refused_as_reused(users: &dyn Users, token: &RefreshToken, second: i64) {
    let (rotated, _) = rotate(users, token, second).await;
    assert!(matches!(rotated, Rotated::Reused { .. }), "{rotated:?}");
}

async fn names_are_unique_in_any_case(users: &dyn Users) {
    let id = user(users, "Ada").await;
    assert!(matches!(
        users.create_user(&new_user("aDA")).await,
        Err(UsersError::Taken)
    ));
    let found = users
        .user_by_name(&UserName::parse("ADA").unwrap())
        .await
        .unwrap()
        .unwrap();
    assert_eq!((found.id, found.name.as_str()), (id, "Ada"));
}

async fn one_of_many_gets_a_name(users: &dyn Users) {
    let rivals: Vec<_> = (0..20).map(|_| new_user("ada")).collect();
    let created = join_all(rivals.iter().map(|rival| users.create_user(rival))).await;
    assert_eq!(created.iter().filter(|created| created.is_ok()).count(), 1);
}

async fn accounts_come_back_as_they_were(users: &dyn Users) {
    let new = NewUser {
        role: Role::Admin,
        ..new_user("ada")
    };
    users.create_user(&new).await.unwrap();
    let found = find(users, new.id).await;
    assert_eq!(
        (found.role, found.tenant, found.generation),
        (Role::Admin, TenantId::default(), 1)
    );
    assert!(users.user_by_id(UserId::new()).await.unwrap().is_none());
    assert!(
        users
            .user_by_name(&UserName::parse("bob").unwrap())
            .await
            .unwrap()
            .is_none()
    );
}

async fn roles_have_their_permissions(users: &dyn Users) {
    let of_users: BTreeSet<_> = users
        .permissions(Role::User)
        .await
        .unwrap()
        .into_iter()
        .collect();
    let of_admins: BTreeSet<_> = users
        .permissions(Role::Admin)
        .await
        .unwrap()
        .into_iter()
        .collect();
    assert!(of_users.contains("files:read:own") && of_users.contains("uploads:write"));
    assert!(
        of_users
            .iter()
            .all(|permission| !permission.ends_with(":all"))
    );
    assert!(of_users.is_subset(&of_admins));
    assert!(of_admins.contains("files:read:all") && of_admins.contains("users:read:all"));
}

async fn tokens_rotate(users: &dyn Users) {
    let ada = user(users, "ada").await;
    let mut token = login(users, ada, 0).await;
    for second in [50, 140, 230] {
        token = renewed(users, &token, second).await;
    }
}

async fn a_lost_answer_is_forgiven_for_a_moment(users: &dyn Users) {
    let ada = user(users, "ada").await;
    let first = login(users, ada, 0).await;
    renewed(users, &first, 20).await;
    renewed(users, &first, 25).await;
    let last = renewed(users, &first, 30).await;
    let next = renewed(users, &last, 50).await;
    refused_as_reused(users, &last, 61).await;
    refused_as_unknown(users, &next, 61).await;
}

async fn a_used_token_ends_its_login_only(users: &dyn Users) {
    let ada = user(users, "ada").await;
    let first = login(users, ada, 0).await;
    let other = login(users, ada, 0).await;
    let second = renewed(users, &first, 10).await;
    let third = renewed(users, &second, 20).await;
    // Two rotations ago, and within the grace of the last one.
    refused_as_reused(users, &first, 20).await;
    refused_as_unknown(users, &third, 20).await;
    renewed(users, &other, 20).await;
}

async fn a_replaced_successor_ends_the_login(users: &dyn Users) {
    let ada = user(users, "ada").await;
    let stolen = login(users, ada, 0).await;
    let of_one = renewed(users, &stolen, 10).await;
    let of_other = renewed(users, &stolen, 11).await;
    refused_as_reused(users, &of_one, 12).await;
    refused_as_unknown(users, &of_other, 12).await;
}

async fn one_of_many_rotates(users: &dyn Users) {
    rotate_at_once(&[users]).await;
}

/// Uses one token many times at the same time, at any of several processes, without grace.
pub(super) async fn rotate_at_once(processes: &[&dyn Users]) {
    let name = format!("user{}", Uuid::now_v7().simple());
    let ada = user(processes[0], &name).await;
    let token = login(processes[0], ada, 0).await;
    let rotations: Vec<_> = (0..10)
        .map(|_| Rotation {
            family_hash: token.family_hash(),
            token_hash: token.hash(),
            successor_hash: token.successor().hash(),
            now: at(1),
            expires_at: at(100),
            // No grace.
            reusable_since: at(2),
        })
        .collect();
    let rotated = join_all(
        processes
            .iter()
            .cycle()
            .zip(&rotations)
            .map(|(users, rotation)| users.rotate_refresh(rotation)),
    )
    .await;
    let renewed = rotated
        .iter()
        .filter(|rotated| matches!(rotated, Ok(Rotated::Renewed { .. })))
        .count();
    assert_eq!(renewed, 1);
}

async fn expired_logins_are_unknown(users: &dyn Users) {
    let ada = user(users, "ada").await;
    let token = login(users, ada, 0).await;
    refused_as_unknown(users, &token, 100).await;
}

async fn the_stalest_logins_make_room(users: &dyn Users) {
    let (ada, bob) = (user(users, "ada").await, user(users, "bob").await);
    let of_bob = login(users, bob, 0).await;
    let refreshed = login(users, ada, 0).await;
    let stale = login(users, ada, 1).await;
    let kept = login(users, ada, 2).await;
    let refreshed = renewed(users, &refreshed, 3).await;
    let newest = login(users, ada, 4).await;
    refused_as_unknown(users, &stale, 5).await;
    for token in [&refreshed, &kept, &newest, &of_bob] {
        renewed(users, token, 5).await;
    }
}

async fn nobody_logs_in_without_an_account(users: &dyn Users) {
    let token = RefreshToken::generate();
    assert!(begin(users, UserId::new(), &token, 0).await.is_none());
    refused_as_unknown(users, &token, 1).await;
    assert!(
        users
            .end_sessions(UserId::new(), at(0))
            .await
            .unwrap()
            .is_none()
    );
}

async fn ending_sessions_ends_all_of_that_user(users: &dyn Users) {
    let (ada, bob) = (user(users, "ada").await, user(users, "bob").await);
    let tokens = [login(users, ada, 0).await, login(users, ada, 0).await];
    let of_bob = login(users, bob, 0).await;
    let ended = users.end_sessions(ada, at(1)).await.unwrap().unwrap();
    assert_eq!((ended.generation, ended.seq), (2, 1));
    for token in &tokens {
        refused_as_unknown(users, token, 2).await;
    }
    renewed(users, &of_bob, 2).await;
    assert_eq!(
        (
            find(users, ada).await.generation,
            find(users, bob).await.generation
        ),
        (2, 1)
    );

    let token = RefreshToken::generate();
    assert_eq!(
        begin(users, ada, &token, 3).await.unwrap().generation,
        2,
        "a new login has the new generation"
    );
    let again = users.end_sessions(ada, at(4)).await.unwrap().unwrap();
    assert_eq!((again.generation, again.seq), (3, 2));
}

async fn concurrent_ends_are_numbered_densely(users: &dyn Users) {
    let ada = user(users, "ada").await;
    let ended = join_all((0..20).map(|_| users.end_sessions(ada, at(1)))).await;
    let mut ended: Vec<_> = ended
        .into_iter()
        .map(|ended| ended.unwrap().unwrap())
        .collect();
    ended.sort_by_key(|ended| ended.seq);
    let numbers: Vec<_> = ended
        .iter()
        .map(|ended| (ended.seq, ended.generation))
        .collect();
    assert_eq!(numbers, (1..=20).map(|n| (n, n + 1)).collect::<Vec<_>>());
}

async fn revocations_are_read_from_where_one_stands(users: &dyn Users) {
    let (ada, bob) = (user(users, "ada").await, user(users, "bob").await);
    let read = async |after, since| users.revocations_after(after, since).await.unwrap();
    assert_eq!(read(0, at(0)).await.seq, 0);
    for (user, second) in [(ada, 1), (bob, 2), (ada, 3)] {
        users.end_sessions(user, at(second)).await.unwrap();
    }
    let of_ada = Revocation {
        user_id: ada,
        generation: 3,
    };
    let of_bob = Revocation {
        user_id: bob,
        generation: 2,
    };

    let all = read(0, at(0)).await;
    assert_eq!((all.seq, all.revoked.len()), (3, 2), "one each: the last");
    assert!(all.revoked.contains(&of_ada) && all.revoked.contains(&of_bob));
    assert_eq!(read(2, at(0)).await.revoked, [of_ada]);
    assert_eq!(
        read(0, at(3)).await.revoked,
        [of_ada],
        "older ones do not matter"
    );
    assert_eq!(
        read(0, at(4)).await.seq,
        3,
        "the number counts also where nothing matters"
    );
    assert!(read(3, at(0)).await.revoked.is_empty());

    let restarted = read(1000, at(0)).await;
    assert_eq!(
        (restarted.seq, restarted.revoked.len()),
        (3, 2),
        "a number that was never reached"
    );
}

async fn numbers_are_not_used_again(users: &dyn Users) {
    let ada = user(users, "ada").await;
    users.end_sessions(ada, at(1)).await.unwrap();
    assert_eq!(users.sweep(at(100), at(50)).await.unwrap().revocations, 1);
    let ended = users.end_sessions(ada, at(101)).await.unwrap().unwrap();
    assert_eq!(ended.seq, 2);
}

async fn one_key_signs_and_retired_ones_follow(users: &dyn Users) {
    let keys: Vec<_> = [0, 10, 200]
        .map(|second| StoredKey::generate(at(second)).unwrap())
        .into();
    let kids = async |retired_since| -> Vec<String> {
        let keys = users.signing_keys(retired_since).await.unwrap();
        keys.into_iter().map(|key| key.kid).collect()
    };
    users.ensure_signing_key(&keys[0], at(-100)).await.unwrap();
    users.ensure_signing_key(&keys[1], at(-90)).await.unwrap();
    assert_eq!(
        kids(at(0)).await,
        [keys[0].kid.clone()],
        "a key that is not old stays"
    );

    users.ensure_signing_key(&keys[2], at(100)).await.unwrap();
    assert_eq!(
        kids(at(150)).await,
        [keys[2].kid.clone(), keys[0].kid.clone()]
    );
    assert_eq!(kids(at(201)).await, [keys[2].kid.clone()]);
    assert_eq!(users.sweep(at(300), at(201)).await.unwrap().keys, 1);
    assert_eq!(kids(at(0)).await, [keys[2].kid.clone()]);
}

async fn sweeping_spares_what_is_good(users: &dyn Users) {
    let ada = user(users, "ada").await;
    let old = login(users, ada, 0).await;
    let good = login(users, ada, 60).await;
    users
        .end_sessions(user(users, "bob").await, at(60))
        .await
        .unwrap();
    users
        .ensure_signing_key(&StoredKey::generate(at(0)).unwrap(), at(0))
        .await
        .unwrap();

    let swept = users.sweep(at(120), at(60)).await.unwrap();
    assert_eq!((swept.sessions, swept.revocations, swept.keys), (1, 0, 0));
    refused_as_unknown(users, &old, 61).await;
    renewed(users, &good, 120).await;
    assert_eq!(
        users
            .revocations_after(0, at(60))
            .await
            .unwrap()
            .revoked
            .len(),
        1
    );
    assert_eq!(users.signing_keys(at(60)).await.unwrap().len(), 1);
}
