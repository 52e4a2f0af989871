//! A disk whose power can be cut between any two operations, to see what is left on it.
//!
//! It decorates the real file system below a base folder, and remembers what of it would survive: contents as of their
//! last sync, names as of the last sync of their folder. What a disk does with the rest differs, so
//! [`PowerCut::materialise`] writes the disk in several [`Survives`] modes.

mod image;
mod random;

use super::{Access, Entry, File, Fs, Metadata, Real, is_aligned};
use image::{Change, Disk, NodeId};
use std::{
    io::{self, IoSlice},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// What of the things that were not synced is on the disk after a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survives {
    /// Everything, the operation under way too: what another process finds after a `kill -9`.
    Everything,
    /// Nothing.
    DropAll,
    /// Names; files are as long as they were when they were last synced.
    KeepNames,
    /// Names and lengths; bytes that were not synced are zero.
    KeepLengths,
    /// Each name and each write on its own, or not, or in part; decided by the seed.
    Random(u64),
}

/// The file system decorator. Clones are the same disk.
#[derive(Clone)]
pub struct PowerCut {
    base: PathBuf,
    disk: Arc<Mutex<Power>>,
}

struct Power {
    disk: Disk,
    /// Operations so far that change something.
    operations: u64,
    end: Option<(u64, End)>,
    is_cut: bool,
    at_end: Option<AtEnd>,
}

type AtEnd = Box<dyn FnOnce() + Send>;

/// How it ends for the process.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// The operation under way may be found on the disk.
    Cut,
    /// The operation never began.
    Killed,
}

/// What becomes of an operation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    /// It is carried out.
    Done,
    /// The power goes while it is under way: it may be found on the disk, but never happened for the process.
    Torn,
}

impl PowerCut {
    /// A disk that holds what is below `base` now, all of it synced.
    ///
    /// # Errors
    /// Those of reading it.
    pub fn new(base: &Path) -> io::Result<Self> {
        let power = Power {
            disk: Disk::load(base)?,
            operations: 0,
            end: None,
            is_cut: false,
            at_end: None,
        };
        Ok(Self {
            base: base.to_owned(),
            disk: Arc::new(Mutex::new(power)),
        })
    }

    /// Cuts the power at operation number `n`, counted from 0: it and every one after it fail.
    pub fn cut_at(&self, n: u64) {
        self.power().end = Some((n, End::Cut));
    }

    /// Kills the process before operation number `n`, counted from 0: it and every one after it fail.
    pub fn kill_at(&self, n: u64) {
        self.power().end = Some((n, End::Killed));
    }

    /// Starts the process again, on the same disk: what was not synced still is not. Not for a disk whose power was cut.
    pub fn restart(&self) {
        let mut power = self.power();
        power.end = None;
        power.is_cut = false;
    }

    /// Cuts the power now.
    pub fn cut(&self) {
        self.power().go_out();
    }

    /// Calls `then` at the moment of the cut or kill, with no operation under way on this disk: to see how things stand
    /// elsewhere at that very moment. It must not use this disk.
    pub fn at_end(&self, then: impl FnOnce() + Send + 'static) {
        self.power().at_end = Some(Box::new(then));
    }

    /// Operations so far that change something.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.power().operations
    }

    /// Writes the disk into the empty folder `target` as it would be after a power cut at this moment.
    ///
    /// # Errors
    /// Those of writing it.
    pub fn materialise(&self, survives: Survives, target: &Path) -> io::Result<()> {
        self.power().disk.materialise(survives, target)
    }

    fn power(&self) -> MutexGuard<'_, Power> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn inside<'a>(&self, path: &'a Path) -> Option<&'a Path> {
        path.strip_prefix(&self.base).ok()
    }

    /// Carries out a change of names: on the real disk, then in the image.
    fn change(
        &self,
        real: impl FnOnce() -> io::Result<()>,
        image: impl FnOnce(&mut Disk) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut power = self.power();
        let step = power.step()?;
        if step == Step::Done {
            real()?;
        }
        image(&mut power.disk)?;
        step.result()
    }
}

