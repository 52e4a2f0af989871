//! Files to documents and back. Ids are hyphenated lower-case UUIDs, so that their text sorts as their bytes do; times are
//! microseconds since the epoch, as numbers: a date of MongoDB has milliseconds.

use crate::index::{IndexError, IndexedFile};
use jiff::Timestamp;
use mongodb::bson::{
    RawArrayBuf, RawBsonRef, RawDocumentBuf,
    raw::{BindRawBsonRef, CStr, cstr},
};
use protocol::{TenantId, file::FileInfo, identity::Owner};
use std::{fmt::Display, str::FromStr};

/// The document of a file.
pub(super) fn write(file: &IndexedFile) -> Result<RawDocumentBuf, IndexError> {
    let IndexedFile { tenant, info } = file;
    let lacks = |field| IndexError::Damaged(format!("file {} has no {field}", info.file_id));
    let size = i64::try_from(info.size).map_err(damaged)?;
    let tags = info
        .tags
        .iter()
        .map(String::as_str)
        .collect::<RawArrayBuf>();
    let mut document = RawDocumentBuf::new();
    document.append(cstr!("_id"), info.file_id.to_string());
    document.append(cstr!("upload_id"), info.upload_id.to_string());
    document.append(cstr!("owner_id"), info.owner.id.to_string());
    document.append(cstr!("owner_name"), info.owner.name.as_str());
    document.append(cstr!("tenant"), tenant.0.as_str());
    document.append(cstr!("name"), info.name.as_str());
    document.append(cstr!("size"), size);
    document.append(
        cstr!("digest"),
        info.digest.ok_or_else(|| lacks("digest"))?.to_string(),
    );
    document.append(cstr!("status"), info.status.as_str());
    document.append(cstr!("received_at"), info.received_at.as_microsecond());
    let stored_at = info.stored_at.ok_or_else(|| lacks("time of storing"))?;
    document.append(cstr!("stored_at"), stored_at.as_microsecond());
    document.append(cstr!("attempts"), i64::from(info.attempts));
    document.append(cstr!("tags"), tags);
    let captured_at = info.captured_at.map(Timestamp::as_microsecond);
    add(
        &mut document,
        cstr!("content_type"),
        info.content_type.as_deref(),
    );
    add(
        &mut document,
        cstr!("pool"),
        info.pool.map(|pool| pool.to_string()),
    );
    add(
        &mut document,
        cstr!("batch"),
        info.batch.map(|batch| batch.to_string()),
    );
    add(&mut document, cstr!("captured_at"), captured_at);
    add(&mut document, cstr!("title"), info.title.as_deref());
    add(
        &mut document,
        cstr!("description"),
        info.description.as_deref(),
    );
    Ok(document)
}

/// A field that not every file has.
fn add(document: &mut RawDocumentBuf, name: &CStr, value: Option<impl BindRawBsonRef>) {
    if let Some(value) = value {
        document.append(name, value);
    }
}

/// The file of a document.
pub(super) fn read(found: &RawDocumentBuf) -> Result<IndexedFile, IndexError> {
    let time = |micros| Timestamp::from_microsecond(micros).map_err(damaged);
    let info = FileInfo {
        file_id: parsed(found, "_id")?,
        upload_id: parsed(found, "upload_id")?,
        name: text(found, "name")?,
        size: number(found, "size")?,
        content_type: text_if_any(found, "content_type")?,
        digest: Some(parsed(found, "digest")?),
        status: parsed(found, "status")?,
        owner: Owner {
            id: parsed(found, "owner_id")?,
            name: text(found, "owner_name")?,
        },
        pool: parsed_if_any(found, "pool")?,
        batch: parsed_if_any(found, "batch")?,
        captured_at: value(found, "captured_at")?
            .map(|_| number(found, "captured_at").and_then(time))
            .transpose()?,
        received_at: time(number(found, "received_at")?)?,
        stored_at: Some(time(number(found, "stored_at")?)?),
        attempts: number(found, "attempts")?,
        reason: None,
        title: text_if_any(found, "title")?,
        description: text_if_any(found, "description")?,
        tags: tags(found)?,
    };
    Ok(IndexedFile {
        tenant: TenantId(text(found, "tenant")?),
        info,
    })
}

/// A field; null and absent are the same.
fn value<'a>(found: &'a RawDocumentBuf, name: &str) -> Result<Option<RawBsonRef<'a>>, IndexError> {
    let value = found.get(name).map_err(damaged)?;
    Ok(value.filter(|value| *value != RawBsonRef::Null))
}

fn text_if_any(found: &RawDocumentBuf, name: &str) -> Result<Option<String>, IndexError> {
    value(found, name)?
        .map(|value| {
            value
                .as_str()
                .map(str::to_owned)
                .ok_or_else(|| strange(name))
        })
        .transpose()
}

/// A text.
pub(super) fn text(found: &RawDocumentBuf, name: &str) -> Result<String, IndexError> {
    text_if_any(found, name)?.ok_or_else(|| strange(name))
}

fn parsed_if_any<T: FromStr<Err: Display>>(
    found: &RawDocumentBuf,
    name: &str,
) -> Result<Option<T>, IndexError> {
    text_if_any(found, name)?
        .map(|text| {
            text.parse()
                .map_err(|error| IndexError::Damaged(format!("{name}: {error}")))
        })
        .transpose()
}

/// A text that stands for something.
pub(super) fn parsed<T: FromStr<Err: Display>>(
    found: &RawDocumentBuf,
    name: &str,
) -> Result<T, IndexError> {
    parsed_if_any(found, name)?.ok_or_else(|| strange(name))
}

fn number<T: TryFrom<i64>>(found: &RawDocumentBuf, name: &str) -> Result<T, IndexError> {
    value(found, name)?
        .and_then(|value| T::try_from(value.as_i64()?).ok())
        .ok_or_else(|| strange(name))
}

fn tags(found: &RawDocumentBuf) -> Result<Vec<String>, IndexError> {
    let tags = found.get_array("tags").map_err(damaged)?;
    let tags = tags.into_iter().map(|tag| {
        let tag = tag.map_err(damaged)?;
        tag.as_str()
            .map(str::to_owned)
            .ok_or_else(|| strange("tags"))
    });
    tags.collect()
}

fn strange(name: &str) -> IndexError {
    IndexError::Damaged(format!("{name} makes no sense"))
}

fn damaged(error: impl Display) -> IndexError {
    IndexError::Damaged(error.to_string())
}
