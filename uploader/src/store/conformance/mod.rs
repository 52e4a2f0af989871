//! What every adapter of the port has to do, as one suite that runs over each of them.

mod changes;
mod listing;
mod log;
mod opening;
mod outbox;
pub(super) mod server;
mod sharing;
mod sweeping;

use super::{Change, Signals, Store, StoreError};
use jiff::Timestamp;
use protocol::{
    Digest, DigestAlgorithm, FileId, TenantId, TransferStatus, UploadId, UserId,
    identity::Owner,
    upload::{FileMeta, Published, Upload},
};
use sqlx::Connection;
use std::{num::NonZeroU32, sync::Arc};
use tempfile::TempDir;
use tokio::sync::mpsc;

const READERS: NonZeroU32 = NonZeroU32::new(2).unwrap();

/// A store, and what its signals say.
struct Fresh {
    store: Arc<dyn Store>,
    signals: Arc<Signals>,
    news: mpsc::Receiver<Vec<Published>>,
    database: Arc<Database>,
}

/// Where a store is; gone with the last that holds it.
enum Database {
    File(TempDir),
    Server(server::Database),
}

async fn sqlite() -> Fresh {
    Fresh::over(Arc::new(Database::File(tempfile::tempdir().unwrap()))).await
}

async fn postgres() -> Fresh {
    Fresh::over(Arc::new(Database::Server(server::Database::create().await))).await
}

/// One test per case, over each adapter named.
macro_rules! run_over {
    ($($adapter:ident),* => $cases:tt) => {
        $(run_over!(@ $adapter $cases);)*
    };
    (@ $adapter:ident {$($group:ident::{$($case:ident),* $(,)?})*}) => {
        mod $adapter {
            $(mod $group {
                $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    super::super::$group::$case(super::super::$adapter().await).await;
                })*
            })*
        }
    };
}

run_over!(sqlite, postgres => {
    opening::{
        what_is_opened_is_found_whole,
        a_key_opens_one_upload_per_owner,
        a_race_of_one_key_opens_one_upload,
        a_quota_counts_what_is_under_way_and_stored,
        a_quota_gets_back_what_is_not_stored,
        a_race_never_passes_the_quota,
    }
    changes::{
        each_change_starts_from_one_state_only,
        an_unknown_upload_is_not_changed,
        a_race_of_one_change_is_won_once,
        what_a_change_says_is_kept,
    }
    outbox::{
        attempts_are_taken_when_due_in_order,
        attempts_in_flight_are_bounded,
        a_lost_attempt_is_taken_again,
        an_attempt_that_may_not_be_queued_is_taken_again,
        a_new_process_takes_all_again,
        a_resolved_attempt_is_gone,
        a_change_of_the_outbox_is_signalled,
    }
    log::{
        changes_are_told_to_owner_and_admins,
        numbers_are_dense_in_a_race,
        a_page_is_a_stretch_of_the_log,
        an_epoch_is_made_once,
        tenants_have_admin_logs_of_their_own,
    }
    listing::{
        filters_give_what_a_plain_search_gives,
        pages_give_each_file_once,
        only_files_not_stored_are_listed,
    }
    sweeping::{
        overdue_uploads_are_open_ones_past_their_time,
        old_outcomes_are_purged_except_failed_files,
        statuses_are_of_known_uploads,
        logs_are_trimmed_from_the_beginning,
        an_emptied_log_goes_on_from_its_head,
    }
    sharing::{
        everything_is_kept_across_a_restart,
        a_newer_schema_is_refused,
    }
});

/// A time at a number of seconds.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).unwrap()
}

fn owner(name: &str) -> Owner {
    Owner {
        id: UserId::new(),
        name: name.to_owned(),
    }
}

fn digest(byte: u8) -> Digest {
    Digest::new(DigestAlgorithm::Sha256, [byte; 32])
}

/// An upload of one byte that was opened at second 0 and expires at 100.
fn upload(owner: &Owner) -> Upload {
    Upload {
        upload_id: UploadId::new(),
        file_id: FileId::new(),
        owner: owner.clone(),
        tenant: TenantId::default(),
        meta: FileMeta {
            name: "photo.jpg".to_owned(),
            size: 1,
            content_type: None,
            digest: None,
            pool: None,
            captured_at: None,
            batch: None,
            title: None,
            description: None,
            tags: Vec::new(),
        },
        computed_digest: None,
        status: TransferStatus::Open,
        attempts: 0,
        reason: None,
        code: None,
        opened_at: at(0),
        expires_at: at(100),
        received_at: None,
    }
}

