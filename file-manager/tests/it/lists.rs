//! Lists, history and single files: what is in them, and who may see it.

use crate::support::{World, caller, owner_of, upload};
use axum::{
    body::Body,
    http::{Method, Request},
};
use file_manager::index::IndexedFile;
use jiff::Timestamp;
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};
use protocol::{
    FileId, PoolId, TenantId, TransferStatus, UserId,
    file::{Cursor, FileInfo, FilePage},
    identity::{Caller, Owner, Role},
    upload::Upload,
};
use std::{cmp::Reverse, collections::BTreeSet};

fn at(microseconds: i64) -> Timestamp {
    Timestamp::from_microsecond(microseconds).unwrap()
}

/// An upload received at a time, in a status.
fn received(owner: &Caller, time: i64, status: TransferStatus) -> Upload {
    Upload {
        received_at: Some(at(time)),
        status,
        ..upload(owner, b"abc")
    }
}

/// The entry that the upload's file has once it is stored.
fn stored(upload: &Upload) -> IndexedFile {
    let meta = upload.meta.clone();
    let info = FileInfo {
        file_id: upload.file_id,
        upload_id: upload.upload_id,
        name: meta.name,
        size: meta.size,
        content_type: meta.content_type,
        digest: upload.computed_digest,
        status: TransferStatus::UploadedSuccessfully,
        owner: upload.owner.clone(),
        pool: meta.pool,
        batch: meta.batch,
        captured_at: meta.captured_at,
        received_at: upload.received_at.unwrap(),
        stored_at: Some(at(1_000_000)),
        attempts: 1,
        reason: None,
        title: meta.title,
        description: meta.description,
        tags: meta.tags,
    };
    IndexedFile {
        tenant: upload.tenant.clone(),
        info,
    }
}

async fn index(world: &World, upload: &Upload) {
    world.index().await.insert(&stored(upload)).await.unwrap();
}

fn ids(page: &FilePage) -> Vec<FileId> {
    page.files.iter().map(|file| file.file_id).collect()
}

/// Every page from the first to the last.
async fn walk(world: &World, caller: &Caller, path: &str) -> Vec<FileInfo> {
    let (mut files, mut cursor) = (Vec::new(), String::new());
    loop {
        let page: FilePage = world.get(caller, &format!("{path}{cursor}")).await.json();
        files.extend(page.files);
        match page.next_cursor {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return files,
        }
    }
}

#[tokio::test]
async fn a_caller_without_identity_is_refused() {
    let world = World::new().await;
    let file = FileId::new();
    let paths = [
        "/files".to_owned(),
        format!("/files/{file}"),
        format!("/files/{file}/content"),
        format!("/client/history/{}", UserId::new()),
    ];
    for path in paths {
        for identity in [None, Some("nonsense"), Some("{}")] {
            let mut request = Request::builder().method(Method::GET).uri(&path);
            if let Some(identity) = identity {
                request = request.header("x-sluice-caller", identity);
            }
            let response = world
                .peer()
                .call(request.body(Body::empty()).unwrap())
                .await
                .unwrap();
            assert_eq!(response.status(), 401, "{path} as {identity:?}");
        }
    }
}

