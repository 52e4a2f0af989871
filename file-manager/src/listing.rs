//! Lists of files: the index and the uploader's files that are not stored, merged into one order.

use crate::{FileManager, index::Selection, lookup::problem};
use protocol::{
    ErrorCode, TransferStatus, UserId,
    file::{Cursor, FileInfo, FilePage, FileQuery, InvalidCursor},
    identity::Caller,
};
use service_kit::problem::Problem;
use std::cmp::Reverse;

const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 1000;

/// About how large a page may become in JSON: with long descriptions it has fewer files than asked for.
const PAGE_BYTES: usize = 1 << 20;

/// About what a file takes in JSON beside its texts.
const FILE_BYTES: usize = 700;

impl FileManager {
    /// The page of files that `query` asks for, of those that the caller may see.
    ///
    /// # Errors
    /// `forbidden` when it asks for another user's files, `invalid-message` for a bad cursor or limit.
    pub(crate) async fn list(
        &self,
        caller: &Caller,
        query: FileQuery,
    ) -> Result<FilePage, Problem> {
        let owner = visible_owner(caller, query.owner)?;
        let limit = checked_limit(query.limit)?;
        let after = query
            .cursor
            .as_deref()
            .map(str::parse)
            .transpose()
            .map_err(bad_cursor)?;
        let query = FileQuery {
            owner,
            limit: Some(limit),
            ..query
        };
        let selection = Selection {
            tenant: caller.tenant.clone(),
            owner,
            pool: query.pool,
            status: query.status,
            tag: query.tag.clone(),
            from: query.from,
            to: query.to,
            after,
            // One more tells whether another page follows.
            limit: limit + 1,
        };
        // In this order: a file that is stored between the two questions is in both answers rather than in none.
        let unstored = match query.status {
            Some(status) if !status.is_file() || status == TransferStatus::UploadedSuccessfully => {
                FilePage::default()
            }
            _ => self.uploader().page(&caller.tenant, &query).await?,
        };
        let stored = self.index().page(&selection).await?;
        merge(stored, unstored, limit as usize).map_err(|error| {
            tracing::error!(%error, "the uploader gave a cursor that is none");
            Problem::internal()
        })
    }
}

/// Whose files a caller gets who asks for those of `owner`: none means all of the tenant.
fn visible_owner(caller: &Caller, owner: Option<UserId>) -> Result<Option<UserId>, Problem> {
    match owner {
        None if caller.is_admin() => Ok(None),
        None => Ok(Some(caller.user_id)),
        Some(owner) if owner == caller.user_id || caller.is_admin() => Ok(Some(owner)),
        Some(_) => Err(problem(
            ErrorCode::Forbidden,
            "only an admin may list the files of others",
        )),
    }
}

fn checked_limit(limit: Option<u32>) -> Result<u32, Problem> {
    match limit.unwrap_or(DEFAULT_LIMIT) {
        limit @ 1..=MAX_LIMIT => Ok(limit),
        limit => {
            let detail = format!("limit is {limit}; it must be from 1 to {MAX_LIMIT}");
            Err(problem(ErrorCode::InvalidMessage, detail))
        }
    }
}

fn bad_cursor(error: InvalidCursor) -> Problem {
    problem(ErrorCode::InvalidMessage, error.to_string())
}

/// Merges two lists that begin at the same place into a page of at most `limit` files, newest first. `stored` is complete
/// if it has no more than `limit` files; of a file in both it is `stored` that counts.
fn merge(
    stored: Vec<FileInfo>,
    unstored: FilePage,
    limit: usize,
) -> Result<FilePage, InvalidCursor> {
    // Beyond its cursor the uploader may have files that are not in its page, so nothing older can follow in this one.
    let horizon = unstored
        .next_cursor
        .as_deref()
        .map(str::parse::<Cursor>)
        .transpose()?;
    let mut files = stored;
    files.extend(unstored.files);
    // The sort is stable: of two with the same place the stored one stays first.
    files.sort_by_key(|file| Reverse(Cursor::after(file)));
    files.dedup_by_key(|file| file.file_id);
    let known =
        files.partition_point(|file| horizon.is_none_or(|horizon| Cursor::after(file) >= horizon));
    let kept = known.min(limit).min(within(&files, PAGE_BYTES));
    let more_follow = horizon.is_some() || known > kept;
    files.truncate(kept);
    let end = files.last().map(Cursor::after).or(horizon);
    Ok(FilePage {
        next_cursor: end.filter(|_| more_follow).map(|end| end.to_string()),
        files,
    })
}

/// How many of the first files take about this many bytes in JSON; at least one, so that every list comes to its end.
fn within(files: &[FileInfo], bytes: usize) -> usize {
    let mut left = bytes;
    let fit = files.iter().take_while(|file| {
        let texts = [
            &file.content_type,
            &file.reason,
            &file.title,
            &file.description,
        ];
        let texts: usize = texts
            .into_iter()
            .flatten()
            .chain(&file.tags)
            .map(String::len)
            .sum();
        let size = FILE_BYTES + file.name.len() + texts;
        let fits = size <= left;
        left = left.saturating_sub(size);
        fits
    });
    fit.count().max(1)
}

#[cfg(test)]
mod tests;
