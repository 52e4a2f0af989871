//! Which processes there are, where they listen, and what each is told.

use crate::{ports, process::Launch, random};
use serde::{Deserialize, Serialize};
use sluice::Role;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// The engine behind each port.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoreUrls {
    /// Bytes not yet stored: `redis://…`
    pub chunks: String,
    /// Work and news: `amqp://…`
    pub events: String,
    /// Bytes of stored files: `mongodb://…`
    pub blobs: String,
    /// The index of stored files: `mongodb://…`
    pub index: String,
    /// Accounts: `postgres://…`
    pub users: String,
    /// The state of uploads: `postgres://…`
    pub uploads: String,
}

impl StoreUrls {
    /// The settings that name them, as variables of the environment.
    #[must_use]
    pub fn settings(&self) -> Vec<(String, String)> {
        let named = [
            ("CHUNKS", &self.chunks),
            ("EVENTS", &self.events),
            ("BLOBS", &self.blobs),
            ("INDEX", &self.index),
            ("USERS", &self.users),
            ("UPLOADS", &self.uploads),
        ];
        let setting =
            |(name, url): (&str, &String)| (format!("SLUICE_STORES__{name}"), url.clone());
        named.map(setting).into()
    }
}

/// Which one of the processes with a role.
type Place = (Role, usize);

/// The processes of a cluster. Their addresses are known before they run, so that proxies can be put between them.
#[derive(Clone, Debug)]
pub struct Plan {
    stores: StoreUrls,
    folder: PathBuf,
    public: Vec<SocketAddr>,
    internal: BTreeMap<Place, SocketAddr>,
    keys: String,
    settings: Vec<(String, String)>,
    settings_of: BTreeMap<Place, Vec<(String, String)>>,
    detached: bool,
}

impl Plan {
    /// `each` processes of every role on these engines; logs go to `folder`.
    #[must_use]
    pub fn new(stores: StoreUrls, each: usize, folder: impl Into<PathBuf>) -> Self {
        let places = Role::ALL
            .into_iter()
            .flat_map(|role| (0..each).map(move |number| (role, number)));
        Self {
            stores,
            folder: folder.into(),
            public: (0..each).map(|_| ports::free()).collect(),
            internal: places.map(|place| (place, ports::free())).collect(),
            keys: format!("cluster:{}", random::hex(32)),
            settings: Vec::new(),
            settings_of: BTreeMap::new(),
            detached: false,
        }
    }

    /// All processes get this setting, given as a variable of the environment.
    #[must_use]
    pub fn set(mut self, name: &str, value: impl Into<String>) -> Self {
        self.settings.push((name.to_owned(), value.into()));
        self
    }

    /// One process gets this setting, whatever the others get.
    #[must_use]
    pub fn set_for(
        mut self,
        role: Role,
        number: usize,
        name: &str,
        value: impl Into<String>,
    ) -> Self {
        let settings = self.settings_of.entry((role, number)).or_default();
        settings.push((name.to_owned(), value.into()));
        self
    }

    /// The processes outlive the one that starts them.
    #[must_use]
    pub fn detached(mut self) -> Self {
        self.detached = true;
        self
    }

    /// The folder with the logs and the data.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The engines.
    #[must_use]
    pub fn stores(&self) -> &StoreUrls {
        &self.stores
    }

    /// The keys by which the processes know each other, as the setting `internal.keys` has them.
    #[must_use]
    pub fn keys(&self) -> &str {
        &self.keys
    }

    /// Where the gateways listen for clients.
    #[must_use]
    pub fn gateways(&self) -> Vec<SocketAddr> {
        self.public.clone()
    }

    /// Where a process listens for the others.
    ///
    /// # Panics
    /// When there is no such process.
    #[must_use]
    pub fn internal(&self, role: Role, number: usize) -> SocketAddr {
        self.internal[&(role, number)]
    }

    /// What `sluice admin` and the like need to work on the same stores.
    #[must_use]
    pub fn common_settings(&self) -> Vec<(String, String)> {
        [self.stores.settings(), self.settings.clone()].concat()
    }

    /// Every process.
    pub(crate) fn places(&self) -> impl Iterator<Item = Place> {
        self.internal.keys().copied()
    }

    /// How a process is started.
    ///
    /// # Panics
    /// When there is no such process.
    #[must_use]
    pub fn launch(&self, role: Role, number: usize) -> Launch {
        // People count from one.
        let name = format!("{role}-{}", number + 1);
        let internal = self.internal(role, number);
        let mut environment = self.common_settings();
        let mut set = |name: &str, value: String| environment.push((name.to_owned(), value));
        set("SLUICE_INTERNAL__LISTEN", internal.to_string());
        set("SLUICE_INTERNAL__KEYS", self.keys.clone());
        for (other, setting) in [
            (Role::Auth, "SLUICE_PEERS__AUTH"),
            (Role::Uploader, "SLUICE_PEERS__UPLOADER"),
            (Role::FileManager, "SLUICE_PEERS__FILE_MANAGER"),
        ] {
            set(setting, self.addresses(other));
        }
        if role == Role::Gateway {
            set("SLUICE_LISTEN", self.public[number].to_string());
        }
        // The later ones win.
        let own = self.settings_of.get(&(role, number));
        environment.extend(own.into_iter().flatten().cloned());
        let data = self.folder.join(&name).display().to_string();
        Launch {
            arguments: ["serve", "--role", role.name(), "--data", &data]
                .map(str::to_owned)
                .into(),
            environment,
            log: self.folder.join(format!("{name}.log")),
            about: format!("http://{internal}"),
            detached: self.detached,
            name,
        }
    }

    fn addresses(&self, role: Role) -> String {
        let those = self.internal.iter().filter(|((of, _), _)| *of == role);
        let urls: Vec<_> = those.map(|(_, at)| format!("http://{at}")).collect();
        urls.join(",")
    }
}
