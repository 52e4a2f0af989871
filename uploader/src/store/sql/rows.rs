//! Rows of the table `uploads` and what they mean.

use super::Row;
use crate::store::StoreError;
use jiff::Timestamp;
use protocol::{
    TenantId, TransferStatus,
    identity::Owner,
    upload::{FileMeta, Upload},
};
use sqlx::Row as _;
use std::{fmt::Display, str::FromStr};

/// Reads an upload from a row with all columns of the table.
pub(super) fn upload(row: &Row) -> Result<Upload, StoreError> {
    Ok(Upload {
        upload_id: parsed(row, "upload_id")?,
        file_id: parsed(row, "file_id")?,
        owner: Owner {
            id: parsed(row, "owner_id")?,
            name: row.try_get("owner_name")?,
        },
        tenant: TenantId(row.try_get("tenant")?),
        meta: meta(row)?,
        computed_digest: parsed_if_any(row, "computed_digest")?,
        status: parsed::<TransferStatus>(row, "status")?,
        attempts: number(row, "attempts")?,
        reason: row.try_get("reason")?,
        code: code(row)?,
        opened_at: time(row.try_get("opened_at")?)?,
        expires_at: time(row.try_get("expires_at")?)?,
        received_at: time_if_any(row, "received_at")?,
    })
}

fn meta(row: &Row) -> Result<FileMeta, StoreError> {
    let tags: String = row.try_get("tags")?;
    Ok(FileMeta {
        name: row.try_get("name")?,
        size: number(row, "size")?,
        content_type: row.try_get("content_type")?,
        digest: parsed_if_any(row, "digest")?,
        pool: parsed_if_any(row, "pool")?,
        captured_at: time_if_any(row, "captured_at")?,
        batch: parsed_if_any(row, "batch")?,
        title: row.try_get("title")?,
        description: row.try_get("description")?,
        tags: serde_json::from_str(&tags).map_err(|error| invalid("tags", &tags, &error))?,
    })
}

fn code(row: &Row) -> Result<Option<protocol::ErrorCode>, StoreError> {
    let text: Option<String> = row.try_get("code")?;
    text.map(|text| {
        text.parse()
            .map_err(|()| invalid("code", &text, &"no such error code"))
    })
    .transpose()
}

/// Reads a column whose text means something.
pub(super) fn parsed<T: FromStr<Err: Display>>(row: &Row, column: &str) -> Result<T, StoreError> {
    let text: String = row.try_get(column)?;
    text.parse().map_err(|error| invalid(column, &text, &error))
}

fn parsed_if_any<T: FromStr<Err: Display>>(
    row: &Row,
    column: &str,
) -> Result<Option<T>, StoreError> {
    let text: Option<String> = row.try_get(column)?;
    text.map(|text| text.parse().map_err(|error| invalid(column, &text, &error)))
        .transpose()
}

/// Reads a column that holds a number which is never negative.
pub(super) fn number<T: TryFrom<i64>>(row: &Row, column: &str) -> Result<T, StoreError> {
    let number: i64 = row.try_get(column)?;
    T::try_from(number).map_err(|_| invalid(column, &number.to_string(), &"out of range"))
}

/// A time from microseconds.
pub(super) fn time(micros: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_microsecond(micros)
        .map_err(|error| invalid("a time", &micros.to_string(), &error))
}

/// Reads a column that may hold a time.
pub(super) fn time_if_any(row: &Row, column: &str) -> Result<Option<Timestamp>, StoreError> {
    row.try_get::<Option<i64>, _>(column)?.map(time).transpose()
}

/// A number as SQL has it. Numbers beyond its range are refused long before they get here.
pub(super) fn sql(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Text as every engine takes it: PostgreSQL's has no zero bytes. What clients say is refused long before; this is for reasons,
/// which quote whatever failed.
pub(super) fn text(text: String) -> String {
    if text.contains('\0') {
        text.replace('\0', "\u{fffd}")
    } else {
        text
    }
}

fn invalid(column: &str, value: &str, error: &dyn Display) -> StoreError {
    StoreError::Invalid(format!("{column} is {value:?}: {error}"))
}
