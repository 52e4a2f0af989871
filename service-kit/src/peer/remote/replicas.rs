//! The replicas of one service: found, looked after, and chosen from.

use std::{
    net::SocketAddr,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use futures::future::join_all;
use rand::RngExt;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until, timeout},
};

use super::{address::Places, endpoint::Endpoint};
use crate::peer::PeerConfig;

/// How soon after one look at the names there may be another.
const RESOLVE_PAUSE: Duration = Duration::from_millis(500);

pub(super) struct Replicas {
    peer: Arc<str>,
    config: Arc<PeerConfig>,
    places: tokio::sync::Mutex<Places>,
    have_names: bool,
    endpoints: RwLock<Vec<Arc<Endpoint>>>,
    /// A breaker has moved.
    moved: Arc<Notify>,
    /// The names may stand for other addresses by now.
    doubted: Notify,
}

impl Replicas {
    pub(super) fn new(peer: Arc<str>, places: Places, config: Arc<PeerConfig>) -> Self {
        let addresses = places.addresses();
        let replicas = Self {
            peer,
            config,
            have_names: places.have_names(),
            places: tokio::sync::Mutex::new(places),
            endpoints: RwLock::default(),
            moved: Arc::default(),
            doubted: Notify::new(),
        };
        replicas.set(&addresses);
        replicas
    }

    /// Every replica known; if none is, names are asked first.
    pub(super) async fn all(&self) -> Vec<Arc<Endpoint>> {
        let known = self.known();
        if !known.is_empty() || !self.have_names {
            return known;
        }
        self.resolve().await;
        self.known()
    }

    /// The names may stand for other addresses by now.
    pub(super) fn doubt(&self) {
        self.doubted.notify_one();
    }

    /// Looks after names and breakers for ever.
    pub(super) async fn keep(&self) {
        futures::join!(self.keep_names(), self.keep_breakers());
    }

    async fn keep_names(&self) {
        if !self.have_names {
            return;
        }
        loop {
            self.resolve().await;
            let earliest = Instant::now() + RESOLVE_PAUSE;
            // Early or at the usual time: either way the names are asked.
            let _ = timeout(
                self.config.resolve_every.duration(),
                self.doubted.notified(),
            )
            .await;
            sleep_until(earliest).await;
        }
    }

    async fn keep_breakers(&self) {
        loop {
            let due = self
                .known()
                .iter()
                .filter_map(|endpoint| endpoint.due())
                .min();
            tokio::select! {
                () = self.moved.notified() => {}
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
            let endpoints = self.known();
            join_all(endpoints.iter().map(|endpoint| endpoint.look())).await;
        }
    }

    async fn resolve(&self) {
        let mut places = self.places.lock().await;
        places.resolve(&self.peer).await;
        self.set(&places.addresses());
    }

    fn known(&self) -> Vec<Arc<Endpoint>> {
        self.endpoints
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Makes these the replicas; those that stay keep what is known of them.
    fn set(&self, addresses: &[SocketAddr]) {
        let mut endpoints = self
            .endpoints
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let peer = &*self.peer;
        endpoints.retain(|endpoint| {
            let stays = addresses.contains(&endpoint.address());
            if !stays {
                tracing::info!(peer, endpoint = %endpoint.address(), "a replica is gone");
            }
            stays
        });
        for address in addresses {
            if endpoints
                .iter()
                .any(|endpoint| endpoint.address() == *address)
            {
                continue;
            }
            let made = Endpoint::new(
                self.peer.clone(),
                *address,
                self.config.clone(),
                self.moved.clone(),
            );
            match made {
                Ok(endpoint) => endpoints.push(Arc::new(endpoint)),
                Err(error) => {
                    tracing::error!(peer, %address, %error, "no address to send calls to");
                }
            }
        }
    }
}

/// What choosing needs to know of a replica.
pub(super) trait Candidate {
    fn address(&self) -> SocketAddr;
    fn is_usable(&self) -> bool;
    fn load(&self) -> usize;
}

impl Candidate for Arc<Endpoint> {
    fn address(&self) -> SocketAddr {
        Endpoint::address(self)
    }

    fn is_usable(&self) -> bool {
        Endpoint::is_usable(self)
    }

    fn load(&self) -> usize {
        self.in_flight()
    }
}

/// Of two random replicas the one with less to do: nearly as good as the least of all, and callers do not all run to the same.
///
/// Those that are left out, and those that this call has tried, come into question only if there are no others.
pub(super) fn choose<'a, C: Candidate>(all: &'a [C], tried: &[SocketAddr]) -> Option<&'a C> {
    let is_new = |candidate: &C| !tried.contains(&candidate.address());
    let ranks: [&dyn Fn(&C) -> bool; 4] = [
        &|candidate| candidate.is_usable() && is_new(candidate),
        &|candidate| candidate.is_usable(),
        &|candidate| is_new(candidate),
        &|_| true,
    ];
    ranks.iter().find_map(|rank| {
        let candidates: Vec<&C> = all.iter().filter(|candidate| rank(candidate)).collect();
        lighter_of_two(&candidates)
    })
}

