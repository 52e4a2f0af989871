//! Who is here: the sessions of each user, and the stream that holds each upload.

use crate::socket::event::{Event, Feed};
use protocol::{
    SessionId, UploadId, UserId,
    session::server::{Input, StreamUse},
};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
/// Who is connected to this gateway.
#[derive(Default)]
pub(crate) struct Sessions(Mutex<HashMap<UserId, HashMap<SessionId, Entry>>>);

struct Entry {
    feed: Feed,
    generation: Arc<AtomicU64>,
}

/// A session's place among those of its user; it is given back when dropped.
pub(crate) struct Place {
    sessions: Arc<Sessions>,
    user: UserId,
    session: SessionId,
    generation: Arc<AtomicU64>,
}

impl Sessions {
    /// Takes a place, unless the user has as many as allowed.
    pub(crate) fn enter(
        self: &Arc<Self>,
        user: UserId,
        session: SessionId,
        generation: u64,
        feed: Feed,
        limit: usize,
    ) -> Option<Place> {
        let mut users = self.lock();
        let sessions = users.entry(user).or_default();
        if sessions.len() >= limit {
            return None;
        }
        let generation = Arc::new(AtomicU64::new(generation));
        sessions.insert(
            session,
            Entry {
                feed,
                generation: generation.clone(),
            },
        );
        metrics::gauge!("sluice_sessions").increment(1.0);
        Some(Place {
            sessions: self.clone(),
            user,
            session,
            generation,
        })
    }

    /// Ends the user's sessions whose tokens are below the generation.
    pub(crate) fn revoke(&self, user: UserId, generation: u64) {
        if let Some(sessions) = self.lock().get(&user) {
            for entry in sessions
                .values()
                .filter(|entry| entry.generation.load(Ordering::Relaxed) < generation)
            {
                // A session that is gone already needs no telling.
                let _ = entry.feed.send(Event::Input(Input::Revoked));
            }
        }
    }

    /// Ends every session that the given judge finds revoked; for when single revocations may have been missed.
    pub(crate) fn revoke_where(&self, is_revoked: impl Fn(UserId, u64) -> bool) {
        for (user, sessions) in &*self.lock() {
            for entry in sessions
                .values()
                .filter(|entry| is_revoked(*user, entry.generation.load(Ordering::Relaxed)))
            {
                let _ = entry.feed.send(Event::Input(Input::Revoked));
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<UserId, HashMap<SessionId, Entry>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// The session goes on with a token of this generation.
    pub(crate) fn refreshed(&self, generation: u64) {
        self.generation.store(generation, Ordering::Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut users = self.sessions.lock();
        if let Some(sessions) = users.get_mut(&self.user) {
            sessions.remove(&self.session);
            if sessions.is_empty() {
                users.remove(&self.user);
            }
        }
        metrics::gauge!("sluice_sessions").decrement(1.0);
    }
}

/// Which stream holds each upload on this gateway.
#[derive(Default)]
pub(crate) struct Holders(Mutex<HashMap<UploadId, Holder>>);

struct Holder {
    generation: u64,
    of: StreamUse,
    feed: Feed,
}

/// A stream's hold on an upload; it is given back when dropped.
pub(crate) struct Held {
    holders: Arc<Holders>,
    upload: UploadId,
    generation: u64,
}

impl Holders {
    /// Takes an upload over; the stream that held it is told. Of two that come at once the one with the newer generation wins.
    pub(crate) fn take(
        self: &Arc<Self>,
        upload: UploadId,
        generation: u64,
        of: StreamUse,
        feed: Feed,
    ) -> Held {
        let mut holders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let newcomer = Holder {
            generation,
            of,
            feed,
        };
        let older = match holders.get(&upload) {
            Some(present) if present.generation > generation => Some(newcomer),
            _ => holders.insert(upload, newcomer),
        };
        if let Some(older) = older {
            let _ = older.feed.send(Event::Input(Input::Superseded(older.of)));
        }
        Held {
            holders: self.clone(),
            upload,
            generation,
        }
    }
}

impl Held {
    /// The same stream holds the upload under a newer generation.
    pub(crate) fn renew(&mut self, generation: u64) {
        let mut holders = self
            .holders
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(holder) = holders
            .get_mut(&self.upload)
            .filter(|holder| holder.generation == self.generation)
        {
            holder.generation = generation;
        }
        self.generation = generation;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut holders = self
            .holders
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if holders
            .get(&self.upload)
            .is_some_and(|holder| holder.generation == self.generation)
        {
            holders.remove(&self.upload);
        }
    }
}