impl Power {
    fn step(&mut self) -> io::Result<Step> {
        self.check()?;
        let end = self
            .end
            .filter(|(n, _)| *n == self.operations)
            .map(|(_, end)| end);
        self.operations += 1;
        if end.is_some() {
            self.go_out();
        }
        match end {
            None => Ok(Step::Done),
            Some(End::Cut) => Ok(Step::Torn),
            Some(End::Killed) => Err(no_power()),
        }
    }

    fn go_out(&mut self) {
        self.is_cut = true;
        if let Some(then) = self.at_end.take() {
            then();
        }
    }

    fn check(&self) -> io::Result<()> {
        if self.is_cut { Err(no_power()) } else { Ok(()) }
    }
}

impl Step {
    fn result(self) -> io::Result<()> {
        if self == Step::Done {
            Ok(())
        } else {
            Err(no_power())
        }
    }
}

fn no_power() -> io::Error {
    io::Error::other("the power is cut")
}

fn outside(path: &Path) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("{} is not on the power-cut disk", path.display()),
    )
}

struct PowerCutFile {
    real: Box<dyn File>,
    node: NodeId,
    is_direct: bool,
    power: PowerCut,
}

impl File for PowerCutFile {
    fn write_at(&self, parts: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        if self.is_direct && !is_aligned(parts, offset) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let bytes = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let mut power = self.power.power();
        let step = power.step()?;
        if step == Step::Done {
            self.real.write_at(parts, offset)?;
        }
        power
            .disk
            .change(self.node, Change::Write { offset, bytes });
        step.result()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.power.power().check()?;
        self.real.read_at(buffer, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut power = self.power.power();
        let step = power.step()?;
        if step == Step::Done {
            self.real.set_len(len)?;
        }
        power.disk.change(self.node, Change::Resize(len));
        step.result()
    }

    fn len(&self) -> io::Result<u64> {
        self.power.power().check()?;
        self.real.len()
    }

    /// Nothing is asked of the real disk: what survives is decided here.
    fn sync_data(&self) -> io::Result<()> {
        let mut power = self.power.power();
        let step = power.step()?;
        if step == Step::Done {
            power.disk.sync_file(self.node);
        }
        step.result()
    }
}

impl Fs for PowerCut {
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn File>> {
        let inside = self.inside(path).ok_or_else(|| outside(path))?;
        if access.creates() {
            self.change(
                || Real.open(path, Access::Create).map(drop),
                |disk| disk.create(inside),
            )?;
        }
        let power = self.power();
        power.check()?;
        let real = match access {
            Access::Read => Real.open(path, Access::Read)?,
            // What goes past the page cache is no safer before it is synced: the disk has a cache of its own.
            _ => Real.open(path, Access::Write)?,
        };
        let node = power.disk.find(inside)?;
        Ok(Box::new(PowerCutFile {
            real,
            node,
            is_direct: access.is_direct(),
            power: self.clone(),
        }))
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        let inside = self.inside(path).ok_or_else(|| outside(path))?;
        self.change(
            || Real.create_folder(path),
            |disk| disk.create_folder(inside),
        )
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let source = self.inside(from).ok_or_else(|| outside(from))?;
        let target = self.inside(to).ok_or_else(|| outside(to))?;
        self.change(
            || Real.rename(from, to),
            |disk| {
                disk.link(source, target)?;
                disk.unlink(source)
            },
        )
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let source = self.inside(from).ok_or_else(|| outside(from))?;
        let target = self.inside(to).ok_or_else(|| outside(to))?;
        self.change(
            || Real.hard_link(from, to),
            |disk| disk.link(source, target),
        )
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let inside = self.inside(path).ok_or_else(|| outside(path))?;
        self.change(|| Real.remove(path), |disk| disk.unlink(inside))
    }

    /// A folder outside the base is not on this disk and counts as synced.
    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        let Some(inside) = self.inside(path) else {
            return Ok(());
        };
        let mut power = self.power();
        let step = power.step()?;
        if step == Step::Done {
            power.disk.sync_folder(inside)?;
        }
        step.result()
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.power().check()?;
        Real.list(path)
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        self.power().check()?;
        Real.metadata(path)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        self.power().check()?;
        Real.free_bytes(path)
    }
}