#[tokio::test]
async fn who_sees_what() {
    let world = World::new().await;
    let (ada, bob, admin) = (
        caller("ada", Role::User),
        caller("bob", Role::User),
        caller("root", Role::Admin),
    );
    let stranger = Caller {
        tenant: TenantId("elsewhere".to_owned()),
        ..caller("eve", Role::Admin)
    };
    let kept = received(&ada, 2, TransferStatus::UploadedSuccessfully);
    index(&world, &kept).await;
    let under_way = received(&ada, 1, TransferStatus::Cached);
    world.uploader.know(&under_way);
    let both = vec![kept.file_id, under_way.file_id];

    let table = [
        (&ada, None, Ok(both.clone())),
        (&ada, Some(&ada), Ok(both.clone())),
        (&ada, Some(&bob), Err(403)),
        (&bob, None, Ok(vec![])),
        (&bob, Some(&ada), Err(403)),
        (&admin, None, Ok(both.clone())),
        (&admin, Some(&ada), Ok(both)),
        (&admin, Some(&bob), Ok(vec![])),
        (&stranger, None, Ok(vec![])),
        (&stranger, Some(&ada), Ok(vec![])),
    ];
    for (caller, owner, expected) in table {
        let listed = match owner {
            None => world.get(caller, "/files").await,
            Some(owner) => {
                world
                    .get(caller, &format!("/files?owner={}", owner.user_id))
                    .await
            }
        };
        let what = format!("{} lists {:?}", caller.name, owner.map(|owner| &owner.name));
        match &expected {
            Ok(files) => assert_eq!(ids(&listed.json()), *files, "{what}"),
            Err(status) => assert_eq!(
                (listed.status.as_u16(), &*listed.code()),
                (*status, "forbidden"),
                "{what}"
            ),
        }
        if let Some(owner) = owner {
            let history = world
                .get(caller, &format!("/client/history/{}", owner.user_id))
                .await;
            assert_eq!(
                (history.status, history.body),
                (listed.status, listed.body),
                "the history of {what}"
            );
        }
    }
    for file in [kept.file_id, under_way.file_id] {
        for (caller, sees) in [
            (&ada, true),
            (&bob, false),
            (&admin, true),
            (&stranger, false),
        ] {
            for path in [format!("/files/{file}"), format!("/files/{file}/content")] {
                let answer = world.call(Method::HEAD, caller, &path, &[]).await;
                assert_eq!(
                    answer.status.as_u16(),
                    if sees { 200 } else { 404 },
                    "{} asks for {path}",
                    caller.name
                );
            }
        }
    }
}

#[tokio::test]
async fn a_file_is_shown_wherever_it_is() {
    let world = World::new().await;
    let ada = caller("ada", Role::User);
    let mut under_way = received(&ada, 1, TransferStatus::Retrying);
    under_way.reason = Some("the disk was slow".to_owned());
    under_way.attempts = 2;
    world.uploader.know(&under_way);
    let path = format!("/files/{}", under_way.file_id);
    let shown: FileInfo = world.get(&ada, &path).await.json();
    assert_eq!(
        (shown.status, shown.attempts, shown.stored_at),
        (TransferStatus::Retrying, 2, None)
    );
    assert_eq!(shown.reason.as_deref(), Some("the disk was slow"));

    index(&world, &under_way).await;
    let shown: FileInfo = world.get(&ada, &path).await.json();
    assert_eq!(shown, stored(&under_way).info);
    // What is stored is shown even if nobody can say more.
    world.uploader.set_down(true);
    assert_eq!(world.get(&ada, &path).await.json::<FileInfo>(), shown);
    let unknown = world.get(&ada, &format!("/files/{}", FileId::new())).await;
    assert_eq!(
        (unknown.status.as_u16(), &*unknown.code()),
        (503, "unavailable")
    );
    world.uploader.set_down(false);

    for status in [
        TransferStatus::Open,
        TransferStatus::Rejected,
        TransferStatus::Expired,
        TransferStatus::Aborted,
    ] {
        let no_file = received(&ada, 1, status);
        world.uploader.know(&no_file);
        let answer = world
            .get(&ada, &format!("/files/{}", no_file.file_id))
            .await;
        assert_eq!(
            (answer.status.as_u16(), &*answer.code()),
            (404, "not-found"),
            "{status}"
        );
    }
    assert_eq!(world.get(&ada, "/files/nonsense").await.status, 400);
}

#[tokio::test]
async fn a_list_is_never_partial() {
    let world = World::new().await;
    let ada = caller("ada", Role::User);
    index(&world, &received(&ada, 1, TransferStatus::Storing)).await;
    world.uploader.set_down(true);
    let answer = world.get(&ada, "/files").await;
    assert_eq!(
        (answer.status.as_u16(), &*answer.code()),
        (503, "unavailable")
    );
    // The uploader has none of these.
    let answer = world.get(&ada, "/files?status=uploaded_successfully").await;
    assert_eq!(answer.json::<FilePage>().files.len(), 1);
}

