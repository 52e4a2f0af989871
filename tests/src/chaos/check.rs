//! Whether every file that was reported as held is there exactly once, in every place where it belongs.

use super::{
    Case,
    load::{Customer, Ended, Heard, Verdict},
    report::Outcome,
    stage::Stage,
};
use crate::{account::Account, chunk_keys, socket::Socket};
use client::FileOutcome;
use futures::AsyncReadExt;
use mongodb::bson::{Bson, Document, doc};
use protocol::UploadId;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

/// How long the last traces may take to go.
const SETTLING: Duration = Duration::from_secs(60);

/// What is told of a file, once each.
const STORY: [&str; 2] = ["file.cached", "file.uploaded_successfully"];

/// Looks at everything, and notes what is wrong.
pub(super) async fn everything(
    stage: &mut Stage,
    ended: Ended,
    case: &Case,
    outcome: &mut Outcome,
) {
    let Ended {
        verdicts,
        customers,
        ..
    } = ended;
    let mut file_ids = BTreeMap::new();
    for (number, customer) in customers.into_iter().enumerate() {
        let own: Vec<_> = verdicts.iter().filter(|own| own.client == number).collect();
        let files = customer.account.files().await;
        index(&own, &files, case, outcome);
        file_ids.extend(stored(&own).filter_map(|(verdict, file)| {
            Some((file.file_id?.to_string(), verdict.digest.to_string()))
        }));
        notifications(customer, &own, outcome).await;
    }
    blobs(stage, &file_ids, outcome).await;
    cache(stage, outcome).await;
    for process in stage.ended_by_themselves() {
        outcome
            .failures
            .push(format!("{process} has ended by itself"));
    }
    outcome.errors_logged = stage.errors_logged();
}

fn stored<'a>(own: &'a [&Verdict]) -> impl Iterator<Item = (&'a Verdict, FileOutcome)> {
    own.iter()
        .filter_map(|verdict| Some((*verdict, verdict.stored?.1)))
}

/// One entry for each file, stored, with the right digest.
fn index(own: &[&Verdict], files: &[Value], case: &Case, outcome: &mut Outcome) {
    let mut entries: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for file in files {
        let name = file["name"].as_str().unwrap_or_default();
        entries.entry(name).or_default().push(file);
    }
    for verdict in own {
        let found = entries.remove(&*verdict.name).unwrap_or_default();
        let [file] = found[..] else {
            let complaint = format!("{} is listed {} times", verdict.name, found.len());
            outcome.failures.push(complaint);
            continue;
        };
        if file["status"] != "uploaded_successfully" || file["digest"] != verdict.digest.to_string()
        {
            outcome
                .failures
                .push(format!("{} is listed as {file}", verdict.name));
        }
        if file["attempts"] != 1 {
            outcome.tried_again += 1;
            if case.counts_no_attempt() {
                outcome
                    .failures
                    .push(format!("attempts were counted: {file}"));
            }
        }
    }
    for name in entries.keys() {
        outcome
            .failures
            .push(format!("{name} is listed and was never sent"));
    }
}

/// Each story told once, to who listened all the time and to who asks for it now.
async fn notifications(customer: Customer, own: &[&Verdict], outcome: &mut Outcome) {
    let wanted: BTreeSet<UploadId> = stored(own).map(|(_, file)| file.upload_id).collect();
    let end = |upload: &UploadId| (*upload, STORY[1].to_owned());
    let account = customer.account.clone();
    let heard = customer
        .leave(|heard| wanted.iter().all(|upload| heard.contains_key(&end(upload))))
        .await;
    let logged = log_of(&account).await;
    for (whom, told) in [("live", heard), ("in the log", logged)] {
        for upload in &wanted {
            for event in STORY {
                let times = told.get(&(*upload, event.to_owned())).copied().unwrap_or(0);
                if times != 1 {
                    let complaint = format!("{event} of {upload} was told {times} times {whom}");
                    outcome.failures.push(complaint);
                }
            }
        }
        let others = told
            .keys()
            .filter(|(upload, event)| !wanted.contains(upload) || event == "file.upload_failed");
        for (upload, event) in others {
            outcome
                .failures
                .push(format!("{event} of {upload} was told {whom}"));
        }
    }
}

/// Everything that the log holds for this user.
async fn log_of(account: &Account) -> Heard {
    let (_, connected) = Socket::connect_since(account, Value::Null).await;
    let topic = connected["topics"][0].clone();
    let name = topic["topic"].as_str().unwrap_or_default().to_owned();
    let from_the_beginning = json!({name: {"epoch": topic["epoch"], "offset": 0}});
    let (mut socket, _) = Socket::connect_since(account, from_the_beginning).await;
    let mut heard = Heard::new();
    for _ in 0..topic["offset"].as_u64().unwrap_or_default() {
        let told = socket.receive_notification().await;
        let upload = told["data"]["upload_id"].as_str();
        if let Some(upload) = upload.and_then(|upload| upload.parse().ok()) {
            let event = told["event"].as_str().unwrap_or_default().to_owned();
            *heard.entry((upload, event)).or_default() += 1;
        }
    }
    heard
}

/// One blob for each file, with its digest, as any client of GridFS reads it; and no other since the last case.
async fn blobs(stage: &mut Stage, file_ids: &BTreeMap<String, String>, outcome: &mut Outcome) {
    let client = mongodb::Client::with_uri_str(stage.engines.mongodb.url()).await;
    let database = match client {
        Ok(client) => client.database(stage.namespace.name()),
        Err(error) => return outcome.failures.push(format!("MongoDB: {error}")),
    };
    let ids = database
        .collection::<Document>("fs.files")
        .distinct("_id", doc! {})
        .await;
    let ids = ids.unwrap_or_default();
    let ids: BTreeSet<String> = ids
        .iter()
        .filter_map(Bson::as_str)
        .map(str::to_owned)
        .collect();
    for extra in ids
        .iter()
        .filter(|id| !stage.blobs.contains(*id) && !file_ids.contains_key(*id))
    {
        outcome
            .failures
            .push(format!("there is a blob {extra} and no such file"));
    }
    let bucket = database.gridfs_bucket(None);
    for (id, digest) in file_ids {
        let found = async {
            let mut stream = bucket
                .open_download_stream(Bson::String(id.clone()))
                .await?;
            let mut data = Vec::new();
            stream.read_to_end(&mut data).await?;
            mongodb::error::Result::Ok(crate::content::sha256(&data).to_string())
        };
        match found.await {
            Ok(found) if found == *digest => {}
            Ok(found) => outcome
                .failures
                .push(format!("the blob {id} has {found}, not {digest}")),
            Err(error) => outcome.failures.push(format!("the blob {id}: {error}")),
        }
    }
    stage.blobs = ids;
}

/// Nothing is left in the chunk cache.
async fn cache(stage: &Stage, outcome: &mut Outcome) {
    let deadline = Instant::now() + SETTLING;
    loop {
        let left = chunk_keys::uploads(stage.engines.redis.url(), stage.namespace.name());
        if left.is_empty() {
            return;
        }
        if Instant::now() > deadline {
            return outcome
                .failures
                .push(format!("the cache still holds {left:?}"));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
