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

/// Every way to list reads one stretch of one index: nothing is scanned, and nothing is sorted.
#[tokio::test]
async fn a_page_is_one_stretch_of_an_index() {
    let folder = tempfile::tempdir().unwrap();
    let index = open(&folder).await.unwrap();
    let all = Selection {
        tenant: TenantId::default(),
        owner: None,
        pool: None,
        status: None,
        tag: None,
        from: None,
        to: None,
        after: Some(Cursor {
            received_at: 7,
            file_id: FileId::new(),
        }),
        limit: 51,
    };
    let owned = Selection {
        owner: Some(UserId::new()),
        ..all.clone()
    };
    let status = Some(TransferStatus::UploadedSuccessfully);
    let table = [
        ("files_by_tenant", all.clone()),
        (
            "files_by_tenant",
            Selection {
                after: None,
                ..all.clone()
            },
        ),
        (
            "files_by_tenant",
            Selection {
                from: Some(Default::default()),
                to: Some(Default::default()),
                ..all.clone()
            },
        ),
        (
            "files_by_pool",
            Selection {
                pool: Some(PoolId::new()),
                ..all.clone()
            },
        ),
        (
            "file_tags_by_tenant",
            Selection {
                tag: Some("x".to_owned()),
                ..all
            },
        ),
        ("files_by_owner", owned.clone()),
        (
            "files_by_owner_status",
            Selection {
                status,
                ..owned.clone()
            },
        ),
        (
            "file_tags_by_owner",
            Selection {
                tag: Some("x".to_owned()),
                ..owned
            },
        ),
    ];
    for (name, selection) in table {
        let plan = plan(&index, &selection).await;
        assert!(
            plan[0].starts_with("SEARCH") && plan[0].contains(&format!("INDEX {name} ")),
            "{name}: {plan:?}"
        );
        assert!(
            selection.after.is_none() || plan[0].contains("received_at"),
            "the cursor is no bound: {plan:?}"
        );
        assert!(
            plan.iter()
                .all(|step| !step.contains("SCAN") && !step.contains("TEMP B-TREE")),
            "{name}: {plan:?}"
        );
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
