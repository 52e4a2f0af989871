//! Other servers: how they are installed, started and loaded. Also downloads.
//!
//! Their settings are the files in `bench/peers`, where the script that installs them is too. None of them syncs what it has
//! confirmed, and none computes a digest.

pub(crate) mod centrifugo;
mod download;
mod http;
mod nats;
mod peer;
mod program;
mod put;
mod server;
mod settings;
mod tus;

use crate::{
    scenario::{Part, Scenario},
    upload::Entry,
};
use peer::{Peer, Way};
use server::Server;
use std::sync::Arc;

/// The scenarios of this folder.
#[must_use]
pub fn scenarios() -> Vec<Box<dyn Scenario>> {
    download::scenarios()
}

/// The servers that the upload scenarios load beside Sluice and the floors.
#[must_use]
pub fn uploads() -> Vec<Entry> {
    let nginx = Server::Nginx { sendfile: false };
    vec![
        entry("nginx PUT", nginx, Way::Put(0)),
        entry("nginx PUT, 1 MiB buffer", nginx, Way::Put(1)),
        entry("rustus", Server::Rustus, tus("/files", None)),
        entry("@tus/server", Server::TusNode, tus("/files", None)),
        entry("tusd", Server::Tusd, tus("/files/", None)),
        entry("NATS object store", Server::Nats, Way::ObjectStore),
    ]
}

/// Other ways to send them a large file.
#[must_use]
pub fn large_uploads() -> Vec<Entry> {
    let piece = Some(1 << 20);
    vec![
        entry(
            "rustus, PATCHes of 1 MiB",
            Server::Rustus,
            tus("/files", piece),
        ),
        entry(
            "@tus/server, PATCHes of 1 MiB",
            Server::TusNode,
            tus("/files", piece),
        ),
        entry(
            "tusd, PATCHes of 1 MiB",
            Server::Tusd,
            tus("/files/", piece),
        ),
    ]
}

fn tus(path: &'static str, piece: Option<usize>) -> Way {
    Way::Tus { path, piece }
}

fn entry(name: &'static str, server: Server, way: Way) -> Entry {
    let peer = Arc::new(Peer::new(name, server, way));
    Entry::new(Part::Peer, peer.clone(), peer)
}