impl Database {
    async fn execute(&self, sql: &'static str) {
        match self {
            Self::File(_) => {
                let path = self.url();
                let file = sqlx::SqliteConnection::connect(&path).await;
                sqlx::raw_sql(sql)
                    .execute(&mut file.unwrap())
                    .await
                    .unwrap();
            }
            Self::Server(database) => database.execute(sql).await,
        }
    }

    fn url(&self) -> String {
        match self {
            Self::File(dir) => format!("sqlite:{}", dir.path().join("uploads.db").display()),
            Self::Server(database) => database.url(),
        }
    }
}

impl Fresh {
    async fn over(database: Arc<Database>) -> Self {
        Self::open(database).await.unwrap()
    }

    async fn open(database: Arc<Database>) -> Result<Self, StoreError> {
        let (signals, news) = Signals::new();
        let signals = Arc::new(signals);
        let store = super::open(&database.url(), READERS, Arc::clone(&signals)).await?;
        Ok(Self {
            store,
            signals,
            news,
            database,
        })
    }

    /// Opens an upload without key and quota.
    async fn opened(&self, upload: Upload) -> Upload {
        let opened = self.store.open(&upload, None, None).await.unwrap();
        assert_eq!(opened, super::Opened::Created);
        upload
    }

    /// Makes a change that is possible; answers the upload after it.
    async fn changed(&self, id: UploadId, change: Change, time: Timestamp) -> Upload {
        let applied = self
            .store
            .apply(id, change.clone(), time)
            .await
            .unwrap()
            .unwrap();
        assert!(applied.changed, "{change:?} from {}", applied.upload.status);
        applied.upload
    }

    /// Opens an upload and makes it a file at a time.
    async fn cached(&self, upload: Upload, time: Timestamp) -> Upload {
        let id = self.opened(upload).await.upload_id;
        self.changed(id, Change::Cache { digest: digest(1) }, time)
            .await
    }

    /// Takes from the outbox all that is due at a time; answers the ids and attempts.
    async fn dispatched(&self, now: Timestamp) -> Vec<(UploadId, u32)> {
        let all = super::Dispatch {
            now,
            queued: Vec::new(),
            lost_before: at(-1),
            unqueued_before: at(-1),
            max_in_flight: 1_000,
            limit: 1_000,
        };
        let taken = self.store.dispatch(all).await.unwrap();
        taken
            .work
            .iter()
            .map(|work| (work.upload.upload_id, work.attempt))
            .collect()
    }

    /// Brings an upload from `open` to a status.
    async fn brought_to(&self, status: TransferStatus, time: Timestamp) -> Upload {
        let upload = self.opened(upload(&owner("anna"))).await;
        let id = upload.upload_id;
        let refusal = protocol::Refusal::bare(protocol::ErrorCode::TypeForbidden);
        match status {
            TransferStatus::Open => return upload,
            TransferStatus::Rejected => {
                return self.changed(id, Change::Reject(refusal), time).await;
            }
            TransferStatus::Aborted => return self.changed(id, Change::Abort, time).await,
            TransferStatus::Expired => return self.changed(id, Change::Expire, time).await,
            _ => {}
        }
        let cached = self
            .changed(id, Change::Cache { digest: digest(1) }, time)
            .await;
        if status == TransferStatus::Cached {
            return cached;
        }
        assert!(self.dispatched(time).await.contains(&(id, 1)));
        let reason = "disk on fire".to_owned();
        match status {
            TransferStatus::Retrying => {
                self.changed(
                    id,
                    Change::Retry {
                        attempt: 1,
                        reason,
                        due_at: at(50),
                    },
                    time,
                )
                .await
            }
            TransferStatus::UploadedSuccessfully => {
                self.changed(id, Change::Store { attempt: 1 }, time).await
            }
            TransferStatus::UploadFailed => {
                self.changed(id, Change::Fail { attempt: 1, reason }, time)
                    .await
            }
            _ => self.store.upload(id).await.unwrap().unwrap(),
        }
    }
}
