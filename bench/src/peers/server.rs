//! How the peers are started.

use super::settings;
use crate::{Result, process::Servers, ready, target::Running};
use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

/// A server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    /// nginx; listens twice: with its default buffer for bodies, and with one of 1 MiB.
    Nginx {
        /// Whether the kernel copies files to sockets; off, as by default, unless a download asks for it.
        sendfile: bool,
    },
    Rustus,
    TusNode,
    Tusd,
    Nats,
}

impl Server {
    /// The name that the script which installs it knows.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nginx { .. } => "nginx",
            Self::Rustus => "rustus",
            Self::TusNode => "tus-node-server",
            Self::Tusd => "tusd",
            Self::Nats => "nats",
        }
    }

    /// What makes the program say its version, where it knows it.
    pub(crate) fn version_argument(self) -> Option<&'static str> {
        match self {
            Self::Nginx { .. } => Some("-v"),
            Self::Rustus => Some("--version"),
            Self::Nats => Some("--version"),
            Self::TusNode | Self::Tusd => None,
        }
    }

    /// Its settings in a few words.
    pub(crate) fn about(self) -> &'static str {
        match self {
            Self::Nginx { sendfile: false } => "2 workers; no sync, no digest",
            Self::Nginx { sendfile: true } => "2 workers, sendfile on",
            Self::Rustus => "2 workers, file storage, file info; no sync, no digest",
            Self::TusNode => "@tus/server 2.4.5, @tus/file-store 2.1.1; no sync, no digest",
            Self::Tusd => "tusd 2.8.0, defaults; no sync, no digest",
            Self::Nats => {
                "JetStream object store, chunks of 128 KiB; no sync per object, no digest"
            }
        }
    }

    /// Starts the program on an empty folder.
    pub(crate) async fn start(self, program: &Path, folder: &Path) -> Result<Running> {
        for name in ["data", "logs", "pids"] {
            fs::create_dir(folder.join(name))?;
        }
        let count = if let Self::Nginx { .. } = self { 2 } else { 1 };
        let addresses = free_addresses(count)?;
        let command = match self {
            Self::Nginx { sendfile } => nginx(program, folder, &addresses, sendfile)?,
            Self::Rustus => rustus(program, folder, addresses[0]),
            Self::TusNode => tus_node_server(program, folder, &addresses)?,
            Self::Tusd => tusd(program, folder, addresses[0]),
            Self::Nats => nats(program, folder, &addresses)?,
        };
        let mut servers = Servers::new();
        servers.spawn(self.name(), &command, &folder.join("logs/out"))?;
        ready::listens(&mut servers, addresses[0]).await?;
        Ok(Running { servers, addresses })
    }
}

/// Different ones.
fn free_addresses(count: usize) -> Result<Vec<SocketAddr>> {
    let mut addresses = Vec::new();
    while addresses.len() < count {
        let address = ready::free_address()?;
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(addresses)
}

fn nginx(
    program: &Path,
    folder: &Path,
    addresses: &[SocketAddr],
    sendfile: bool,
) -> Result<Command> {
    fs::create_dir(folder.join("data/nginx"))?;
    let mut text = settings::NGINX.fill(folder, addresses)?;
    if sendfile {
        text = text.replacen("http {", "http {\n  sendfile on;", 1);
    }
    let settings = write(folder, "nginx.conf", &text)?;
    let mut command = Command::new(program);
    // Otherwise the process that was started ends at once, and another one goes on.
    command.arg("-c").arg(settings).args(["-g", "daemon off;"]);
    Ok(command)
}

fn rustus(program: &Path, folder: &Path, address: SocketAddr) -> Command {
    let data = folder.join("data");
    let mut command = Command::new(program);
    command.args(["--workers", "2", "--max-body-size", "400000000"]);
    command.args(["--log-level", "ERROR", "--host", "127.0.0.1", "--port"]);
    command.arg(address.port().to_string());
    command.args(["--storage", "file-storage", "--data-dir"]);
    command.arg(data.join("rustus"));
    command.args(["--info-storage", "file-info-storage", "--info-dir"]);
    command.arg(data.join("rustus-info"));
    command
}

fn tus_node_server(program: &Path, folder: &Path, addresses: &[SocketAddr]) -> Result<Command> {
    let text = settings::TUS_NODE_SERVER.fill(folder, addresses)?;
    let script = write(folder, "server.mjs", &text)?;
    // Libraries are looked for beside the script.
    let libraries = program.with_file_name("node_modules");
    symlink(libraries, folder.join("node_modules"))?;
    let mut command = Command::new(program);
    command.arg(script);
    Ok(command)
}

fn tusd(program: &Path, folder: &Path, address: SocketAddr) -> Command {
    let mut command = Command::new(program);
    command.arg("-upload-dir").arg(folder.join("data/tusd"));
    command.args(["-disable-cors=false", "-host", "127.0.0.1", "-port"]);
    command.arg(address.port().to_string());
    command
}

fn nats(program: &Path, folder: &Path, addresses: &[SocketAddr]) -> Result<Command> {
    let text = settings::NATS.fill(folder, addresses)?;
    let mut command = Command::new(program);
    command.arg("-c").arg(write(folder, "nats.conf", &text)?);
    Ok(command)
}

fn write(folder: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    fs::write(&path, text)?;
    Ok(path)
}
