//! How PostgreSQL is set up.

use super::{
    Kind, Record,
    programs::{other_user, program, write_private},
};
use crate::{daemon::Daemon, ports, random};
use sqlx::{Connection, PgConnection};
use std::{os::unix::fs::chown, path::Path};
use tokio::process::Command;

pub(super) const PROGRAMS: &[&str] = &["postgres"];

/// Small, quiet, and as durable as it is by itself. No memory and no sockets outside its folder.
const SETTINGS: [&str; 7] = [
    "shared_buffers=32MB",
    "max_connections=200",
    "max_wal_size=256MB",
    "fsync=on",
    "unix_socket_directories=",
    "dynamic_shared_memory_type=mmap",
    "autovacuum_naptime=5min",
];

pub(super) async fn prepare(folder: &Path) -> Record {
    let address = ports::free();
    let password = random::hex(16);
    let user = other_user();
    let secret = folder.join("password");
    write_private(&secret, &password);
    if let Some((user, group)) = user {
        for path in [folder, &secret] {
            chown(path, Some(user), Some(group)).expect("root may give files away");
        }
    }
    create(folder, &secret, user).await;
    let mut command = vec![
        program("postgres").display().to_string(),
        "-D".to_owned(),
        folder.join("data").display().to_string(),
    ];
    let port = format!("port={}", address.port());
    let at = format!("listen_addresses={}", address.ip());
    for setting in SETTINGS.into_iter().chain([&*port, &*at]) {
        command.extend(["-c".to_owned(), setting.to_owned()]);
    }
    Record {
        kind: Kind::Postgres,
        daemon: Daemon {
            name: Kind::Postgres.name().to_owned(),
            folder: folder.to_owned(),
            command,
            environment: Vec::new(),
            programs: PROGRAMS.iter().map(|name| (*name).to_owned()).collect(),
            user,
        },
        address,
        url: format!("postgres://sluice:{password}@{address}/postgres"),
    }
}

/// Makes the files of an empty server with one user, who may do everything.
async fn create(folder: &Path, password: &Path, user: Option<(u32, u32)>) {
    let mut initdb = Command::new(program("initdb"));
    if let Some((user, group)) = user {
        initdb.uid(user).gid(group);
    }
    let made = initdb
        .args([
            "--username=sluice",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
        ])
        // There is nothing yet that a power cut could harm.
        .args([
            "--no-sync",
            "--no-instructions",
            "--pgdata=data",
            "--pwfile",
        ])
        .arg(password)
        .current_dir(folder)
        .kill_on_drop(true)
        .output()
        .await
        .expect("initdb can be started");
    assert!(
        made.status.success(),
        "initdb failed:\n{}",
        String::from_utf8_lossy(&made.stderr)
    );
}

/// Forgets the pid of a server that was killed. By now another process may have it, and the server would not start for that.
pub(super) fn before_start(folder: &Path) {
    // There is none when it ended in order, or never ran.
    let _ = std::fs::remove_file(folder.join("data/postmaster.pid"));
}

pub(super) async fn ask(url: &str) -> Result<(), String> {
    let asking = async {
        let mut connection = PgConnection::connect(url).await?;
        sqlx::query("SELECT 1").execute(&mut connection).await?;
        connection.close().await
    };
    asking.await.map_err(|error| error.to_string())
}
