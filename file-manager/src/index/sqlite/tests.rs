use super::*;
use crate::{index::conformance, sample};
use protocol::{PoolId, TenantId, TransferStatus, UserId, file::Cursor};
use sqlx::Row;

const READERS: NonZeroU32 = NonZeroU32::MIN;

async fn open(folder: &tempfile::TempDir) -> Result<SqliteIndex, IndexError> {
    SqliteIndex::open(&folder.path().join("index.db"), READERS).await
}

#[tokio::test]
async fn conforms() {
    let folder = tempfile::tempdir().unwrap();
    conformance::suite(&open(&folder).await.unwrap()).await;
}

#[tokio::test]
async fn several_open_one_file_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let opened = futures::future::join_all((0..4).map(|_| open(&folder))).await;
    let file = IndexedFile {
        tenant: TenantId::default(),
        info: sample::file(UserId::new(), 1),
    };
    for index in &opened {
        assert_eq!(index.as_ref().unwrap().insert(&file).await.unwrap(), file);
    }
}

#[tokio::test]
async fn an_index_of_a_newer_version_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let index = open(&folder).await.unwrap();
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (1000, 'newer', TRUE, x'00', 0)";
    sqlx::query(newer).execute(&index.writer).await.unwrap();
    drop(index);
    let Err(error) = open(&folder).await else {
        panic!("it was opened")
    };
    assert!(error.to_string().contains("newer program"), "{error}");
}

#[tokio::test]
async fn commits_are_synced() {
    let folder = tempfile::tempdir().unwrap();
    let index = open(&folder).await.unwrap();
    let pragma = async |name: &'static str| -> String {
        let row = sqlx::query(name).fetch_one(&index.writer).await.unwrap();
        row.try_get::<String, _>(0)
            .or_else(|_| row.try_get::<i64, _>(0).map(|number| number.to_string()))
            .unwrap()
    };
    assert_eq!(pragma("PRAGMA journal_mode").await, "wal");
    assert_eq!(pragma("PRAGMA synchronous").await, "2");
}

/// Every combination of what a list can be narrowed by.
fn selections() -> impl Iterator<Item = Selection> {
    (0..1 << 7).map(|bits: u32| {
        let asked = |bit: u32| bits & (1 << bit) != 0;
        Selection {
            tenant: TenantId::default(),
            owner: asked(0).then(UserId::new),
            pool: asked(1).then(PoolId::new),
            status: asked(2).then_some(TransferStatus::UploadedSuccessfully),
            tag: asked(3).then(|| "x".to_owned()),
            from: asked(4).then(Default::default),
            to: asked(5).then(Default::default),
            after: asked(6).then(|| Cursor {
                received_at: 7,
                file_id: FileId::new(),
            }),
            limit: 51,
        }
    })
}

/// Every way to list reads one stretch of one index: nothing is scanned, and nothing is sorted.
#[tokio::test]
async fn a_page_is_one_stretch_of_an_index() {
    let folder = tempfile::tempdir().unwrap();
    let index = open(&folder).await.unwrap();
    for selection in selections() {
        let (plan, name) = (plan(&index, &selection).await, page::index(&selection));
        assert!(
            plan[0].starts_with("SEARCH") && plan[0].contains(&format!("INDEX {name} ")),
            "{selection:?}: {plan:?}"
        );
        let is_bounded = [
            selection.from.is_some(),
            selection.to.is_some(),
            selection.after.is_some(),
        ]
        .contains(&true);
        assert!(
            !is_bounded || plan[0].contains("received_at"),
            "the time is no bound: {selection:?}: {plan:?}"
        );
        assert!(
            plan.iter()
                .all(|step| !step.contains("SCAN") && !step.contains("TEMP B-TREE")),
            "{selection:?}: {plan:?}"
        );
    }
}

/// A group with an entry that can't be added adds the others, and of two entries of one file the first.
#[tokio::test]
async fn what_is_added_together_is_answered_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let index = open(&folder).await.unwrap();
    let entry = || IndexedFile {
        tenant: TenantId::default(),
        info: sample::file(UserId::new(), 1),
    };
    let files: Vec<IndexedFile> = (0..5).map(|_| entry()).collect();
    let mut again = files[0].clone();
    again.info.attempts = 7;
    let mut conflicting = entry();
    conflicting.info.upload_id = files[1].info.upload_id;
    let (first, others, again, conflicting) = tokio::join!(
        index.insert(&files[0]),
        futures::future::join_all(files[1..].iter().map(|file| index.insert(file))),
        index.insert(&again),
        index.insert(&conflicting),
    );
    assert_eq!(first.unwrap(), files[0]);
    assert_eq!(again.unwrap(), files[0]);
    assert!(matches!(conflicting, Err(IndexError::Conflict(_))));
    for (other, file) in others.into_iter().zip(&files[1..]) {
        assert_eq!(other.unwrap(), *file);
    }
}

async fn plan(index: &SqliteIndex, selection: &Selection) -> Vec<String> {
    let statement = page::query(selection).into_string();
    let rows = sqlx::raw_sql(sqlx::AssertSqlSafe(format!(
        "EXPLAIN QUERY PLAN {statement}"
    )))
    .fetch_all(&index.readers)
    .await
    .unwrap();
    rows.iter().map(|row| row.get("detail")).collect()
}
