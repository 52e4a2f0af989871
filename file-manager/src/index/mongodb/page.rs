//! The query of one page: a single stretch of the index that fits the selection best, read backwards.

use crate::index::{Selection, ceil_microsecond};
use mongodb::{
    Collection,
    action::Find,
    bson::{Document, RawDocumentBuf, doc},
    options::Hint,
};

/// The indexes to list by, each with the fields that come before the order of lists, `(received_at, _id)`.
pub(super) const INDEXES: [(&str, &[&str]); 6] = [
    ("files_by_tenant", &["tenant"]),
    ("files_by_owner", &["tenant", "owner_id"]),
    ("files_by_owner_status", &["tenant", "owner_id", "status"]),
    ("files_by_pool", &["tenant", "pool"]),
    ("files_by_tag", &["tenant", "tags"]),
    ("files_by_owner_tag", &["tenant", "owner_id", "tags"]),
];

/// Finds the documents that make the page.
pub(super) fn find<'a>(
    files: &'a Collection<RawDocumentBuf>,
    selection: &Selection,
) -> Find<'a, RawDocumentBuf> {
    files
        .find(filter(selection))
        .sort(newest_first())
        .hint(Hint::Name(index(selection).to_owned()))
        .limit(i64::from(selection.limit))
        .batch_size(selection.limit)
}

fn newest_first() -> Document {
    doc! { "received_at": -1, "_id": -1 }
}

/// The index to read: MongoDB would try several and may settle on one that has to be sorted.
fn index(selection: &Selection) -> &'static str {
    match selection {
        Selection {
            tag: Some(_),
            owner: Some(_),
            ..
        } => "files_by_owner_tag",
        Selection { tag: Some(_), .. } => "files_by_tag",
        Selection { pool: Some(_), .. } => "files_by_pool",
        Selection {
            owner: Some(_),
            status: Some(_),
            ..
        } => "files_by_owner_status",
        Selection { owner: Some(_), .. } => "files_by_owner",
        _ => "files_by_tenant",
    }
}

/// The same as a command, which can be explained.
#[cfg(test)]
pub(super) fn command(collection: &str, selection: &Selection) -> Document {
    doc! {
        "find": collection,
        "filter": filter(selection),
        "sort": newest_first(),
        "hint": index(selection),
        "limit": i64::from(selection.limit),
    }
}

fn filter(selection: &Selection) -> Document {
    let mut filter = doc! { "tenant": &selection.tenant.0 };
    if let Some(owner) = selection.owner {
        filter.insert("owner_id", owner.to_string());
    }
    if let Some(status) = selection.status {
        filter.insert("status", status.as_str());
    }
    if let Some(pool) = selection.pool {
        filter.insert("pool", pool.to_string());
    }
    if let Some(tag) = &selection.tag {
        filter.insert("tags", tag);
    }
    let mut received_at = doc! {};
    if let Some(from) = selection.from {
        received_at.insert("$gte", ceil_microsecond(from));
    }
    if let Some(to) = selection.to {
        received_at.insert("$lt", ceil_microsecond(to));
    }
    if let Some(after) = selection.after {
        // The bound is for the index; what it lets through of the very same microsecond, the alternatives sort out.
        received_at.insert("$lte", after.received_at);
        let earlier = doc! { "received_at": { "$lt": after.received_at } };
        let before =
            doc! { "received_at": after.received_at, "_id": { "$lt": after.file_id.to_string() } };
        filter.insert("$or", [earlier, before]);
    }
    if !received_at.is_empty() {
        filter.insert("received_at", received_at);
    }
    filter
}