/// Whether there is a replica that should be given calls and was not tried.
pub(super) fn has_other<C: Candidate>(all: &[C], tried: &[SocketAddr]) -> bool {
    all.iter()
        .any(|candidate| candidate.is_usable() && !tried.contains(&candidate.address()))
}

fn lighter_of_two<'a, C: Candidate>(candidates: &[&'a C]) -> Option<&'a C> {
    let count = candidates.len();
    if count < 2 {
        return candidates.first().copied();
    }
    let first = rand::rng().random_range(0..count);
    let second = (first + rand::rng().random_range(1..count)) % count;
    let (first, second) = (candidates[first], candidates[second]);
    Some(if second.load() < first.load() {
        second
    } else {
        first
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, Copy, PartialEq)]
    struct Replica(u16, bool, usize);

    impl Candidate for Replica {
        fn address(&self) -> SocketAddr {
            at(self.0)
        }

        fn is_usable(&self) -> bool {
            self.1
        }

        fn load(&self) -> usize {
            self.2
        }
    }

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    /// Which replicas are chosen, over many times.
    fn chosen(all: &[Replica], tried: &[u16]) -> Vec<u16> {
        let tried: Vec<_> = tried.iter().copied().map(at).collect();
        let mut ports: Vec<_> = (0..300)
            .filter_map(|_| choose(all, &tried))
            .map(|replica| replica.0)
            .collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    #[test]
    fn those_left_out_and_those_tried_come_last() {
        let all = [
            Replica(1, true, 0),
            Replica(2, true, 0),
            Replica(3, false, 0),
        ];
        for (count, tried, expected) in [
            (3, &[][..], &[1, 2][..]),
            (3, &[1], &[2]),
            (3, &[1, 2], &[1, 2]),
            (1, &[1], &[1]),
            (0, &[], &[]),
        ] {
            assert_eq!(chosen(&all[..count], tried), expected, "{count} {tried:?}");
        }
        let all = all.map(|Replica(port, _, load)| Replica(port, false, load));
        assert_eq!(chosen(&all, &[]), [1, 2, 3], "all are left out, so none is");
        assert_eq!(chosen(&all, &[1, 3]), [2]);
        assert!(!has_other(&all, &[]));
    }

    #[test]
    fn of_two_the_one_with_less_to_do_is_chosen() {
        assert_eq!(
            chosen(&[Replica(1, true, 7), Replica(2, true, 3)], &[]),
            [2]
        );
        let three = [
            Replica(1, true, 9),
            Replica(2, true, 0),
            Replica(3, true, 1),
        ];
        assert_eq!(chosen(&three, &[]), [2, 3], "never the one with most to do");
    }

    #[tokio::test]
    async fn replicas_that_stay_keep_what_is_known_of_them() {
        let places = Places::new(Vec::new());
        let replicas = Replicas::new("test".into(), places, Arc::default());
        let ports = || {
            let known = replicas.known();
            known
                .iter()
                .map(|endpoint| endpoint.address().port())
                .collect::<Vec<_>>()
        };
        replicas.set(&[at(1), at(2)]);
        assert_eq!(ports(), [1, 2]);
        replicas.known()[1].failed(super::super::breaker::Weight::Enough, "gone");
        replicas.set(&[at(2), at(3)]);
        assert_eq!(ports(), [2, 3]);
        let usable = replicas
            .known()
            .iter()
            .map(|endpoint| endpoint.is_usable())
            .collect::<Vec<_>>();
        assert_eq!(usable, [false, true]);
    }
}
