//! What of a disk is synced, and what is not yet.

use super::{Survives, random::Coins};
use std::{
    collections::{BTreeMap, HashMap},
    ffi::{OsStr, OsString},
    fs, io,
    path::{Path, PathBuf},
};

/// A file or folder, whatever its names.
pub(super) type NodeId = usize;

type Names = BTreeMap<OsString, NodeId>;

const ROOT: NodeId = 0;

/// The disk.
pub(super) struct Disk {
    nodes: Vec<Node>,
}

enum Node {
    Folder(Folder),
    File(Content),
}

#[derive(Default)]
struct Folder {
    synced: Names,
    /// Names given and taken since, in order.
    changes: Vec<(OsString, Option<NodeId>)>,
}

#[derive(Default)]
struct Content {
    synced: Vec<u8>,
    /// What happened since, in order.
    changes: Vec<Change>,
}

/// A change of a file's content.
pub(super) enum Change {
    /// Bytes written.
    Write { offset: u64, bytes: Vec<u8> },
    /// A new length.
    Resize(u64),
}

impl Disk {
    /// The disk below a real folder.
    pub(super) fn load(path: &Path) -> io::Result<Self> {
        let mut disk = Self {
            nodes: vec![Node::Folder(Folder::default())],
        };
        disk.load_folder(ROOT, path)?;
        Ok(disk)
    }

    fn load_folder(&mut self, folder: NodeId, path: &Path) -> io::Result<()> {
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let node = if entry.file_type()?.is_dir() {
                let node = self.add(Node::Folder(Folder::default()));
                self.load_folder(node, &entry.path())?;
                node
            } else {
                self.add(Node::File(Content {
                    synced: fs::read(entry.path())?,
                    changes: Vec::new(),
                }))
            };
            self.folder(folder)?.synced.insert(entry.file_name(), node);
        }
        Ok(())
    }

    fn add(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn folder(&mut self, node: NodeId) -> io::Result<&mut Folder> {
        match &mut self.nodes[node] {
            Node::Folder(folder) => Ok(folder),
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    /// The node that a path names now.
    pub(super) fn find(&self, path: &Path) -> io::Result<NodeId> {
        path.iter()
            .try_fold(ROOT, |node, name| match &self.nodes[node] {
                Node::Folder(folder) => folder
                    .find(name)
                    .ok_or_else(|| io::ErrorKind::NotFound.into()),
                Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
            })
    }

    /// Gives a node a name, or takes the name away.
    fn name(&mut self, path: &Path, node: Option<NodeId>) -> io::Result<()> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let parent = self.find(parent)?;
        self.folder(parent)?.changes.push((name.to_owned(), node));
        Ok(())
    }

    pub(super) fn create(&mut self, path: &Path) -> io::Result<()> {
        match self.find(path) {
            Ok(node) => self.change(node, Change::Resize(0)),
            Err(_) => {
                let node = self.add(Node::File(Content::default()));
                self.name(path, Some(node))?;
            }
        }
        Ok(())
    }

    pub(super) fn create_folder(&mut self, path: &Path) -> io::Result<()> {
        if self.find(path).is_ok() {
            return Ok(());
        }
        let node = self.add(Node::Folder(Folder::default()));
        self.name(path, Some(node))
    }

    pub(super) fn link(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let node = self.find(from)?;
        self.name(to, Some(node))
    }

    pub(super) fn unlink(&mut self, path: &Path) -> io::Result<()> {
        self.name(path, None)
    }

    pub(super) fn change(&mut self, node: NodeId, change: Change) {
        if let Node::File(content) = &mut self.nodes[node] {
            content.changes.push(change);
        }
    }

    pub(super) fn sync_file(&mut self, node: NodeId) {
        if let Node::File(content) = &mut self.nodes[node] {
            for change in std::mem::take(&mut content.changes) {
                change.apply(&mut content.synced);
            }
        }
    }

    pub(super) fn sync_folder(&mut self, path: &Path) -> io::Result<()> {
        let node = self.find(path)?;
        let folder = self.folder(node)?;
        for (name, node) in std::mem::take(&mut folder.changes) {
            set(&mut folder.synced, name, node);
        }
        Ok(())
    }

    /// Writes what survives into a real folder.
    pub(super) fn materialise(&self, survives: Survives, target: &Path) -> io::Result<()> {
        let seed = if let Survives::Random(seed) = survives {
            seed
        } else {
            0
        };
        let mut writer = Writer {
            disk: self,
            survives,
            coins: Coins::new(seed),
            written: HashMap::new(),
        };
        writer.folder(ROOT, target)
    }
}

impl Folder {
    fn find(&self, name: &OsStr) -> Option<NodeId> {
        let changed = self
            .changes
            .iter()
            .rev()
            .find(|(changed, _)| changed == name);
        changed.map_or_else(|| self.synced.get(name).copied(), |(_, node)| *node)
    }

    fn surviving(&self, survives: Survives, coins: &mut Coins) -> Names {
        let mut names = self.synced.clone();
        for (name, node) in &self.changes {
            let kept = match survives {
                Survives::DropAll => false,
                Survives::Everything | Survives::KeepNames | Survives::KeepLengths => true,
                Survives::Random(_) => coins.flip(),
            };
            if kept {
                set(&mut names, name.clone(), *node);
            }
        }
        names
    }
}

impl Content {
    fn surviving(&self, survives: Survives, coins: &mut Coins) -> Vec<u8> {
        let mut content = self.synced.clone();
        match survives {
            Survives::Everything => self
                .changes
                .iter()
                .for_each(|change| change.apply(&mut content)),
            Survives::DropAll | Survives::KeepNames => {}
            Survives::KeepLengths => {
                let len = self
                    .changes
                    .iter()
                    .fold(content.len(), |len, change| change.len_after(len));
                content.resize(len, 0);
            }
            Survives::Random(_) => {
                self.changes
                    .iter()
                    .for_each(|change| change.apply_in_part(&mut content, coins));
            }
        }
        content
    }
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        content.resize(self.len_after(content.len()), 0);
        if let Self::Write { offset, bytes } = self
            && !bytes.is_empty()
        {
            let start = index(*offset);
            content[start..start + bytes.len()].copy_from_slice(bytes);
        }
    }

    /// All of it, its length alone, the beginning of it, or nothing.
    fn apply_in_part(&self, content: &mut Vec<u8>, coins: &mut Coins) {
        match (coins.below(4), self) {
            (0, _) => self.apply(content),
            (1, _) => content.resize(self.len_after(content.len()), 0),
            (2, Self::Write { offset, bytes }) => {
                let kept = index(coins.below(bytes.len() as u64 + 1));
                Self::Write {
                    offset: *offset,
                    bytes: bytes[..kept].to_vec(),
                }
                .apply(content);
            }
            _ => {}
        }
    }

    fn len_after(&self, len: usize) -> usize {
        match self {
            Self::Write { bytes, .. } if bytes.is_empty() => len,
            Self::Write { offset, bytes } => len.max(index(*offset) + bytes.len()),
            Self::Resize(len) => index(*len),
        }
    }
}

