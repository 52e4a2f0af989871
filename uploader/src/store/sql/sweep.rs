//! What the sweeper looks for and clears away.

use super::{Connection, Db, rows, set::push_list, writer::Tx};
use crate::store::StoreError;
use jiff::Timestamp;
use protocol::{TransferStatus, UploadId};
use sqlx::QueryBuilder;
use std::collections::HashMap;

pub(super) async fn overdue(
    db: &mut Connection,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<UploadId>, StoreError> {
    let found = sqlx::query(
        "SELECT upload_id FROM uploads WHERE status = 'open' AND expires_at <= $1 ORDER BY expires_at LIMIT $2",
    )
    .bind(now.as_microsecond())
    .bind(i64::from(limit))
    .fetch_all(db)
    .await?;
    found
        .iter()
        .map(|row| rows::parsed(row, "upload_id"))
        .collect()
}

pub(super) async fn statuses(
    db: &mut Connection,
    ids: &[UploadId],
) -> Result<HashMap<UploadId, TransferStatus>, StoreError> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let mut sql =
        QueryBuilder::<Db>::new("SELECT upload_id, status FROM uploads WHERE upload_id IN ");
    push_list(&mut sql, ids.iter().map(UploadId::to_string));
    let found = sql.build().fetch_all(db).await?;
    found
        .iter()
        .map(|row| {
            Ok((
                rows::parsed(row, "upload_id")?,
                rows::parsed(row, "status")?,
            ))
        })
        .collect()
}

pub(super) async fn purge(
    tx: &mut Tx,
    ended_before: Timestamp,
    limit: u32,
) -> Result<u64, StoreError> {
    let purged = sqlx::query(
        "DELETE FROM uploads WHERE upload_id IN (SELECT upload_id FROM uploads \
         WHERE ended_at IS NOT NULL AND status <> 'upload_failed' AND ended_at < $1 ORDER BY ended_at LIMIT $2)",
    )
    .bind(ended_before.as_microsecond())
    .bind(i64::from(limit))
    .execute(&mut tx.db)
    .await?;
    Ok(purged.rows_affected())
}
