//! The stores of a process, each opened by the first role that needs it.

use crate::{Settings, StartError};
use service_kit::config::EngineUrl;
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};
use storage::{
    blobs::BlobStore,
    chunks::{ChunkCache, ChunkOptions},
    events::Events,
};
use tokio::sync::OnceCell;

/// Where a process keeps bytes and passes events, and the databases of its services. Clones share what is open.
#[derive(Clone)]
pub struct Stores {
    data: PathBuf,
    urls: Urls,
    options: ChunkOptions,
    chunks: Arc<OnceCell<Arc<dyn ChunkCache>>>,
    blobs: Arc<OnceCell<Arc<dyn BlobStore>>>,
    events: Arc<OnceCell<Arc<dyn Events>>>,
}

/// The URL of each store.
#[derive(Clone)]
struct Urls {
    chunks: EngineUrl,
    blobs: EngineUrl,
    events: EngineUrl,
    index: EngineUrl,
    users: EngineUrl,
    uploads: EngineUrl,
}

impl Stores {
    /// The stores that the settings name; those that they don't are in the data folder. Nothing is opened yet.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let within = |scheme: &str, name: &str| {
            EngineUrl::from(format!("{scheme}:{}", settings.data.join(name).display()))
        };
        let given = &settings.stores;
        let or = |url: &Option<EngineUrl>, default| url.clone().unwrap_or(default);
        Self {
            data: settings.data.clone(),
            urls: Urls {
                chunks: or(&given.chunks, within("disk", "chunks")),
                blobs: or(&given.blobs, within("disk", "blobs")),
                events: or(&given.events, EngineUrl::from("local:".to_owned())),
                index: or(&given.index, within("sqlite", "index.db")),
                users: or(&given.users, within("sqlite", "auth.db")),
                uploads: or(&given.uploads, within("sqlite", "uploads.db")),
            },
            options: settings.chunks.options(),
            chunks: Arc::default(),
            blobs: Arc::default(),
            events: Arc::default(),
        }
    }

    /// The same, with this chunk cache.
    #[must_use]
    pub fn with_chunks(mut self, chunks: Arc<dyn ChunkCache>) -> Self {
        self.chunks = Arc::new(OnceCell::new_with(Some(chunks)));
        self
    }

    /// The same, with this blob store.
    #[must_use]
    pub fn with_blobs(mut self, blobs: Arc<dyn BlobStore>) -> Self {
        self.blobs = Arc::new(OnceCell::new_with(Some(blobs)));
        self
    }

    /// The same, with this event engine.
    #[must_use]
    pub fn with_events(mut self, events: Arc<dyn Events>) -> Self {
        self.events = Arc::new(OnceCell::new_with(Some(events)));
        self
    }

    /// The chunk cache.
    ///
    /// # Errors
    /// When it can't be used, also because another process is using the folder.
    pub async fn chunks(&self) -> Result<Arc<dyn ChunkCache>, StartError> {
        let open = async || {
            self.prepare(&self.urls.chunks)?;
            Ok(storage::open_chunks(self.urls.chunks.expose(), &self.options).await?)
        };
        self.chunks.get_or_try_init(open).await.cloned()
    }

    /// The blob store.
    ///
    /// # Errors
    /// As [`chunks`](Self::chunks).
    pub async fn blobs(&self) -> Result<Arc<dyn BlobStore>, StartError> {
        let open = async || {
            self.prepare(&self.urls.blobs)?;
            Ok(storage::open_blobs(self.urls.blobs.expose()).await?)
        };
        self.blobs.get_or_try_init(open).await.cloned()
    }

    /// The event engine.
    ///
    /// # Errors
    /// When its URL makes no sense.
    pub async fn events(&self) -> Result<Arc<dyn Events>, StartError> {
        let open = async || Ok(storage::open_events(self.urls.events.expose()).await?);
        self.events.get_or_try_init(open).await.cloned()
    }

    /// The event engine, if it was opened.
    pub(crate) fn events_if_open(&self) -> Option<Arc<dyn Events>> {
        self.events.get().cloned()
    }

    /// The URL of the database of accounts.
    ///
    /// # Errors
    /// When the folder that it lies in can't be made.
    pub fn users(&self) -> Result<&str, StartError> {
        self.database(&self.urls.users)
    }

    /// The URL of the database of uploads.
    ///
    /// # Errors
    /// As [`users`](Self::users).
    pub fn uploads(&self) -> Result<&str, StartError> {
        self.database(&self.urls.uploads)
    }

    /// The URL of the index of stored files.
    ///
    /// # Errors
    /// As [`users`](Self::users).
    pub fn index(&self) -> Result<&str, StartError> {
        self.database(&self.urls.index)
    }

    fn database<'a>(&self, url: &'a EngineUrl) -> Result<&'a str, StartError> {
        self.prepare(url)?;
        Ok(url.expose())
    }

    /// Makes the data folder for a store that lies in the file system.
    fn prepare(&self, url: &EngineUrl) -> Result<(), StartError> {
        if !matches!(url.scheme(), "disk" | "sqlite") {
            return Ok(());
        }
        make_private(&self.data).map_err(|source| StartError::Data {
            path: self.data.clone(),
            source,
        })
    }

    /// The stores that several processes would have to share and can't, each with its setting.
    pub(crate) fn unshared(&self) -> impl Iterator<Item = (&'static str, &EngineUrl)> {
        [
            ("stores.chunks", &self.urls.chunks),
            ("stores.events", &self.urls.events),
        ]
        .into_iter()
        .filter(|(_, url)| matches!(url.scheme(), "disk" | "local"))
    }
}

/// Makes a folder, and those above it, that only its owner may look into: it holds signing keys and everybody's files. One
/// that is there keeps the rights that its owner gave it.
///
/// # Errors
/// Those of the file system.
pub fn make_private(folder: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_data_folder_is_made_for_its_owner_alone() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("above").join("data");
        make_private(&folder).unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700);
        std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o750)).unwrap();
        make_private(&folder).unwrap();
        assert_eq!(mode(&folder), 0o750, "what an operator has chosen stays");
    }
}
