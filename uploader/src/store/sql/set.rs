//! Statements over many rows at once: what costs is the way to the engine and back, not the row.
//!
//! A statement is prepared once per number of rows. So that few numbers occur, the rows are filled up to the next power of two
//! with rows whose key is empty, which no row of a table has.

use super::Db;
use sqlx::{QueryBuilder, query_builder::Separated};

/// A row's values behind its key.
pub(super) type Values<'q> = Separated<'q, Db, &'static str>;

/// Adds `(VALUES (key, …), …) AS given`, whose columns are `column1` (the key), `column2` and so on, in every engine. The rows
/// that fill it up have an empty key and the last row's values: leave them out by `column1 <> ''`, unless a join does.
pub(super) fn push_values<T>(
    query: &mut QueryBuilder<Db>,
    rows: &[T],
    key: impl Fn(&T) -> String,
    bind: impl Fn(&mut Values<'_>, &T),
) {
    query.push("(VALUES ");
    for index in 0..rows.len().next_power_of_two() {
        let Some(row) = rows.get(index).or(rows.last()) else {
            break;
        };
        query.push(if index == 0 { "(" } else { ", (" });
        let mut values = query.separated(", ");
        values.push_bind(rows.get(index).map(&key).unwrap_or_default());
        bind(&mut values, row);
        query.push(")");
    }
    query.push(") AS given");
}

/// Adds `(key, …)`, the list of an `IN`.
pub(super) fn push_list(query: &mut QueryBuilder<Db>, keys: impl ExactSizeIterator<Item = String>) {
    let fill = keys.len().next_power_of_two() - keys.len();
    query.push("(");
    let mut list = query.separated(", ");
    for key in keys.chain(std::iter::repeat_n(String::new(), fill)) {
        list.push_bind(key);
    }
    query.push(")");
}
