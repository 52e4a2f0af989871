//! A database in MongoDB, as the adapters on it share it: safe concerns, a deadline for every call, indexes before use.
//!
//! What the URL says of concerns and read preference does not count: a write is answered when a majority of the replica set
//! has it in its journal, and reads see what a majority has, at the primary. MongoDB need not be there when a database is
//! opened; connections come back by themselves.

mod trouble;

pub use trouble::Trouble;

use mongodb::{
    Client, Database, IndexModel,
    bson::{RawDocumentBuf, doc},
    error::ErrorKind,
    options::{
        Acknowledgment, ClientOptions, ConnectionString, HostInfo, IndexOptions, ReadConcern,
        ReadPreference, SelectionCriteria, WriteConcern,
    },
};
use std::{future::IntoFuture, time::Duration};
use tokio::sync::OnceCell;

/// How long a small question or change may take, the choice of a server included.
pub const SMALL: Duration = Duration::from_secs(5);

/// How long a call with content, or over many documents, may take.
pub const LARGE: Duration = Duration::from_secs(30);

/// How long the choice of a server, or a connection, may take.
const CONNECT: Duration = Duration::from_secs(4);

/// How often a server is looked at that answers.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// A database, with the indexes that it is to have.
pub struct Mongo {
    address: ConnectionString,
    database: String,
    indexes: Vec<(&'static str, Vec<IndexModel>)>,
    client: OnceCell<Client>,
    ready: OnceCell<Database>,
}

/// Why a database cannot be opened, now or ever.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refused(String);

/// Whether `url` is one of MongoDB.
#[must_use]
pub fn is_mongodb(url: &str) -> bool {
    url.starts_with("mongodb://") || url.starts_with("mongodb+srv://")
}

/// An index on `keys`, which are given in order, ascending.
#[must_use]
pub fn index(name: &str, keys: &[&str], unique: bool) -> IndexModel {
    let mut document = doc! {};
    for key in keys {
        document.insert(*key, 1);
    }
    let options = IndexOptions::builder()
        .name(name.to_owned())
        .unique(unique.then_some(true))
        .build();
    IndexModel::builder()
        .keys(document)
        .options(options)
        .build()
}

impl Mongo {
    /// The database that `url` names: `mongodb://host:port/<database>`, or `mongodb+srv://`. When MongoDB is there, so are
    /// the `indexes` (collection by collection) afterwards; when it is away, they are made before the first use.
    ///
    /// # Errors
    /// When the URL makes no sense, names no database, or MongoDB refuses for good: a wrong password, no replica set.
    pub async fn open(
        url: &str,
        indexes: Vec<(&'static str, Vec<IndexModel>)>,
    ) -> Result<Self, Refused> {
        let address = ConnectionString::parse(url);
        let address =
            address.map_err(|error| Refused(format!("the URL of MongoDB: {}", plain(&error))))?;
        let database = address.default_database.clone().ok_or_else(|| {
            Refused("it names no database: mongodb://<host>:<port>/<database>".to_owned())
        })?;
        let mongo = Self {
            address,
            database,
            indexes,
            client: OnceCell::new(),
            ready: OnceCell::new(),
        };
        match mongo.database().await {
            Ok(_) => Ok(mongo),
            Err(Trouble::Unreachable(reason) | Trouble::Full(reason)) => {
                tracing::warn!(reason, database = %mongo, "MongoDB can't be used yet, going on without");
                Ok(mongo)
            }
            Err(trouble) => Err(Refused(format!("{mongo}: {trouble}"))),
        }
    }

    /// The database, with its indexes.
    ///
    /// # Errors
    /// When they can't be made sure of now.
    pub async fn database(&self) -> Result<&Database, Trouble> {
        if let Some(ready) = self.ready.get() {
            return Ok(ready);
        }
        // Callers wait for one another here; the limit is for the whole of it.
        within(LARGE, async {
            Ok(self.ready.get_or_try_init(|| self.prepare()).await)
        })
        .await?
    }

    /// Whether there is a primary that takes writes.
    ///
    /// # Errors
    /// When there is none.
    pub async fn ping(&self) -> Result<(), Trouble> {
        let database = self.database().await?;
        let hello = within(SMALL, database.run_command(doc! { "hello": 1 })).await?;
        match hello.get_bool("isWritablePrimary") {
            Ok(true) => Ok(()),
            _ => Err(Trouble::Unreachable(
                "it has no primary that takes writes".to_owned(),
            )),
        }
    }

    /// Several processes may do this at once: to make an index that is there is no error.
    async fn prepare(&self) -> Result<Database, Trouble> {
        let client = self.client.get_or_try_init(|| self.connect()).await?;
        let database = client.database(&self.database);
        let hello = within(SMALL, database.run_command(doc! { "hello": 1 })).await?;
        if !hello.contains_key("setName") && hello.get_str("msg").ok() != Some("isdbgrid") {
            return Err(Trouble::Denied(
                "this MongoDB is no replica set; one of a single member is enough (--replSet, then rs.initiate())".to_owned(),
            ));
        }
        for (collection, indexes) in &self.indexes {
            let collection = database.collection::<RawDocumentBuf>(collection);
            within(LARGE, collection.create_indexes(indexes.clone())).await?;
        }
        Ok(database)
    }

    async fn connect(&self) -> Result<Client, Trouble> {
        // Resolving the hosts of `mongodb+srv` takes a name server.
        let mut options = within(SMALL, ClientOptions::parse(self.address.clone())).await?;
        options.app_name.get_or_insert_with(|| "sluice".to_owned());
        options.connect_timeout = Some(CONNECT);
        options.server_selection_timeout = Some(CONNECT);
        options.heartbeat_freq = Some(HEARTBEAT);
        options.read_concern = Some(ReadConcern::majority());
        options.selection_criteria =
            Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
        let safe = WriteConcern::builder()
            .w(Acknowledgment::Majority)
            .journal(true);
        options.write_concern = Some(safe.build());
        Client::with_options(options).map_err(|error| Trouble::from(&error))
    }
}

/// The hosts of the database, for people: no user, no password.
impl std::fmt::Display for Mongo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.address.host_info {
            HostInfo::HostIdentifiers(hosts) => {
                let hosts: Vec<_> = hosts.iter().map(ToString::to_string).collect();
                write!(f, "mongodb://{}/{}", hosts.join(","), self.database)
            }
            HostInfo::DnsRecord(name) => write!(f, "mongodb+srv://{name}/{}", self.database),
            _ => write!(f, "mongodb:{}", self.database),
        }
    }
}

/// Waits for a call, at most for `limit`.
///
/// # Errors
/// What the call's failure means; [`Trouble::Unreachable`] after `limit`.
pub async fn within<T>(
    limit: Duration,
    call: impl IntoFuture<Output = mongodb::error::Result<T>>,
) -> Result<T, Trouble> {
    match tokio::time::timeout(limit, call.into_future()).await {
        Ok(answer) => answer.map_err(|error| Trouble::from(&error)),
        Err(_) => Err(Trouble::silent(limit)),
    }
}

/// What went wrong, without the labels and sources that belong to the driver.
fn plain(error: &mongodb::error::Error) -> String {
    match &*error.kind {
        ErrorKind::InvalidArgument { message, .. } => message.clone(),
        kind => kind.to_string(),
    }
}
