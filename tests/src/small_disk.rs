//! A small disk, to be filled.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::PathBuf,
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

/// A file system of a few MiB in memory. It is mounted in a namespace of its own, for which nobody needs to be root where
/// the kernel lets users make namespaces; it is gone when dropped.
pub struct SmallDisk {
    /// Keeps the namespaces.
    holder: Child,
    namespaces: &'static [&'static str],
    folder: TempDir,
}

/// What takes up room on a disk until it is dropped.
pub struct Filler {
    path: PathBuf,
}

impl SmallDisk {
    /// A disk of `mib` MiB.
    ///
    /// # Panics
    /// When it can't be mounted.
    #[must_use]
    pub fn new(mib: u32) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        // In a namespace of users whoever makes it is root; where that is refused, root needs none.
        let mut refused = Vec::new();
        for namespaces in [["--user", "--mount"].as_slice(), &["--mount"]] {
            match hold(namespaces, mib, &folder) {
                Ok(holder) => {
                    return Self {
                        holder,
                        namespaces,
                        folder,
                    };
                }
                Err(reason) => refused.push(reason),
            }
        }
        panic!(
            "no small disk can be mounted ({}): allow users to make namespaces \
             (sysctl kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0) \
             or run the tests as root",
            refused.join("; ")
        );
    }

    /// The command that runs another one where the disk is mounted.
    pub(crate) fn launcher(&self) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(self.namespaces)
            .args(["--preserve-credentials", "--target"])
            .arg(self.holder.id().to_string())
            .arg("--");
        command
    }

    /// Where it is mounted, for a process that was launched there.
    #[must_use]
    pub fn mounted(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Where this process finds it.
    ///
    /// # Panics
    /// When the folder's path is not absolute.
    #[must_use]
    pub fn seen(&self) -> PathBuf {
        let inside = self.folder.path().strip_prefix("/");
        PathBuf::from(format!("/proc/{}/root", self.holder.id()))
            .join(inside.expect("temporary folders have absolute paths"))
    }

    /// Bytes that are free.
    ///
    /// # Panics
    /// When the disk can't be asked.
    #[must_use]
    pub fn free(&self) -> u64 {
        let stat = rustix::fs::statvfs(self.seen()).expect("the disk is mounted");
        stat.f_bavail * stat.f_frsize
    }

    /// Takes up all but about `leave` bytes, as another program on the same disk would.
    ///
    /// # Panics
    /// When the disk does not let it.
    #[must_use]
    pub fn fill(&self, leave: u64) -> Filler {
        let path = self.seen().join("filler");
        let file = File::create(&path).expect("a file can be made");
        let size = self.free().saturating_sub(leave);
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, size.max(1))
            .expect("the room is there");
        Filler { path }
    }
}

/// Starts a process in a new namespace in which the disk is mounted.
fn hold(namespaces: &[&str], mib: u32, folder: &TempDir) -> Result<Child, String> {
    let script = r#"mount -t tmpfs -o "size=$1m" tmpfs "$0" && echo mounted && exec cat"#;
    let mut command = Command::new("unshare");
    if namespaces.contains(&"--user") {
        command.arg("--map-root-user");
    }
    let mut holder = command
        .args(namespaces)
        .args(["sh", "-c", script])
        .arg(folder.path())
        .arg(mib.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("unshare: {error}"))?;
    let mut said = String::new();
    if let Some(stdout) = &mut holder.stdout {
        // No line is as good as a wrong one.
        let _ = BufReader::new(stdout).read_line(&mut said);
    }
    if said == "mounted\n" {
        return Ok(holder);
    }
    let mut complaint = String::new();
    if let Some(stderr) = &mut holder.stderr {
        let _ = stderr.read_to_string(&mut complaint);
    }
    let _ = holder.wait();
    Err(complaint.trim().to_owned())
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        // It may be gone with the disk.
        let _ = std::fs::remove_file(&self.path);
    }
}
