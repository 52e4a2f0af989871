//! What every adapter of the index must do.

use super::{Index, IndexError, IndexedFile, Selection, Walked};
use crate::sample;
use jiff::Timestamp;
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};
use protocol::{
    BatchId, FileId, PoolId, TenantId, TransferStatus, UserId,
    file::{Cursor, FileInfo},
};
use std::cmp::Reverse;

/// Runs the whole suite on an empty index.
pub(super) async fn suite(index: &dyn Index) {
    keeps_every_field(index).await;
    the_first_insert_counts(index).await;
    one_file_an_upload(index).await;
    removes_and_finds_missing(index).await;
    walks_over_all(index).await;
    bounds_are_finer_than_the_times_kept(index).await;
    index.ping().await.unwrap();
    pages_are_those_of_a_model(index).await;
}

fn entry(info: FileInfo) -> IndexedFile {
    IndexedFile {
        tenant: TenantId::default(),
        info,
    }
}

fn everything(tenant: &TenantId) -> Selection {
    Selection {
        tenant: tenant.clone(),
        owner: None,
        pool: None,
        status: None,
        tag: None,
        from: None,
        to: None,
        after: None,
        limit: 1000,
    }
}

async fn keeps_every_field(index: &dyn Index) {
    let full = entry(FileInfo {
        content_type: Some("text/plain; charset=utf-8".to_owned()),
        pool: Some(PoolId::new()),
        batch: Some(BatchId::new()),
        captured_at: Some(Timestamp::from_microsecond(-1).unwrap()),
        title: Some("Größe".to_owned()),
        description: Some(String::new()),
        tags: vec!["z".to_owned(), "a".to_owned(), "m".to_owned()],
        size: 1 << 40,
        attempts: 3,
        ..sample::file(UserId::new(), 1_234_567)
    });
    let bare = entry(sample::file(UserId::new(), 0));
    for file in [full, bare] {
        assert_eq!(index.insert(&file).await.unwrap(), file);
        assert_eq!(index.get(file.info.file_id).await.unwrap(), Some(file));
    }
    assert_eq!(index.get(FileId::new()).await.unwrap(), None);
}

async fn the_first_insert_counts(index: &dyn Index) {
    let first = entry(FileInfo {
        tags: vec!["x".to_owned()],
        ..sample::file(UserId::new(), 5)
    });
    let mut second = first.clone();
    second.info.attempts = 2;
    second.info.tags = vec!["y".to_owned()];
    index.insert(&first).await.unwrap();
    assert_eq!(index.insert(&second).await.unwrap(), first);
    assert_eq!(index.get(first.info.file_id).await.unwrap(), Some(first));
}

async fn one_file_an_upload(index: &dyn Index) {
    let first = entry(sample::file(UserId::new(), 5));
    let mut second = entry(sample::file(UserId::new(), 5));
    second.info.upload_id = first.info.upload_id;
    index.insert(&first).await.unwrap();
    assert!(
        matches!(index.insert(&second).await, Err(IndexError::Conflict(file)) if file == second.info.file_id)
    );
    assert_eq!(index.get(second.info.file_id).await.unwrap(), None);
}

async fn removes_and_finds_missing(index: &dyn Index) {
    let kept = entry(sample::file(UserId::new(), 5));
    let removed = entry(FileInfo {
        tags: vec!["gone".to_owned()],
        ..sample::file(UserId::new(), 5)
    });
    let (kept_id, removed_id, never) = (kept.info.file_id, removed.info.file_id, FileId::new());
    index.insert(&kept).await.unwrap();
    index.insert(&removed).await.unwrap();
    for _ in 0..2 {
        index.remove(removed_id).await.unwrap();
        assert_eq!(index.get(removed_id).await.unwrap(), None);
    }
    let tagged = Selection {
        tag: Some("gone".to_owned()),
        ..everything(&TenantId::default())
    };
    assert_eq!(index.page(&tagged).await.unwrap(), []);
    assert_eq!(
        index.missing(&[removed_id, kept_id, never]).await.unwrap(),
        [removed_id, never]
    );
    assert_eq!(index.missing(&[]).await.unwrap(), []);
    // What was removed can come back.
    assert_eq!(index.insert(&removed).await.unwrap(), removed);
}

async fn walks_over_all(index: &dyn Index) {
    let mut all = Vec::new();
    for number in 0..25 {
        let mut file = entry(sample::file(UserId::new(), number));
        file.tenant = TenantId(format!("tenant {}", number % 2));
        index.insert(&file).await.unwrap();
        all.push(Walked {
            file: file.info.file_id,
            tenant: file.tenant,
        });
    }
    all.sort_by_key(|entry| entry.file);
    // Others' entries are older.
    let mut after = Some(all[0].file);
    let mut walked = vec![all[0].clone()];
    loop {
        let some = index.walk(after, 7).await.unwrap();
        assert!(some.len() <= 7);
        let Some(last) = some.last() else { break };
        after = Some(last.file);
        walked.extend(some);
    }
    assert_eq!(walked, all);
    let first = index.walk(None, 1).await.unwrap();
    assert!(
        first[0].file < all[0].file,
        "without a place it begins with the first"
    );
}

