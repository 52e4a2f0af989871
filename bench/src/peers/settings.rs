//! The settings of the peers: the files in `bench/peers`, with this run's folder and ports in them.

use crate::Result;
use std::{net::SocketAddr, path::Path};

/// A file of settings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// As it is in `bench/peers`.
    pub(crate) text: &'static str,
    /// The ports that stand in it.
    pub(crate) ports: &'static [u16],
}

pub(crate) const NGINX: Settings = Settings {
    text: include_str!("../../peers/nginx.conf"),
    ports: &[18080, 18081],
};

pub(crate) const TUS_NODE_SERVER: Settings = Settings {
    text: include_str!("../../peers/server.mjs"),
    ports: &[18082],
};

pub(crate) const NATS: Settings = Settings {
    text: include_str!("../../peers/nats.conf"),
    ports: &[14222],
};

pub(crate) const CENTRIFUGO_5: Settings = Settings {
    text: include_str!("../../peers/centrifugo-5.json"),
    ports: &[18085],
};

pub(crate) const CENTRIFUGO_6: Settings = Settings {
    text: include_str!("../../peers/centrifugo-6.json"),
    ports: &[18085],
};

impl Settings {
    /// The text for a server that keeps everything in this folder and listens at these addresses, which stand for the ports.
    pub(crate) fn fill(&self, folder: &Path, addresses: &[SocketAddr]) -> Result<String> {
        let folder = folder.to_str().ok_or("the scratch folder is no text")?;
        let mut text = self.text.to_owned();
        for (port, address) in self.ports.iter().zip(addresses) {
            text = text.replace(&port.to_string(), &address.port().to_string());
        }
        // Last: a folder's name may contain the number of a port.
        Ok(text.replace("@DIR@", folder))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_changed_but_folder_and_ports() {
        for settings in [NGINX, TUS_NODE_SERVER, NATS, CENTRIFUGO_5, CENTRIFUGO_6] {
            let same: Vec<SocketAddr> = settings
                .ports
                .iter()
                .map(|&port| ([127, 0, 0, 1], port).into())
                .collect();
            let filled = settings.fill(Path::new("@DIR@"), &same).unwrap();
            assert_eq!(filled, settings.text);
            for port in settings.ports {
                assert_eq!(settings.text.matches(&port.to_string()).count(), 1);
            }
            let others: Vec<SocketAddr> = (1..=settings.ports.len())
                .map(|number| ([127, 0, 0, 1], 50_000 + number as u16).into())
                .collect();
            let filled = settings.fill(Path::new("/scratch"), &others).unwrap();
            assert!(!filled.contains("@DIR@"));
            for address in others {
                assert!(filled.contains(&address.port().to_string()));
            }
        }
    }
}
