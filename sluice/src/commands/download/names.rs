//! Where downloaded files go: names that are safe whatever the server says, and nothing overwritten.

use super::holds;
use protocol::file::FileInfo;
use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
};

/// Longest name on common file systems, bytes; a bit is left for a suffix.
const LONGEST: usize = 200;

/// The names given in one run.
pub(super) struct Names {
    folder: PathBuf,
    given: HashSet<PathBuf>,
}

/// Where a file goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// There: nothing has this name.
    Free(PathBuf),
    /// It is there already.
    Taken(PathBuf),
}

impl Names {
    pub(super) fn in_folder(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            given: HashSet::new(),
        }
    }

    /// Where `info`'s content goes: to its name, or if another file has that, to the name with the id in it.
    pub(super) async fn place(&mut self, info: &FileInfo) -> io::Result<Place> {
        let name = safe(&info.name);
        for name in [name.clone(), with_id(&name, info)] {
            let path = self.folder.join(name);
            if !self.given.insert(path.clone()) {
                continue;
            }
            match tokio::fs::symlink_metadata(&path).await {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Ok(Place::Free(path));
                }
                Err(error) => return Err(error),
                Ok(metadata) if metadata.is_file() && metadata.len() == info.size => {
                    let (checked, info) = (path.clone(), info.clone());
                    let same = tokio::task::spawn_blocking(move || holds(&checked, &info)).await;
                    if same.map_err(io::Error::other)?? {
                        return Ok(Place::Taken(path));
                    }
                }
                Ok(_) => {}
            }
        }
        let message = format!(
            "both {name:?} and the name with the file's id are taken by other files; choose another folder"
        );
        Err(io::Error::new(io::ErrorKind::AlreadyExists, message))
    }
}

/// A name that stays in its folder, is not hidden and does not disturb a terminal.
fn safe(name: &str) -> String {
    let mut safe: String = name
        .chars()
        .map(|c| {
            if c.is_control() || matches!(c, '/' | '\\') {
                '_'
            } else {
                c
            }
        })
        .collect();
    if safe.is_empty() || safe.starts_with('.') {
        safe.insert(0, '_');
    }
    if safe.len() > LONGEST {
        let (stem, extension) = split(&safe);
        let extension = if extension.len() < LONGEST / 2 {
            extension.to_owned()
        } else {
            String::new()
        };
        let end = (0..=LONGEST - extension.len())
            .rev()
            .find(|end| stem.is_char_boundary(*end))
            .unwrap_or(0);
        safe = format!("{}{extension}", &stem[..end.min(stem.len())]);
    }
    safe
}

fn with_id(name: &str, info: &FileInfo) -> String {
    let (stem, extension) = split(name);
    format!("{stem}.{}{extension}", info.file_id)
}

/// A name's stem, and its extension with the dot.
fn split(name: &str) -> (&str, &str) {
    match name.rfind('.') {
        Some(dot) if dot > 0 => name.split_at(dot),
        _ => (name, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use protocol::{
        Digest, DigestAlgorithm, FileId, TransferStatus, UploadId, UserId, identity::Owner,
    };

    fn info(name: &str, size: u64, digest: &str) -> FileInfo {
        FileInfo {
            file_id: FileId::new(),
            upload_id: UploadId::new(),
            name: name.to_owned(),
            size,
            content_type: None,
            digest: digest.parse().ok(),
            status: TransferStatus::UploadedSuccessfully,
            owner: Owner {
                id: UserId::new(),
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
        }
    }

    #[test]
    fn no_name_leaves_the_folder_or_hides_in_it() {
        for (name, expected) in [
            ("a.txt", "a.txt"),
            ("../../etc/passwd", "_.._.._etc_passwd"),
            ("..\\x", "_.._x"),
            (".", "_."),
            ("..", "_.."),
            ("", "_"),
            (".bashrc", "_.bashrc"),
            ("a\nb\u{1b}[2J", "a_b_[2J"),
        ] {
            assert_eq!(safe(name), expected);
        }
        let long = safe(&format!("{}.jpeg", "ä".repeat(300)));
        assert!(long.len() <= LONGEST && long.ends_with("ä.jpeg"), "{long}");
        let long = safe(&format!("a.{}", "b".repeat(300)));
        assert!(long.len() <= LONGEST, "{long}");
    }

    #[tokio::test]
    async fn files_of_one_name_get_their_ids() {
        let dir = tempfile::tempdir().unwrap();
        let mut names = Names::in_folder(dir.path());
        let (first, second) = (info("a.b.txt", 1, ""), info("a.b.txt", 1, ""));
        assert_eq!(
            names.place(&first).await.unwrap(),
            Place::Free(dir.path().join("a.b.txt"))
        );
        let with_id = dir.path().join(format!("a.b.{}.txt", second.file_id));
        assert_eq!(names.place(&second).await.unwrap(), Place::Free(with_id));
    }

    #[tokio::test]
    async fn what_is_there_is_recognised_or_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, "abc").unwrap();
        let same = info(
            "a",
            3,
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        );
        assert_eq!(
            Names::in_folder(dir.path()).place(&same).await.unwrap(),
            Place::Taken(path.clone())
        );
        let other = FileInfo {
            digest: Some(Digest::new(DigestAlgorithm::Blake3, [0; 32])),
            ..same
        };
        let place = Names::in_folder(dir.path()).place(&other).await.unwrap();
        let Place::Free(free) = place else {
            panic!("another content is not recognised")
        };
        assert_ne!(free, path);
        std::fs::create_dir(&free).unwrap();
        let error = Names::in_folder(dir.path())
            .place(&other)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("another folder"), "{error}");
    }
}
