//! The file that remembers logins: `sluice/credentials.json` in the user's configuration folder, readable by nobody else.
//!
//! Commands may run at the same time. Whoever changes the file holds a lock beside it, reads what is there, and puts the
//! new version in place by a rename, so that a reader sees one version or the other.

use jiff::Timestamp;
use protocol::{UserId, http::Grant, identity::Role};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    env,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// What the file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    /// The server logged in to last.
    #[serde(default)]
    pub(crate) current: Option<String>,
    /// Logins by server.
    #[serde(default)]
    pub(crate) servers: BTreeMap<String, LoggedIn>,
}

/// A login.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LoggedIn {
    /// The account.
    pub(crate) user_id: UserId,
    /// Its name.
    pub(crate) user_name: String,
    /// Its role.
    pub(crate) role: Role,
    /// The present access token.
    pub(crate) access_token: String,
    /// What it is exchanged by.
    pub(crate) refresh_token: String,
    /// When the access token expires.
    pub(crate) expires_at: Timestamp,
}

impl From<Grant> for LoggedIn {
    fn from(grant: Grant) -> Self {
        let lifetime =
            jiff::SignedDuration::from_secs(i64::try_from(grant.expires_in).unwrap_or(i64::MAX));
        Self {
            user_id: grant.user_id,
            user_name: grant.user_name,
            role: grant.role,
            access_token: grant.access_token,
            refresh_token: grant.refresh_token,
            expires_at: Timestamp::now()
                .checked_add(lifetime)
                .unwrap_or(Timestamp::MAX),
        }
    }
}

impl std::fmt::Debug for LoggedIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Tokens have no place in logs.
        f.debug_struct("LoggedIn")
            .field("user_name", &self.user_name)
            .finish_non_exhaustive()
    }
}

/// The file of one user of this machine.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    folder: PathBuf,
}

/// The right to change the file, until it is dropped.
pub(crate) struct Locked {
    credentials: Credentials,
    _lock: File,
}

impl Credentials {
    /// The file of the user that runs this.
    pub(crate) fn of_user() -> io::Result<Self> {
        let set = |name| {
            env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let config =
            set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")));
        let config = config.ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, "set HOME or XDG_CONFIG_HOME")
        })?;
        Ok(Self::in_folder(config.join("sluice")))
    }

    /// The file in this folder.
    pub(crate) fn in_folder(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.join("credentials.json")
    }

    /// What is known; nothing if there is no file.
    pub(crate) fn load(&self) -> io::Result<Known> {
        let path = self.path();
        let explain =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Known::default()),
            Err(error) => return Err(explain(error)),
        };
        serde_json::from_slice(&text).map_err(|error| {
            explain(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{error}; remove it and log in again"),
            ))
        })
    }

    /// Changes what is known.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Known)) -> io::Result<()> {
        let locked = self.lock()?;
        let mut known = self.load()?;
        change(&mut known);
        locked.save(&known)
    }

    /// Waits for the right to change the file. Blocks.
    pub(crate) fn lock(&self) -> io::Result<Locked> {
        create_private_folder(&self.folder)?;
        let lock = private_file()
            .create(true)
            .truncate(false)
            .open(self.folder.join("credentials.lock"))?;
        lock.lock()?;
        Ok(Locked {
            credentials: self.clone(),
            _lock: lock,
        })
    }
}

impl Locked {
    /// Puts a new version in place.
    pub(crate) fn save(&self, known: &Known) -> io::Result<()> {
        let folder = &self.credentials.folder;
        let draft = folder.join("credentials.json.new");
        // A draft that a killed process left behind may have other rights.
        match fs::remove_file(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = private_file().create_new(true).open(&draft)?;
        file.write_all(&serde_json::to_vec_pretty(known)?)?;
        file.sync_all()?;
        fs::rename(&draft, self.credentials.path())?;
        File::open(folder)?.sync_all()
    }
}

fn private_file() -> fs::OpenOptions {
    let mut options = File::options();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn create_private_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn login(name: &str) -> LoggedIn {
        LoggedIn {
            user_id: UserId::new(),
            user_name: name.to_owned(),
            role: Role::User,
            access_token: "access".to_owned(),
            refresh_token: "refresh".to_owned(),
            expires_at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn several_servers_are_kept_and_nobody_else_can_read_them() {
        let dir = tempfile::tempdir().unwrap();
        let credentials = Credentials::in_folder(dir.path().join("a/b"));
        assert_eq!(credentials.load().unwrap(), Known::default());
        for server in ["http://one", "http://two"] {
            let insert =
                |known: &mut Known| drop(known.servers.insert(server.to_owned(), login(server)));
            credentials.update(insert).unwrap();
        }
        assert_eq!(credentials.load().unwrap().servers.len(), 2);
        let mode = fs::metadata(credentials.path())
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let mode = fs::metadata(&credentials.folder)
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn changes_at_the_same_time_are_all_kept() {
        let dir = tempfile::tempdir().unwrap();
        let credentials = Credentials::in_folder(dir.path());
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let credentials = &credentials;
                scope.spawn(move || {
                    for n in 0..20 {
                        let server = format!("http://{thread}-{n}");
                        let insert =
                            |known: &mut Known| drop(known.servers.insert(server, login("x")));
                        credentials.update(insert).unwrap();
                        credentials.load().unwrap();
                    }
                });
            }
        });
        assert_eq!(credentials.load().unwrap().servers.len(), 80);
    }

    #[test]
    fn a_file_that_is_none_of_ours_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let credentials = Credentials::in_folder(dir.path());
        fs::write(credentials.path(), "hello").unwrap();
        let error = credentials.load().unwrap_err().to_string();
        assert!(
            error.contains("credentials.json") && error.contains("log in again"),
            "{error}"
        );
    }

    #[test]
    fn tokens_are_not_in_logs() {
        assert!(!format!("{:?}", login("anna")).contains("access\""));
    }
}
