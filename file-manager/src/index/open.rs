//! From a URL to the index that it names.

use super::{Index, IndexError, mongodb::MongoIndex, sqlite::SqliteIndex};
use service_kit::database::{Database, InvalidUrl};
use std::{num::NonZeroU32, path::PathBuf};
use storage::mongo;

/// The index of files cannot be opened. No text tells a password.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No adapter has this scheme.
    #[error(
        "there is no index of files for `{0}:`, write sqlite:<path> or mongodb://user:password@host:port/database"
    )]
    Scheme(String),
    /// The URL names no file.
    #[error("the index of files: {0}")]
    Url(InvalidUrl),
    /// The file cannot be used.
    #[error("the index of files {} cannot be opened: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: IndexError,
    },
    /// MongoDB refuses for good, or its URL makes no sense.
    #[error("the index of files cannot be opened: {0}")]
    Mongo(#[from] mongo::Refused),
}

/// Opens the index that `url` names: `sqlite:<path>`, made if it is not there, or `mongodb://<host>:<port>/<database>`, where
/// MongoDB need not be there yet. At most `readers` connections read a file at once.
///
/// # Errors
/// [`OpenError`].
pub(crate) async fn open(url: &str, readers: NonZeroU32) -> Result<Box<dyn Index>, OpenError> {
    if mongo::is_mongodb(url) {
        return Ok(Box::new(MongoIndex::open(url).await?));
    }
    let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
    if scheme != "sqlite" {
        return Err(OpenError::Scheme(scheme.to_owned()));
    }
    match Database::parse(url).map_err(OpenError::Url)? {
        Database::Sqlite(path) => match SqliteIndex::open(&path, readers).await {
            Ok(index) => Ok(Box::new(index)),
            Err(source) => Err(OpenError::File { path, source }),
        },
        Database::Postgres(_) => Err(OpenError::Scheme(scheme.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_url_picks_the_adapter() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("index.db").display());
        let index = open(&url, NonZeroU32::MIN).await.unwrap();
        index.ping().await.unwrap();
        for (url, told) in [
            ("", "`:`"),
            ("index.db", "`:`"),
            ("postgres://ada:secret@db/x", "`postgres:`"),
            ("redis://ada:secret@db/x", "`redis:`"),
            ("sqlite:", "names no file"),
            ("mongodb://ada:secret@db:1/", "names no database"),
            ("mongodb://ada:secret@db:port/x", "URL"),
        ] {
            let refused = open(url, NonZeroU32::MIN).await.err();
            let refused = refused
                .unwrap_or_else(|| panic!("{url:?} was opened"))
                .to_string();
            assert!(refused.contains(told), "{url:?}: {refused}");
            assert!(!refused.contains("secret"), "{refused}");
        }
    }
}
