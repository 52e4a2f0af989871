//! Finds the files to upload: regular files, in folders recursively, sorted; symbolic links are not followed.

use super::report::{FileReport, Problem};
use client::UploadError;
use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// A file to upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ToSend {
    /// The path as the user would write it.
    pub(super) path: PathBuf,
    /// The one absolute path without links, by which the file is known again.
    pub(super) canonical: PathBuf,
    /// Its size now, bytes.
    pub(super) size: u64,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// What can be sent, each file once.
    pub(super) files: Vec<ToSend>,
    /// What was asked for and can't be sent.
    pub(super) problems: Vec<FileReport>,
    /// What lies in folders and is no regular file.
    pub(super) skipped: Vec<PathBuf>,
}

/// Finds everything at and beneath these paths. Blocks.
pub(super) fn find(paths: &[PathBuf]) -> Found {
    let mut found = Found::default();
    for path in paths {
        found.named(path);
    }
    let mut seen = HashSet::new();
    found
        .files
        .retain(|file| seen.insert(file.canonical.clone()));
    found
}

impl Found {
    /// A path that the user gave.
    fn named(&mut self, path: &Path) {
        let looked =
            fs::symlink_metadata(path).and_then(|metadata| Ok((metadata, fs::canonicalize(path)?)));
        match looked {
            Err(error) => self.unreadable(path, error),
            Ok((metadata, canonical)) if metadata.is_file() => {
                self.file(path.to_owned(), canonical, metadata.len());
            }
            Ok((metadata, canonical)) if metadata.is_dir() => self.folder(path, &canonical),
            Ok((metadata, canonical)) => {
                let what = if metadata.is_symlink() {
                    format!(
                        "a symbolic link, which is not followed; give {} itself",
                        canonical.display()
                    )
                } else {
                    "neither a file nor a folder".to_owned()
                };
                self.problems.push(FileReport::problem(
                    path.to_owned(),
                    Problem::NotAFile(what),
                ));
            }
        }
    }

    /// Everything in a folder. Goes down by a list, not by recursion: folders may be very deep.
    fn folder(&mut self, path: &Path, canonical: &Path) {
        let mut folders = vec![(path.to_owned(), canonical.to_owned())];
        while let Some((path, canonical)) = folders.pop() {
            let mut entries = match fs::read_dir(&path)
                .and_then(|entries| entries.collect::<io::Result<Vec<_>>>())
            {
                Ok(entries) => entries,
                Err(error) => {
                    self.unreadable(&path, error);
                    continue;
                }
            };
            entries.sort_by_key(fs::DirEntry::file_name);
            let mut beneath = Vec::new();
            for entry in entries {
                let (path, canonical) = (entry.path(), canonical.join(entry.file_name()));
                match entry.metadata() {
                    Err(error) => self.unreadable(&path, error),
                    Ok(metadata) if metadata.is_file() => {
                        self.file(path, canonical, metadata.len());
                    }
                    Ok(metadata) if metadata.is_dir() => beneath.push((path, canonical)),
                    Ok(_) => self.skipped.push(path),
                }
            }
            folders.extend(beneath.into_iter().rev());
        }
    }

    fn file(&mut self, path: PathBuf, canonical: PathBuf, size: u64) {
        self.files.push(ToSend {
            path,
            canonical,
            size,
        });
    }

    fn unreadable(&mut self, path: &Path, error: io::Error) {
        let error = UploadError::Unreadable(Arc::new(error));
        self.problems.push(FileReport {
            path: path.to_owned(),
            size: 0,
            result: Err(error),
            problem: None,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join("t/b/deep")).unwrap();
        for (path, content) in [
            ("t/c", "12"),
            ("t/a", "1"),
            ("t/b/deep/x", ""),
            ("t/b/y", "123"),
            ("outside", "1"),
        ] {
            fs::write(root.join(path), content).unwrap();
        }
        symlink(root.join("outside"), root.join("t/link")).unwrap();
        symlink(root.join("t"), root.join("t/b/loop")).unwrap();
        dir
    }

    fn names(found: &Found, root: &Path) -> Vec<(String, u64)> {
        let name = |file: &ToSend| file.path.strip_prefix(root).unwrap().display().to_string();
        found
            .files
            .iter()
            .map(|file| (name(file), file.size))
            .collect()
    }

    #[test]
    fn folders_are_searched_in_order_and_links_are_not_followed() {
        let dir = tree();
        let found = find(&[dir.path().join("t")]);
        let expected = [("t/a", 1), ("t/c", 2), ("t/b/y", 3), ("t/b/deep/x", 0)];
        assert_eq!(
            names(&found, dir.path()),
            expected.map(|(name, size)| (name.to_owned(), size))
        );
        assert_eq!(
            found.skipped,
            [dir.path().join("t/link"), dir.path().join("t/b/loop")]
        );
        assert!(found.problems.is_empty());
    }

    #[test]
    fn a_file_named_twice_is_sent_once() {
        let dir = tree();
        let found = find(&[
            dir.path().join("t/a"),
            dir.path().join("t"),
            dir.path().join("t/../t/a"),
        ]);
        assert_eq!(found.files.len(), 4);
    }

    #[test]
    fn what_can_not_be_sent_is_told() {
        let dir = tree();
        let found = find(&[
            dir.path().join("none"),
            dir.path().join("t/link"),
            dir.path().join("outside"),
        ]);
        assert_eq!(names(&found, dir.path()), [("outside".to_owned(), 1)]);
        let texts: Vec<_> = found
            .problems
            .iter()
            .map(|problem| problem.reason().unwrap())
            .collect();
        assert!(texts[0].contains("can't read it"), "{texts:?}");
        assert!(
            texts[1].contains("symbolic link") && texts[1].contains("outside"),
            "{texts:?}"
        );
    }
}
