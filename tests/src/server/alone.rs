//! One process that plays every role, on a data folder of its own.

use crate::{
    ports,
    process::{Launch, Process},
    small_disk::SmallDisk,
};
use std::{
    collections::BTreeSet,
    ffi::OsStr,
    net::SocketAddr,
    path::{Path, PathBuf},
};

pub(super) struct Alone {
    pub(super) process: Process,
    pub(super) address: SocketAddr,
    pub(super) disk: Option<SmallDisk>,
    /// As this process sees it.
    data: PathBuf,
    settings: Vec<(String, String)>,
}

impl Alone {
    pub(super) async fn start(
        folder: &Path,
        settings: &[(&str, &str)],
        disk: Option<SmallDisk>,
    ) -> Self {
        let address = ports::free();
        let (seen, there) = match &disk {
            None => (folder.to_owned(), folder.to_owned()),
            Some(disk) => (disk.seen(), disk.mounted()),
        };
        let settings: Vec<_> = settings
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let (listen, data) = (address.to_string(), there.join("data"));
        let launch = Launch {
            name: "the server".to_owned(),
            arguments: ["serve", "--listen", &listen, "--data"]
                .map(str::to_owned)
                .into_iter()
                .chain([data.display().to_string()])
                .collect(),
            environment: settings.clone(),
            log: folder.join("server.log"),
            about: format!("http://{address}"),
            detached: false,
        };
        let mut alone = Self {
            process: Process::new(launch),
            address,
            disk,
            data: seen.join("data"),
            settings,
        };
        alone.restart().await;
        alone
    }

    pub(super) async fn restart(&mut self) {
        self.process.start_on(self.disk.as_ref());
        self.process.until_ready().await;
    }

    pub(super) fn operators_settings(&self) -> Vec<(String, String)> {
        let mut settings = self.settings.clone();
        let data = self.data.display().to_string();
        settings.push(("SLUICE_DATA".to_owned(), data));
        settings
    }

    pub(super) fn cached(&self) -> BTreeSet<String> {
        let mut uploads = BTreeSet::new();
        let mut folders = vec![self.data.join("chunks")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("the chunk cache can be read") {
                let path = entry.expect("the chunk cache can be read").path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some() {
                    uploads.extend(path.file_stem().and_then(OsStr::to_str).map(str::to_owned));
                }
            }
        }
        uploads
    }
}
