//! Lists of files: filters, order and pages.

use super::{Change, Fresh, at, owner, upload};
use jiff::{SignedDuration, Timestamp};
use protocol::{
    PoolId, TenantId, TransferStatus,
    file::{Cursor, FileQuery},
    identity::Owner,
    upload::{FileMeta, Upload},
};

/// Files of two owners in two pools with some tags, received at seconds 0 to 7, two at each; newest first.
async fn files(fresh: &Fresh, owners: &[Owner; 2], pools: [PoolId; 2]) -> Vec<Upload> {
    let mut files = Vec::new();
    for number in 0..16 {
        let plain = upload(&owners[number % 2]);
        let tags = ["odd", "even", "x\"y%"]
            .into_iter()
            .take(number % 4)
            .map(str::to_owned)
            .collect();
        let meta = FileMeta {
            pool: Some(pools[number / 2 % 2]),
            tags,
            ..plain.meta.clone()
        };
        files.push(
            fresh
                .cached(Upload { meta, ..plain }, at(number as i64 / 2))
                .await,
        );
    }
    fresh.dispatched(at(3)).await;
    for file in &mut files {
        *file = fresh.store.upload(file.upload_id).await.unwrap().unwrap();
    }
    files.sort_by_key(|file| std::cmp::Reverse((file.received_at, file.file_id)));
    files
}

fn fits(file: &Upload, query: &FileQuery) -> bool {
    query.owner.is_none_or(|owner| file.owner.id == owner)
        && query.pool.is_none_or(|pool| file.meta.pool == Some(pool))
        && query.status.is_none_or(|status| file.status == status)
        && query.from.is_none_or(|from| file.received_at >= Some(from))
        && query.to.is_none_or(|to| file.received_at < Some(to))
        && query
            .tag
            .as_ref()
            .is_none_or(|tag| file.meta.tags.contains(tag))
}

/// Every combination of filters, times between microseconds among them.
fn queries(owner: &Owner, pool: PoolId) -> Vec<FileQuery> {
    let between = |second| at(second) + SignedDuration::from_nanos(1);
    let times: [(Option<Timestamp>, Option<Timestamp>); 5] = [
        (None, None),
        (Some(at(2)), None),
        (None, Some(at(5))),
        (Some(between(2)), Some(between(5))),
        (Some(at(9)), None),
    ];
    let mut queries = Vec::new();
    for owner in [None, Some(owner.id)] {
        for pool in [None, Some(pool)] {
            for status in [
                None,
                Some(TransferStatus::Cached),
                Some(TransferStatus::Storing),
                Some(TransferStatus::Open),
            ] {
                for tag in [None, Some("even"), Some("x\"y%"), Some("absent")] {
                    for (from, to) in times {
                        let tag = tag.map(str::to_owned);
                        queries.push(FileQuery {
                            owner,
                            pool,
                            status,
                            from,
                            to,
                            tag,
                            ..FileQuery::default()
                        });
                    }
                }
            }
        }
    }
    queries
}

pub(super) async fn filters_give_what_a_plain_search_gives(fresh: Fresh) {
    let (owners, pools) = (
        [owner("anna"), owner("berta")],
        [PoolId::new(), PoolId::new()],
    );
    let files = files(&fresh, &owners, pools).await;
    let tenant = TenantId::default();
    let mut found_any = 0;
    for query in queries(&owners[0], pools[1]) {
        let found = fresh.store.files(&tenant, &query, None, 100).await.unwrap();
        let expected: Vec<Upload> = files
            .iter()
            .filter(|file| fits(file, &query))
            .cloned()
            .collect();
        found_any += usize::from(!expected.is_empty());
        assert_eq!(found, expected, "{query:?}");
    }
    assert!(found_any > 20, "the queries must not all be empty");
    let elsewhere = TenantId("elsewhere".to_owned());
    assert_eq!(
        fresh
            .store
            .files(&elsewhere, &FileQuery::default(), None, 100)
            .await
            .unwrap(),
        []
    );
}

pub(super) async fn pages_give_each_file_once(fresh: Fresh) {
    let (owners, pools) = (
        [owner("anna"), owner("berta")],
        [PoolId::new(), PoolId::new()],
    );
    let files = files(&fresh, &owners, pools).await;
    for limit in [1, 3, 16, 17] {
        let (mut seen, mut after) = (Vec::new(), None);
        while seen.len() <= files.len() {
            let page = fresh
                .store
                .files(&TenantId::default(), &FileQuery::default(), after, limit)
                .await
                .unwrap();
            assert!(page.len() <= limit as usize);
            let Some(last) = page.last() else { break };
            let received_at = last.received_at.unwrap().as_microsecond();
            after = Some(Cursor {
                received_at,
                file_id: last.file_id,
            });
            seen.extend(page);
        }
        assert_eq!(seen, files, "pages of {limit}");
    }
}

pub(super) async fn only_files_not_stored_are_listed(fresh: Fresh) {
    let mut expected = Vec::new();
    for (second, status) in TransferStatus::ALL.into_iter().enumerate() {
        let upload = fresh.brought_to(status, at(second as i64)).await;
        if status.is_file() && status != TransferStatus::UploadedSuccessfully {
            expected.insert(0, upload.upload_id);
        }
    }
    // Bringing one file on its way takes others along.
    let found = fresh
        .store
        .files(&TenantId::default(), &FileQuery::default(), None, 100)
        .await
        .unwrap();
    assert_eq!(
        found.iter().map(|file| file.upload_id).collect::<Vec<_>>(),
        expected
    );
    assert_eq!(expected.len(), 4);

    let storing = found
        .iter()
        .find(|file| file.status == TransferStatus::Storing)
        .unwrap();
    fresh
        .changed(
            storing.upload_id,
            Change::Store {
                attempt: storing.attempts,
            },
            at(20),
        )
        .await;
    let left = fresh
        .store
        .files(&TenantId::default(), &FileQuery::default(), None, 100)
        .await
        .unwrap();
    assert_eq!(left.len(), 3);
}