/// Everything is in memory, so its size fits.
fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn set(names: &mut Names, name: OsString, node: Option<NodeId>) {
    match node {
        Some(node) => names.insert(name, node),
        None => names.remove(&name),
    };
}

struct Writer<'a> {
    disk: &'a Disk,
    survives: Survives,
    coins: Coins,
    /// Files written, so that further names of theirs become links.
    written: HashMap<NodeId, PathBuf>,
}

impl Writer<'_> {
    fn folder(&mut self, node: NodeId, path: &Path) -> io::Result<()> {
        let Node::Folder(folder) = &self.disk.nodes[node] else {
            return Err(io::ErrorKind::NotADirectory.into());
        };
        for (name, node) in folder.surviving(self.survives, &mut self.coins) {
            let path = path.join(name);
            match &self.disk.nodes[node] {
                Node::Folder(_) => {
                    fs::create_dir(&path)?;
                    self.folder(node, &path)?;
                }
                Node::File(content) => self.file(node, content, path)?,
            }
        }
        Ok(())
    }

    fn file(&mut self, node: NodeId, content: &Content, path: PathBuf) -> io::Result<()> {
        if let Some(first) = self.written.get(&node) {
            return fs::hard_link(first, path);
        }
        fs::write(&path, content.surviving(self.survives, &mut self.coins))?;
        self.written.insert(node, path);
        Ok(())
    }
}