#[tokio::test]
async fn bad_queries_are_refused() {
    let world = World::new().await;
    let ada = caller("ada", Role::User);
    for query in [
        "limit=0",
        "limit=1001",
        "limit=x",
        "limit=-1",
        "cursor=",
        "cursor=x",
        "status=lost",
        "owner=me",
        "from=now",
        "pool=1",
    ] {
        for path in [
            "/files".to_owned(),
            format!("/client/history/{}", ada.user_id),
        ] {
            if query.starts_with("owner") && path != "/files" {
                continue;
            }
            let answer = world.get(&ada, &format!("{path}?{query}")).await;
            assert_eq!(
                (answer.status.as_u16(), &*answer.code()),
                (400, "invalid-message"),
                "{path}?{query}"
            );
        }
    }
    assert_eq!(world.get(&ada, "/client/history/nobody").await.status, 400);
}

#[tokio::test]
async fn history_is_the_owners_whatever_the_query_says() {
    let world = World::new().await;
    let (ada, bob) = (caller("ada", Role::User), caller("bob", Role::User));
    let own = received(&ada, 1, TransferStatus::Cached);
    world.uploader.know(&own);
    let path = format!("/client/history/{}?owner={}", ada.user_id, bob.user_id);
    assert_eq!(ids(&world.get(&ada, &path).await.json()), [own.file_id]);
}

#[tokio::test]
async fn fifty_files_a_page_unless_asked() {
    let world = World::new().await;
    let ada = caller("ada", Role::User);
    for time in 0..120 {
        let upload = received(&ada, time, TransferStatus::Cached);
        world.uploader.know(&upload);
    }
    let page: FilePage = world.get(&ada, "/files").await.json();
    assert_eq!(page.files.len(), 50);
    assert!(page.next_cursor.is_some());
    let page: FilePage = world.get(&ada, "/files?limit=1000").await.json();
    assert_eq!((page.files.len(), page.next_cursor), (120, None));
}

/// A file of the model: owner, pool, tag, time, status, whether it is in the index.
type Drawn = (
    usize,
    Option<usize>,
    Option<usize>,
    i64,
    TransferStatus,
    bool,
);

fn drawn() -> impl Strategy<Value = Drawn> {
    let unstored = prop_oneof![
        Just(TransferStatus::Cached),
        Just(TransferStatus::Storing),
        Just(TransferStatus::Retrying),
        Just(TransferStatus::UploadFailed),
        Just(TransferStatus::UploadedSuccessfully),
        Just(TransferStatus::Open),
    ];
    let two = || prop::option::of(0..2_usize);
    (0..2_usize, two(), two(), 0..8_i64, unstored, any::<bool>())
}

