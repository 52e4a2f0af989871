//! The query of one page: a single stretch of the index that fits the selection best, read backwards.

use super::rows;
use crate::index::{Selection, ceil_microsecond};
use sqlx::{QueryBuilder, Sqlite};

/// Selects the rows of `files` (as `f`) that make the page.
pub(super) fn query(selection: &Selection) -> QueryBuilder<Sqlite> {
    let mut query = QueryBuilder::new(rows::SELECT);
    // `key` is the table that the page is ordered by: with a tag it is the tag's index that has the right order.
    let key = if let Some(tag) = &selection.tag {
        query
            .push(format_args!(
                " file_tags t INDEXED BY {} CROSS JOIN files f ON f.file_id = t.file_id WHERE t.tag = ",
                index(selection)
            ))
            .push_bind(tag.clone());
        query.push(" AND ");
        "t"
    } else {
        query.push(format_args!(
            " files f INDEXED BY {} WHERE ",
            index(selection)
        ));
        "f"
    };
    query
        .push(key)
        .push(".tenant = ")
        .push_bind(selection.tenant.0.clone());
    narrow(&mut query, selection, key);
    query.push(format_args!(
        " ORDER BY {key}.received_at DESC, {key}.file_id DESC LIMIT "
    ));
    query.push_bind(i64::from(selection.limit));
    query
}

/// The index to read. Left to itself, SQLite takes a shorter one where the time is bounded on both sides.
pub(super) fn index(selection: &Selection) -> &'static str {
    let asked = (
        selection.owner.is_some(),
        selection.pool.is_some(),
        selection.tag.is_some(),
    );
    match asked {
        (false, false, false) => "files_by_tenant",
        (true, false, false) => "files_by_owner",
        (false, true, false) => "files_by_pool",
        (true, true, false) => "files_by_owner_pool",
        (false, false, true) => "file_tags_by_tenant",
        (true, false, true) => "file_tags_by_owner",
        (false, true, true) => "file_tags_by_pool",
        (true, true, true) => "file_tags_by_owner_pool",
    }
}

fn narrow(query: &mut QueryBuilder<Sqlite>, selection: &Selection, key: &'static str) {
    if let Some(owner) = selection.owner {
        query
            .push(format_args!(" AND {key}.owner_id = "))
            .push_bind(owner.to_string());
    }
    if let Some(pool) = selection.pool {
        query
            .push(format_args!(" AND {key}.pool = "))
            .push_bind(pool.to_string());
    }
    if let Some(from) = selection.from {
        query
            .push(format_args!(" AND {key}.received_at >= "))
            .push_bind(ceil_microsecond(from));
    }
    if let Some(to) = selection.to {
        query
            .push(format_args!(" AND {key}.received_at < "))
            .push_bind(ceil_microsecond(to));
    }
    if let Some(after) = selection.after {
        query
            .push(format_args!(" AND ({key}.received_at, {key}.file_id) < ("))
            .push_bind(after.received_at);
        query
            .push(", ")
            .push_bind(after.file_id.to_string())
            .push(")");
    }
}
