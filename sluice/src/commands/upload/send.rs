//! Sends one file and follows it.

use super::{Wait, find::ToSend, report::FileReport, screen::Screen};
use crate::commands::{account::Account, client::printable};
use client::{Client, Connection, FileOutcome, Keys, Source, Upload, UploadError, UploadHandle};
use jiff::Timestamp;
use protocol::upload::FileMeta;
use std::{convert::Infallible, path::Path, sync::Arc};
use tokio::sync::watch;

/// How often a file is sent in one run: the server may lose what it held before it was stored.
const MAX_SENDS: u32 = 2;

/// How files are sent.
pub(super) struct Sending {
    client: Client,
    user: String,
    again: bool,
    wait: Wait,
}

impl Sending {
    pub(super) fn new(client: Client, account: &Account, again: bool, wait: Wait) -> Self {
        Self {
            client,
            user: account.login.user_id.to_string(),
            again,
            wait,
        }
    }

    pub(super) fn connection(&self) -> watch::Receiver<Connection> {
        self.client.connection()
    }

    /// Sends a file and waits until it is where it should be.
    pub(super) async fn send(&self, file: ToSend, screen: &Screen) -> FileReport {
        let mut result = self.try_send(&file, screen).await;
        for _ in 1..MAX_SENDS {
            let Err(error @ UploadError::NotStored { .. }) = &result else {
                break;
            };
            let name = printable(&file.path.to_string_lossy());
            screen.remark(&format!("{name}: {error}; sending it again"));
            result = self.try_send(&file, screen).await;
        }
        screen.done(&file, &result);
        FileReport {
            path: file.path,
            size: file.size,
            result,
            problem: None,
        }
    }

    async fn try_send(&self, file: &ToSend, screen: &Screen) -> Result<FileOutcome, UploadError> {
        let source = Source::file(&file.canonical)
            .await
            .map_err(|error| UploadError::Unreadable(Arc::new(error)))?;
        let meta = describe(&source, &file.canonical);
        let keys = keys(&self.user, &file.canonical, &meta);
        let upload = Upload::new(source, meta).keys(keys).again(self.again);
        let mut handle = self
            .client
            .upload(upload)
            .await
            .map_err(UploadError::Session)?;
        let progress = handle.progress();
        // The last progress may be seen before the result, which is what ends the waiting.
        let shown = async {
            show(progress, file, screen).await;
            std::future::pending::<Infallible>().await
        };
        let reached = reach(&mut handle, self.wait);
        tokio::select! {
            biased;
            result = reached => result,
            never = shown => match never {},
        }
    }
}

async fn reach(handle: &mut UploadHandle, wait: Wait) -> Result<FileOutcome, UploadError> {
    match wait {
        Wait::Cached => handle.cached().await,
        Wait::Stored => handle.stored().await,
    }
}

/// Shows the progress until there is none any more.
async fn show(mut progress: watch::Receiver<client::Progress>, file: &ToSend, screen: &Screen) {
    loop {
        screen.progress(file, &progress.borrow_and_update());
        if progress.changed().await.is_err() {
            return;
        }
    }
}

/// What the server is told of a file.
fn describe(source: &Source, path: &Path) -> FileMeta {
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let content_type = mime_guess::from_path(path).first_raw().map(str::to_owned);
    FileMeta {
        content_type,
        ..source.meta(name)
    }
}

/// The keys of this state of this file: the same command again finds the same uploads, and a changed file is another one.
/// All that the server is told belongs to them, since a key stands for one description. Its address does not: the id of the
/// user says which installation it is, and what was begun at one of its gateways goes on at any other.
fn keys(user: &str, path: &Path, meta: &FileMeta) -> Keys {
    let modified = meta
        .captured_at
        .map_or_else(String::new, |time: Timestamp| {
            time.as_nanosecond().to_string()
        });
    let size = meta.size.to_string();
    let content_type = meta.content_type.as_deref().unwrap_or_default();
    let path = path.as_os_str().as_encoded_bytes();
    let facts: [&[u8]; 6] = [
        b"sluice upload",
        user.as_bytes(),
        path,
        size.as_bytes(),
        modified.as_bytes(),
        content_type.as_bytes(),
    ];
    Keys::derived(facts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_is_known_again_until_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("photo.jpg");
        std::fs::write(&path, "1").unwrap();
        let key = async |user: &str| {
            let meta = describe(&Source::file(&path).await.unwrap(), &path);
            keys(user, &path, &meta).current()
        };
        let first = key("anna").await;
        assert_eq!(first, key("anna").await);
        assert_ne!(first, key("berta").await);
        std::fs::File::options()
            .append(true)
            .open(&path)
            .unwrap()
            .set_modified(std::time::SystemTime::UNIX_EPOCH)
            .unwrap();
        let touched = key("anna").await;
        assert_ne!(first, touched);
    }

    #[tokio::test]
    async fn the_server_is_told_name_and_type() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("photo.jpg");
        std::fs::write(&path, "1").unwrap();
        let meta = describe(&Source::file(&path).await.unwrap(), &path);
        assert_eq!(
            (meta.name.as_str(), meta.content_type.as_deref(), meta.size),
            ("photo.jpg", Some("image/jpeg"), 1)
        );
        assert!(meta.captured_at.is_some());
    }
}