/// The lists of the whole service against a model, with random filters, limits and cursors. A file can be in the index and
/// with the uploader as `storing` at once: between the index entry and the report.
#[tokio::test]
async fn lists_are_those_of_a_model() {
    let world = World::new().await;
    let mut runner = TestRunner::deterministic();
    let admin = caller("root", Role::Admin);
    let users = [caller("ada", Role::User), caller("bob", Role::User)];
    let pools = [PoolId::new(), PoolId::new()];
    let index = world.index().await;
    let mut model: Vec<FileInfo> = Vec::new();
    for _ in 0..80 {
        let (owner, pool, tag, time, status, in_index) =
            drawn().new_tree(&mut runner).unwrap().current();
        let mut upload = received(&users[owner], time, status);
        upload.meta.pool = pool.map(|pool| pools[pool]);
        upload.meta.tags = tag.iter().map(|tag| format!("tag & {tag}")).collect();
        world.uploader.know(&upload);
        let file = stored(&upload);
        match status {
            TransferStatus::Open => {}
            TransferStatus::UploadedSuccessfully => {
                index.insert(&file).await.unwrap();
                model.push(file.info);
            }
            TransferStatus::Storing if in_index => {
                index.insert(&file).await.unwrap();
                model.push(file.info);
            }
            _ => model.push(FileInfo {
                status,
                stored_at: None,
                attempts: 0,
                ..file.info
            }),
        }
    }
    model.sort_by_key(|file| Reverse(Cursor::after(file)));
    assert!(model.len() > 40);

    let selections = (
        prop_oneof![Just(&admin), Just(&users[0]), Just(&users[1])],
        prop::option::weighted(0.3, 0..2_usize),
        prop::option::weighted(0.3, 0..2_usize),
        prop::option::weighted(0.3, 0..8_i64),
        1..12_u32,
        prop::option::weighted(0.5, 1..6_u32),
    );
    let mut seen = BTreeSet::new();
    for _ in 0..60 {
        let (who, pool, tag, from, limit, uploaders_limit) =
            selections.new_tree(&mut runner).unwrap().current();
        world
            .uploader
            .limit_pages(uploaders_limit.unwrap_or(u32::MAX));
        let mut path = format!("/files?limit={limit}");
        let mut files = model.clone();
        if !who.is_admin() {
            files.retain(|file| file.owner == Owner::from(who));
        }
        if let Some(pool) = pool {
            path.push_str(&format!("&pool={}", pools[pool]));
            files.retain(|file| file.pool == Some(pools[pool]));
        }
        if let Some(tag) = tag {
            path.push_str(&format!("&tag=tag%20%26%20{tag}"));
            files.retain(|file| file.tags.contains(&format!("tag & {tag}")));
        }
        if let Some(from) = from {
            path.push_str(&format!("&from={}", at(from)));
            files.retain(|file| file.received_at >= at(from));
        }
        seen.insert(files.len());
        assert_eq!(
            walk(&world, who, &path).await,
            files,
            "{} lists {path}",
            who.name
        );
    }
    assert!(seen.len() > 10, "the selections hardly differ: {seen:?}");
}

#[tokio::test]
async fn lists_by_status() {
    let world = World::new().await;
    let ada = caller("ada", Role::User);
    let mut expected = Vec::new();
    for (time, status) in (0..).zip(TransferStatus::ALL) {
        let upload = received(&ada, time, status);
        world.uploader.know(&upload);
        if status == TransferStatus::UploadedSuccessfully {
            index(&world, &upload).await;
        }
        expected.push((
            status,
            if status.is_file() {
                vec![upload.file_id]
            } else {
                vec![]
            },
        ));
    }
    for (status, files) in expected {
        assert_eq!(
            ids(&world
                .get(&ada, &format!("/files?status={status}"))
                .await
                .json()),
            files,
            "{status}"
        );
    }
}

#[tokio::test]
async fn a_stored_file_is_listed_as_it_was_cached() {
    let world = World::new().await;
    let upload = world.cached(b"abc").await;
    let owner = owner_of(&upload);
    let before: FilePage = world.get(&owner, "/files").await.json();
    assert_eq!(before.files[0].status, TransferStatus::Cached);
    world.store(&upload).await;
    let after: FilePage = world.get(&owner, "/files").await.json();
    let stored = &after.files[0];
    assert_eq!(after.files.len(), 1);
    let as_cached = FileInfo {
        status: TransferStatus::Cached,
        stored_at: None,
        attempts: 0,
        ..stored.clone()
    };
    assert_eq!(as_cached, before.files[0]);
}

/// Whatever the moment at which a file is stored, it is in the answer.
#[tokio::test]
async fn a_file_is_not_missed_while_it_is_stored() {
    for path in ["/files", "/files/{}"] {
        let world = World::new().await;
        let ada = caller("ada", Role::User);
        let upload = received(&ada, 1, TransferStatus::Storing);
        world.uploader.know(&upload);
        let (uploader, index, entry) =
            (world.uploader.clone(), world.index().await, stored(&upload));
        world.uploader.before_next_answer(async move {
            index.insert(&entry).await.unwrap();
            uploader.set_status(entry.info.upload_id, TransferStatus::UploadedSuccessfully);
        });
        let path = path.replace("{}", &upload.file_id.to_string());
        let answer = world.get(&ada, &path).await;
        let text = String::from_utf8_lossy(&answer.body);
        assert!(text.contains(&upload.file_id.to_string()), "{path}: {text}");
        assert!(text.contains("uploaded_successfully"), "{path}: {text}");
    }
}