async fn bounds_are_finer_than_the_times_kept(index: &dyn Index) {
    let file = entry(sample::file(UserId::new(), 10));
    index.insert(&file).await.unwrap();
    let just_after = Timestamp::from_nanosecond(10_001).unwrap();
    let owned = Selection {
        owner: Some(file.info.owner.id),
        ..everything(&file.tenant)
    };
    let from = Selection {
        from: Some(just_after),
        ..owned.clone()
    };
    assert_eq!(index.page(&from).await.unwrap(), []);
    let to = Selection {
        to: Some(just_after),
        ..owned
    };
    assert_eq!(index.page(&to).await.unwrap(), [file.info]);
}

/// A file of the model by small numbers: owner, pool, tags, tenant, time.
type Drawn = (usize, Option<usize>, Vec<usize>, usize, i64);

/// A selection by small numbers: tenant, owner, pool, tag, status, from, to, the file to begin after, limit.
type Asked = (
    usize,
    Option<usize>,
    Option<usize>,
    Option<usize>,
    Option<bool>,
    Option<i64>,
    Option<i64>,
    Option<usize>,
    u32,
);

fn drawn() -> impl Strategy<Value = Drawn> {
    let small = prop::option::of(0..2_usize);
    (
        0..3_usize,
        small,
        prop::sample::subsequence(vec![0, 1, 2], 0..=3),
        0..2_usize,
        0..5_i64,
    )
}

fn asked() -> impl Strategy<Value = Asked> {
    let two = || prop::option::of(0..2_usize);
    let time = || prop::option::of(0..6_i64);
    let status = prop::option::weighted(0.3, prop::bool::weighted(0.8));
    (
        0..2_usize,
        prop::option::of(0..3_usize),
        two(),
        two(),
        status,
        time(),
        time(),
        prop::option::of(0..60_usize),
        1..9_u32,
    )
}

async fn pages_are_those_of_a_model(index: &dyn Index) {
    let mut runner = TestRunner::deterministic();
    let owners: Vec<_> = (0..3).map(|_| UserId::new()).collect();
    let pools: Vec<_> = (0..2).map(|_| PoolId::new()).collect();
    let tenants = ["east", "west"].map(|name| TenantId(name.to_owned()));
    let mut model = Vec::new();
    for _ in 0..60 {
        let (owner, pool, tags, tenant, time) = drawn().new_tree(&mut runner).unwrap().current();
        let info = FileInfo {
            pool: pool.map(|pool| pools[pool]),
            tags: tags.iter().map(|tag| format!("tag {tag}")).collect(),
            ..sample::file(owners[owner], time)
        };
        let file = IndexedFile {
            tenant: tenants[tenant].clone(),
            info,
        };
        index.insert(&file).await.unwrap();
        model.push(file);
    }
    let mut found = 0;
    for _ in 0..500 {
        let (tenant, owner, pool, tag, stored, from, to, after, limit) =
            asked().new_tree(&mut runner).unwrap().current();
        let time = |time: i64| Timestamp::from_microsecond(time).unwrap();
        let selection = Selection {
            tenant: tenants[tenant].clone(),
            owner: owner.map(|owner| owners[owner]),
            pool: pool.map(|pool| pools[pool]),
            status: stored.map(|stored| {
                if stored {
                    TransferStatus::UploadedSuccessfully
                } else {
                    TransferStatus::Storing
                }
            }),
            tag: tag.map(|tag| format!("tag {tag}")),
            from: from.map(time),
            to: to.map(time),
            after: after.map(|after| Cursor::after(&model[after].info)),
            limit,
        };
        let page = index.page(&selection).await.unwrap();
        found += page.len();
        assert_eq!(page, expected(&model, &selection), "{selection:?}");
    }
    assert!(
        found > 500,
        "the selections are too narrow to show anything: {found} files in all"
    );
}

fn expected(model: &[IndexedFile], selection: &Selection) -> Vec<FileInfo> {
    let selected = |file: &&IndexedFile| {
        file.tenant == selection.tenant
            && selection
                .owner
                .is_none_or(|owner| file.info.owner.id == owner)
            && selection
                .pool
                .is_none_or(|pool| file.info.pool == Some(pool))
            && selection
                .status
                .is_none_or(|status| file.info.status == status)
            && selection
                .tag
                .as_ref()
                .is_none_or(|tag| file.info.tags.contains(tag))
            && selection
                .from
                .is_none_or(|from| file.info.received_at >= from)
            && selection.to.is_none_or(|to| file.info.received_at < to)
            && selection
                .after
                .is_none_or(|after| Cursor::after(&file.info) < after)
    };
    let mut files: Vec<_> = model
        .iter()
        .filter(selected)
        .map(|file| file.info.clone())
        .collect();
    files.sort_by_key(|file| Reverse(Cursor::after(file)));
    files.truncate(selection.limit as usize);
    files
}
