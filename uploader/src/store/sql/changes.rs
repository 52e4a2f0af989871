//! Changes of uploads' states, with all that they bring about.

use super::{
    Connection, Db, log, outbox, rows,
    set::push_values,
    uploads,
    writer::{Set, Tx},
};
use crate::{
    clock::whole_micros,
    store::{Applied, Change, Outbox, StoreError},
};
use futures::future::BoxFuture;
use jiff::Timestamp;
use protocol::{UploadId, upload::Upload};
use sqlx::QueryBuilder;
use std::collections::HashMap;

/// A change to be made.
pub(super) struct Apply {
    pub(super) id: UploadId,
    pub(super) change: Change,
    pub(super) at: Timestamp,
}

impl Set for Apply {
    type Answer = Option<Applied>;

    fn run<'t>(
        tx: &'t mut Tx,
        asked: Vec<&'t Self>,
    ) -> BoxFuture<'t, Result<Vec<Option<Applied>>, StoreError>> {
        Box::pin(apply(tx, asked))
    }
}

/// Decides, in the order in which they were asked for, which changes are made, and writes what comes of them. Nobody else
/// writes meanwhile, so that what was read still holds.
async fn apply(tx: &mut Tx, asked: Vec<&Apply>) -> Result<Vec<Option<Applied>>, StoreError> {
    let ids = asked.iter().map(|one| one.id).collect();
    let mut uploads = uploads::by_ids(&mut tx.db, &ids).await?;
    let mut brought = Brought::default();
    let mut answers = Vec::with_capacity(asked.len());
    for Apply { id, change, at } in asked {
        let Some(upload) = uploads.get_mut(id) else {
            answers.push(None);
            continue;
        };
        let at = whole_micros(*at);
        let changed = change.make(upload, at);
        if changed {
            upload.reason = upload.reason.take().map(rows::text);
            brought.note(upload, change, at);
        }
        answers.push(Some(Applied {
            upload: upload.clone(),
            changed,
        }));
    }
    brought.write(tx).await?;
    Ok(answers)
}

/// What changes have brought about: of each upload what holds in the end, and all that is told, in order.
#[derive(Default)]
struct Brought {
    uploads: HashMap<UploadId, Changed>,
    bytes: HashMap<protocol::UserId, i64>,
    told: Vec<log::Event>,
}

/// An upload after its last change.
struct Changed {
    upload: Upload,
    ended_at: Option<Timestamp>,
    outbox: Outbox,
}

impl Brought {
    fn note(&mut self, upload: &Upload, change: &Change, at: Timestamp) {
        let before = self.uploads.get(&upload.upload_id);
        let outbox = match (change.outbox(at), before) {
            (Outbox::Keep, Some(before)) => before.outbox,
            (outbox, _) => outbox,
        };
        let changed = Changed {
            upload: upload.clone(),
            ended_at: upload.status.is_final().then_some(at),
            outbox,
        };
        self.uploads.insert(upload.upload_id, changed);
        if change.gives_bytes_back() {
            *self.bytes.entry(upload.owner.id).or_default() -= rows::sql(upload.meta.size);
        }
        if let Some(event) = change.event() {
            self.told.push(log::Event::of(upload, event, at));
        }
    }

    async fn write(self, tx: &mut Tx) -> Result<(), StoreError> {
        let changed: Vec<Changed> = self.uploads.into_values().collect();
        update(&mut tx.db, &changed).await?;
        let (mut due, mut resolved) = (Vec::new(), Vec::new());
        for changed in changed {
            let id = changed.upload.upload_id;
            match changed.outbox {
                Outbox::Keep => {}
                Outbox::Put { attempt, due_at } => due.push((id, attempt, due_at)),
                Outbox::Remove => resolved.push(id),
            }
        }
        outbox::put(tx, &due).await?;
        outbox::remove(tx, &resolved).await?;
        uploads::count_bytes(&mut tx.db, self.bytes).await?;
        log::tell(tx, self.told).await
    }
}

async fn update(db: &mut Connection, changed: &[Changed]) -> Result<(), StoreError> {
    if changed.is_empty() {
        return Ok(());
    }
    let mut sql = QueryBuilder::<Db>::new(
        "UPDATE uploads SET status = column2, reason = column3, code = column4, ended_at = column5, \
         computed_digest = column6, received_at = column7 FROM ",
    );
    let key = |changed: &Changed| changed.upload.upload_id.to_string();
    push_values(
        &mut sql,
        changed,
        key,
        |row,
         Changed {
             upload, ended_at, ..
         }| {
            row.push_bind(upload.status.as_str());
            row.push_bind(&upload.reason);
            row.push_bind(upload.code.map(|code| code.as_str()));
            row.push_bind(ended_at.map(Timestamp::as_microsecond));
            row.push_bind(upload.computed_digest.map(|digest| digest.to_string()));
            row.push_bind(upload.received_at.map(Timestamp::as_microsecond));
        },
    );
    sql.push(" WHERE upload_id = column1");
    sql.build().execute(db).await?;
    Ok(())
}
