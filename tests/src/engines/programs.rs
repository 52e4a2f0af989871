//! Where the engines' programs are, and as whom they may run.

use std::{
    ffi::OsString,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// Where `tests/engines/install` puts what is in no package of the system.
const MONGODB: &str = "sluice/engines/mongodb-8.2.0";

/// A program: the one on the `PATH`, or else where packages and our own script put it.
///
/// # Panics
/// When it is not installed.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    find(name).unwrap_or_else(|| {
        panic!("{name} is not installed; `./dev stack up --engines` installs it")
    })
}

/// As [`program`]; none when it is not installed.
#[must_use]
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join(name));
    let mut known = vec![Path::new("/usr/lib/rabbitmq/bin").join(name)];
    known.extend(newest_postgres().map(|folder| folder.join(name)));
    known.extend(cache().map(|cache| cache.join(MONGODB).join("bin").join(name)));
    // Debian's wrapper on the PATH would run RabbitMQ as another user, in a folder of that user.
    let wrapped = name == "rabbitmq-server";
    let candidates: Vec<PathBuf> = match wrapped {
        true => known.into_iter().chain(on_path).collect(),
        false => on_path.chain(known).collect(),
    };
    candidates.into_iter().find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}

/// What a program needs in its environment to find its libraries.
pub(super) fn libraries(program: &Path) -> Vec<(String, String)> {
    let ours = cache().map(|cache| cache.join(MONGODB));
    match ours.filter(|ours| program.starts_with(ours)) {
        None => Vec::new(),
        Some(ours) => {
            let folder = ours.join("lib").display().to_string();
            vec![("LD_LIBRARY_PATH".to_owned(), folder)]
        }
    }
}

fn newest_postgres() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let versions = versions.filter_map(|version| Some(version.ok()?.path()));
    versions
        .filter(|folder| is_program(&folder.join("bin/initdb")))
        .max_by_key(|folder| folder.file_name()?.to_str()?.parse::<u32>().ok())
        .map(|folder| folder.join("bin"))
}

fn cache() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| *value != OsString::new());
    let home = || Some(Path::new(&set("HOME")?).join(".cache"));
    set("XDG_CACHE_HOME").map(PathBuf::from).or_else(home)
}

/// The user and group that PostgreSQL runs as, when that can't be the present one: it refuses to run as root.
///
/// # Panics
/// When there is no user but root.
pub(super) fn other_user() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").expect("a system has users");
    let ids = |wanted: &str| {
        let mut lines = users
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>());
        let found = lines.find(|fields| fields.first() == Some(&wanted) && fields.len() > 3)?;
        Some((found[2].parse().ok()?, found[3].parse().ok()?))
    };
    Some(
        ids("postgres")
            .or_else(|| ids("nobody"))
            .expect("a system has a user who may do nothing"),
    )
}

/// Lets other users reach what is in this folder, without letting them see it.
pub(super) fn let_others_through(folder: &Path) {
    std::fs::set_permissions(folder, PermissionsExt::from_mode(0o711)).expect("the folder is ours");
}

/// Writes a file that nobody else may read.
pub(crate) fn write_private(path: &Path, content: &str) {
    std::fs::write(path, "").expect("the folder is ours");
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).expect("the file is ours");
    std::fs::write(path, content).expect("the file is ours");
}
