//! Where replicas are: addresses, and names that stand for several of them.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use futures::future::join_all;
use http::{Uri, uri::Scheme};

use crate::peer::InvalidPeerAddress;

/// How long a name may take to be resolved.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(3);

/// One entry of the setting: `http://host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// An IP address, which is one replica.
    Address(SocketAddr),
    /// A name, which may stand for several.
    Name(String, u16),
}

/// What the entries of the setting stand for at the moment.
#[derive(Debug)]
pub(super) struct Places {
    places: Vec<Place>,
    known: Vec<Vec<SocketAddr>>,
}

impl Place {
    pub(super) fn parse(text: &str) -> Result<Self, InvalidPeerAddress> {
        let invalid = || InvalidPeerAddress(text.to_owned());
        let parts = text.parse::<Uri>().map_err(|_| invalid())?.into_parts();
        let has_path = parts.path_and_query.is_some_and(|path| path != "/");
        let authority = parts.authority.ok_or_else(invalid)?;
        let has_user = authority.as_str().contains('@');
        if parts.scheme != Some(Scheme::HTTP) || has_path || has_user {
            return Err(invalid());
        }
        let port = authority.port_u16().ok_or_else(invalid)?;
        let host = authority.host();
        match host.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(ip) => Ok(Self::Address(SocketAddr::new(ip, port))),
            Err(_) => Ok(Self::Name(host.to_owned(), port)),
        }
    }

    async fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        match self {
            Self::Address(address) => Ok(vec![*address]),
            Self::Name(host, port) => {
                let found = tokio::net::lookup_host((host.as_str(), *port));
                Ok(tokio::time::timeout(RESOLVE_TIMEOUT, found)
                    .await??
                    .collect())
            }
        }
    }
}

impl Places {
    /// Entries, of which names are not resolved yet.
    pub(super) fn new(places: Vec<Place>) -> Self {
        let known = places
            .iter()
            .map(|place| match place {
                Place::Address(address) => vec![*address],
                Place::Name(..) => Vec::new(),
            })
            .collect();
        Self { places, known }
    }

    /// Whether there is a name among them.
    pub(super) fn have_names(&self) -> bool {
        self.places
            .iter()
            .any(|place| matches!(place, Place::Name(..)))
    }

    /// Every replica known, each once.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        let mut addresses = Vec::new();
        for address in self.known.iter().flatten() {
            if !addresses.contains(address) {
                addresses.push(*address);
            }
        }
        addresses
    }

    /// Asks for every name anew. One that can't be resolved stands for what it stood for before.
    pub(super) async fn resolve(&mut self, peer: &str) {
        let found = join_all(self.places.iter().map(Place::resolve)).await;
        for ((place, known), found) in self.places.iter().zip(&mut self.known).zip(found) {
            match found {
                Ok(found) => *known = found,
                Err(error) => {
                    tracing::warn!(peer, ?place, %error, "a name of a peer can't be resolved");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_scheme_host_and_port_and_nothing_more() {
        for (text, valid) in [
            ("http://auth:8081", true),
            ("http://127.0.0.1:1/", true),
            ("http://[::1]:1", true),
            ("http://auth", false),
            ("https://auth:8081", false),
            ("auth:8081", false),
            ("http://auth:8081/api", false),
            ("http://auth:8081?x=1", false),
            ("http://user@auth:8081", false),
            ("http://auth:99999", false),
            ("", false),
        ] {
            assert_eq!(Place::parse(text).is_ok(), valid, "{text}");
        }
        assert_eq!(
            Place::parse("http://[::1]:1").unwrap(),
            Place::Address("[::1]:1".parse().unwrap())
        );
    }

    #[tokio::test]
    async fn a_name_stands_for_all_its_addresses_and_each_replica_counts_once() {
        let texts = [
            "http://localhost:7",
            "http://127.0.0.1:7",
            "http://127.0.0.1:8",
        ];
        let places = texts.map(|text| Place::parse(text).unwrap());
        let mut places = Places::new(places.to_vec());
        assert!(places.have_names());
        assert_eq!(places.addresses().len(), 2, "addresses are known at once");
        places.resolve("test").await;
        let addresses = places.addresses();
        for address in ["127.0.0.1:7", "127.0.0.1:8"] {
            let address = address.parse().unwrap();
            assert_eq!(
                addresses.iter().filter(|known| **known == address).count(),
                1
            );
        }
    }

    #[tokio::test]
    async fn a_name_that_is_not_known_any_more_stands_for_what_it_did() {
        let name = Place::parse("http://no-such-host.invalid:7").unwrap();
        let mut places = Places::new(vec![name]);
        let before: SocketAddr = "127.0.0.1:7".parse().unwrap();
        places.known[0] = vec![before];
        places.resolve("test").await;
        assert_eq!(places.addresses(), [before]);
    }
}
