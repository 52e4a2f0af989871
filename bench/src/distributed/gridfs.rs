//! The floor of storing: a bare loader of GridFS, which writes the same files from memory with the same concern, in parallel.

use super::{
    site,
    uploads::{Load, figures_of},
};
use crate::{
    Result,
    lab::Lab,
    scenario::{Contender, Part, Sample, Skip},
    upload::Plan,
};
use async_trait::async_trait;
use bytes::Bytes;
use mongodb::{
    Client, Collection, Database, IndexModel,
    bson::{
        Binary, DateTime, RawDocumentBuf, doc, oid::ObjectId, raw::cstr, rawdoc,
        spec::BinarySubtype,
    },
    options::{Acknowledgment, IndexOptions, WriteConcern},
};
use std::sync::Arc;
use tokio::task::JoinSet;

/// Bytes of a chunk, as Sluice writes them.
const CHUNK: usize = 1 << 20;

/// Files under way at once.
const PARALLEL: usize = 16;

/// Bytes of one insert at most.
const BATCH: usize = 4 * CHUNK;

pub(super) struct GridFs(pub(super) Load);

#[async_trait]
impl Contender for GridFs {
    fn name(&self) -> String {
        "floor, GridFS loader".to_owned()
    }

    fn part(&self) -> Part {
        Part::Floor
    }

    async fn prepare(&mut self, lab: &Lab) -> Result<String, Skip> {
        site::prepare(lab)?;
        Ok(format!(
            "{PARALLEL} files at once from memory, chunks of 1 MiB in unordered inserts, w: majority, j: true"
        ))
    }

    async fn round(&mut self, lab: &Lab) -> Result<Sample> {
        let plan = self.0.plan();
        let site = self.0.site.get(lab).await?;
        let client = Client::with_uri_str(site.engines.mongodb.url()).await?;
        let database = client.database("floor");
        let bucket = Bucket::make(&database).await?;
        plan.prepare();
        lab.settle().await;
        let meters = site.meters()?;
        load(&bucket, &plan).await?;
        let wall = meters.elapsed();
        let bill = meters.stop()?;
        database.drop().await?;
        Ok(figures_of(&plan, wall, &bill, None))
    }
}

#[derive(Clone)]
struct Bucket {
    files: Collection<RawDocumentBuf>,
    chunks: Collection<RawDocumentBuf>,
}

impl Bucket {
    async fn make(database: &Database) -> Result<Self> {
        let concern = WriteConcern::builder()
            .w(Acknowledgment::Majority)
            .journal(true)
            .build();
        let collection = |name| {
            let options = mongodb::options::CollectionOptions::builder()
                .write_concern(concern.clone())
                .build();
            database.collection_with_options(name, options)
        };
        let bucket = Self {
            files: collection("fs.files"),
            chunks: collection("fs.chunks"),
        };
        let unique = IndexOptions::builder().unique(true).build();
        let index = IndexModel::builder()
            .keys(doc! { "files_id": 1, "n": 1 })
            .options(unique)
            .build();
        bucket.chunks.create_index(index).await?;
        let index = IndexModel::builder()
            .keys(doc! { "filename": 1, "uploadDate": 1 })
            .build();
        bucket.files.create_index(index).await?;
        Ok(bucket)
    }

    async fn put(&self, content: &Bytes) -> Result<()> {
        let id = ObjectId::new();
        for (batch, part) in content.chunks(BATCH).enumerate() {
            let chunks = part.chunks(CHUNK).enumerate().map(|(number, data)| {
                let mut chunk = RawDocumentBuf::new();
                chunk.append(cstr!("_id"), ObjectId::new());
                chunk.append(cstr!("files_id"), id);
                #[allow(
                    clippy::cast_possible_truncation,
                    clippy::cast_possible_wrap,
                    reason = "it is small"
                )]
                chunk.append(cstr!("n"), (batch * (BATCH / CHUNK) + number) as i32);
                let data = Binary {
                    subtype: BinarySubtype::Generic,
                    bytes: data.to_vec(),
                };
                chunk.append(cstr!("data"), data);
                chunk
            });
            let chunks: Vec<_> = chunks.collect();
            self.chunks.insert_many(chunks).ordered(false).await?;
        }
        let entry = rawdoc! {
            "_id": id,
            "length": i64::try_from(content.len())?,
            "chunkSize": i32::try_from(CHUNK)?,
            "uploadDate": DateTime::now(),
            "filename": id.to_hex(),
        };
        self.files.insert_one(entry).await?;
        Ok(())
    }
}

async fn load(bucket: &Bucket, plan: &Arc<Plan>) -> Result<()> {
    let mut under_way = JoinSet::new();
    for client in 0..plan.clients {
        for file in 0..plan.files_per_client {
            if under_way.len() == PARALLEL
                && let Some(put) = under_way.join_next().await
            {
                put??;
            }
            let (bucket, plan) = (bucket.clone(), plan.clone());
            under_way.spawn(async move { bucket.put(plan.body(client, file).plain()).await });
        }
    }
    while let Some(put) = under_way.join_next().await {
        put??;
    }
    Ok(())
}
