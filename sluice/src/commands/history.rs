//! `sluice history`: what was uploaded, newest first.

use super::{
    account::ServerFlag,
    client::{Exit, Failure, printable, remark, say},
};
use clap::Args;
use indicatif::HumanBytes;
use jiff::{Timestamp, tz::TimeZone};
use protocol::{
    TransferStatus, UserId,
    file::{FileInfo, FileQuery},
    identity::Role,
};

/// Largest page that the server gives.
const LARGEST_PAGE: u32 = 1000;

/// Flags of `sluice history`.
#[derive(Debug, Args)]
pub(crate) struct History {
    #[command(flatten)]
    server: ServerFlag,
    /// Another user's files, by the user's id; for admins
    #[arg(long, value_name = "ID", conflicts_with = "all_users", value_parser = user_id)]
    user: Option<UserId>,
    /// The files of all users; for admins
    #[arg(long)]
    all_users: bool,
    /// Only files with this status, such as uploaded_successfully
    #[arg(long, value_name = "STATUS", value_parser = status)]
    status: Option<TransferStatus>,
    /// How many files at most
    #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Go on where a page ended
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
    /// All files, however many
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    /// Print one JSON object per file
    #[arg(long)]
    json: bool,
}

impl History {
    /// Does it.
    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        let account = self.server.account()?;
        if self.all_users && account.login.role != Role::Admin {
            let message = format!(
                "{} is no admin and sees only files of its own; leave out --all-users",
                account.login.user_name
            );
            return Err(Failure::new(Exit::Incomplete, message));
        }
        let owner = if self.all_users {
            None
        } else {
            Some(self.user.unwrap_or(account.login.user_id))
        };
        let mut left = if self.all {
            u64::MAX
        } else {
            self.limit.into()
        };
        let mut query = FileQuery {
            owner,
            status: self.status,
            cursor: self.cursor,
            ..FileQuery::default()
        };
        let (mut shown, zone) = (0_u64, TimeZone::system());
        loop {
            query.limit = Some(u32::try_from(left).unwrap_or(u32::MAX).min(LARGEST_PAGE));
            let page = account.api.files(&query).await?;
            for file in &page.files {
                match (self.json, shown) {
                    (true, _) => say(serde_json::to_string(file).unwrap_or_default()),
                    (false, 0) => say(format!("{HEADER}\n{}", row(file, &zone, self.all_users))),
                    (false, _) => say(row(file, &zone, self.all_users)),
                }
                shown += 1;
            }
            left = left.saturating_sub(page.files.len() as u64);
            query.cursor = page.next_cursor;
            match &query.cursor {
                Some(cursor) if left == 0 => {
                    remark(format!("there are more: add --cursor {cursor}, or --all"));
                    break;
                }
                Some(_) => {}
                None => break,
            }
        }
        if shown == 0 && !self.json {
            remark("no files");
        }
        Ok(Exit::Fine)
    }
}

fn user_id(text: &str) -> Result<UserId, String> {
    let wrong = "not a user's id; `owner` in `sluice history --all-users --json` has it";
    text.parse().map_err(|_| wrong.to_owned())
}

fn status(text: &str) -> Result<TransferStatus, String> {
    text.parse().map_err(|_| {
        let all = TransferStatus::ALL.map(TransferStatus::as_str);
        format!("there is no such status, only {}", all.join(", "))
    })
}

const HEADER: &str = "FILE ID                               RECEIVED             STATUS                       SIZE  NAME";

fn row(file: &FileInfo, zone: &TimeZone, with_owner: bool) -> String {
    let owner = if with_owner {
        format!("{}/", printable(&file.owner.name))
    } else {
        String::new()
    };
    let reason = file
        .reason
        .as_ref()
        .map(|reason| format!("  ({})", printable(reason)))
        .unwrap_or_default();
    format!(
        "{}  {}  {:<21}  {:>10}  {owner}{}{reason}",
        file.file_id,
        local(file.received_at, zone),
        file.status.as_str(),
        HumanBytes(file.size).to_string(),
        printable(&file.name),
    )
}

fn local(time: Timestamp, zone: &TimeZone) -> String {
    time.to_zoned(zone.clone())
        .strftime("%Y-%m-%d %H:%M:%S")
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{FileId, UploadId, identity::Owner};
    use uuid::Uuid;

    #[test]
    fn rows_stand_under_their_header() {
        let file = FileInfo {
            file_id: FileId(Uuid::nil()),
            upload_id: UploadId(Uuid::nil()),
            name: "a\x1b[2Jb.txt".to_owned(),
            size: 2048,
            content_type: None,
            digest: None,
            status: TransferStatus::UploadedSuccessfully,
            owner: Owner {
                id: UserId(Uuid::nil()),
                name: "anna".to_owned(),
            },
            pool: None,
            batch: None,
            captured_at: None,
            received_at: Timestamp::UNIX_EPOCH,
            stored_at: None,
            attempts: 1,
            reason: None,
            title: None,
            description: None,
            tags: Vec::new(),
        };
        let row = row(&file, &TimeZone::UTC, true);
        assert!(
            row.contains(
                "1970-01-01 00:00:00  uploaded_successfully    2.00 KiB  anna/a\u{fffd}[2Jb.txt"
            ),
            "{row}"
        );
        assert_eq!(row.find("1970"), HEADER.find("RECEIVED"));
        assert_eq!(row.find("uploaded"), HEADER.find("STATUS"));
        assert_eq!(row.find("anna"), HEADER.find("NAME"));
    }
}
