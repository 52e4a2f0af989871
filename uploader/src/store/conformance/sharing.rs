//! One database, opened more than once: after a restart, and by a program of another version.

use super::{Fresh, at, owner, upload};
use protocol::Topic;
use std::sync::Arc;

pub(super) async fn everything_is_kept_across_a_restart(fresh: Fresh) {
    let file = fresh.cached(upload(&owner("anna")), at(1)).await;
    let log = |store: &Fresh| {
        let (store, tenant) = (Arc::clone(&store.store), file.tenant.clone());
        async move { store.log(Topic::Admin, &tenant, 0, 10).await.unwrap() }
    };
    let before = log(&fresh).await;
    let Fresh {
        store, database, ..
    } = fresh;
    drop(store);

    let again = Fresh::over(database).await;
    let kept = Some(file.clone());
    assert_eq!(again.store.upload(file.upload_id).await.unwrap(), kept);
    assert_eq!(
        again.store.upload_of_file(file.file_id).await.unwrap(),
        kept
    );
    assert_eq!(log(&again).await, before);
    assert_eq!(again.store.outbox_depth().await.unwrap().waiting, 1);
}

pub(super) async fn a_newer_schema_is_refused(fresh: Fresh) {
    let Fresh {
        store, database, ..
    } = fresh;
    drop(store);
    database
        .execute(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             SELECT 99, description, success, checksum, execution_time FROM _sqlx_migrations",
        )
        .await;
    let error = Fresh::open(database).await.err().unwrap();
    assert!(error.to_string().contains("use a newer program"), "{error}");
}
