//! Which client id has which session, and who holds it.
use super::timers::Timer;
use super::{ProtocolVersion, SessionEnd};
use crate::message::Message;
use crate::router::DenseSet;
use crate::session::{Kept, Session};
use hashbrown::hash_table::{Entry, OccupiedEntry};
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use jitp_provisioner::certs::CertificateId;
use parking_lot::Mutex;
use std::hash::BuildHasher;
use std::sync::Arc;
use tokio::sync::Notify;
use tokio::time::Instant;

/// All sessions, by client id, and those that are connected by certificate.
pub(super) struct Directory {
    hasher: DefaultHashBuilder,
    shards: Box<[Shard]>,
    certificates: Box<[Mutex<Connected>]>,
}

/// Sessions with a connection, by its certificate.
type Connected = HashMap<CertificateId, DenseSet<Arc<Session>>>;

/// A part of the directory with a lock of its own.
#[derive(Default)]
pub(super) struct Shard {
    slots: Mutex<HashTable<Slot>>,
    /// A session of this shard was let go of.
    pub(super) released: Notify,
}

/// A client id by its hash, which leads to its slot. Kept by the session, as to make it anew takes the id, which after a while is
/// in no processor's cache. Few ids share theirs with another. The default is that of a session that is in no directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ClientHash(u32);

impl ClientHash {
    /// The shards are told apart by its highest bits, places in them by the lowest of this, tags there by the highest.
    fn within_its_shard(self) -> u64 {
        const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
        u64::from(self.0).wrapping_mul(ODD)
    }
}

/// One client id's session.
pub(super) struct Slot {
    pub(super) session: Arc<Session>,
    /// Its session's, so that others can be told apart without looking at theirs.
    hash: ClientHash,
    /// The ticket of the connection that asked for it last.
    pub(super) contender: u64,
    /// What the holder left; `None` while a connection holds it.
    pub(super) parked: Option<Box<Parked>>,
}

/// A session between two connections.
pub(super) struct Parked {
    pub(super) kept: Kept,
    pub(super) version: ProtocolVersion,
    pub(super) expires_at: Instant,
    /// A will that waits for its delay: its time, and what to publish then.
    pub(super) will: Option<(Instant, Box<super::KeptWill>)>,
    pub(super) timer: Timer,
}

const SHARDS: usize = 64;

impl Directory {
    pub(super) fn new() -> Self {
        Self {
            hasher: DefaultHashBuilder::default(),
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            certificates: (0..SHARDS).map(|_| Mutex::default()).collect(),
        }
    }

    /// Leads to a client id's slot.
    pub(super) fn hash(&self, client_id: &str) -> ClientHash {
        ClientHash(self.hasher.hash_one(client_id) as u32)
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "the remainder is below the number of shards, which is fixed"
    )]
    pub(super) fn shard(&self, client: ClientHash) -> &Shard {
        &self.shards[(client.0 >> 26) as usize % SHARDS]
    }

    /// Calls `visit` with the slot of a client id, or a vacancy for it, while nobody else can change it.
    pub(super) fn with_entry<R>(
        &self,
        client: ClientHash,
        client_id: &str,
        visit: impl FnOnce(Entry<'_, Slot>) -> R,
    ) -> R {
        let is_it = |slot: &Slot| slot.hash == client && *slot.session.client_id == *client_id;
        let mut slots = self.shard(client).slots.lock();
        let result = visit(slots.entry(client.within_its_shard(), is_it, Slot::place));
        shrink(&mut slots);
        result
    }

    /// Calls `visit` with the slot of a session, if it still is its client id's.
    pub(super) fn with_session<R>(
        &self,
        session: &Arc<Session>,
        visit: impl FnOnce(OccupiedEntry<'_, Slot>) -> R,
    ) -> Option<R> {
        let mut slots = self.shard(session.client).slots.lock();
        let is_it = |slot: &Slot| Arc::ptr_eq(&slot.session, session);
        let result = visit(slots.find_entry(session.client.within_its_shard(), is_it).ok()?);
        shrink(&mut slots);
        Some(result)
    }

    /// Calls `visit` with every slot, locking one shard after another.
    pub(super) fn for_each(&self, mut visit: impl FnMut(&Slot)) {
        for shard in &self.shards {
            shard.slots.lock().iter().for_each(&mut visit);
        }
    }

    /// The sessions that have a connection, those of a shard when it is their turn.
    pub(super) fn connected(&self) -> impl Iterator<Item = Arc<Session>> {
        self.shards.iter().flat_map(|shard| {
            let slots = shard.slots.lock();
            let held = slots.iter().filter(|slot| slot.parked.is_none());
            held.map(|slot| Arc::clone(&slot.session)).collect::<Vec<_>>()
        })
    }

    /// The session's connection is one of this certificate.
    pub(super) fn add_to_certificate(&self, certificate: CertificateId, session: &Arc<Session>) {
        self.certificates(certificate).lock().entry(certificate).or_default().insert(Arc::clone(session));
    }

    /// It is no more.
    pub(super) fn remove_from_certificate(&self, certificate: CertificateId, session: &Arc<Session>) {
        let mut certificates = self.certificates(certificate).lock();
        if let Some(sessions) = certificates.get_mut(&certificate) {
            sessions.remove(session.id.0.get());
            if sessions.is_empty() {
                certificates.remove(&certificate);
                if certificates.len() < certificates.capacity() / 4 {
                    certificates.shrink_to_fit();
                }
            }
        }
    }

    /// Ends connections of a certificate; returns how many. The lock is held meanwhile: a connection is removed here
    /// before its session can have another holder, who is not meant.
    pub(super) fn end_certificate(
        &self,
        certificate: CertificateId,
        which: impl Fn(&Session) -> bool,
        end: SessionEnd,
    ) -> usize {
        let certificates = self.certificates(certificate).lock();
        let sessions = certificates.get(&certificate).map(DenseSet::as_slice).unwrap_or_default();
        let meant = sessions.iter().filter(|session| which(session));
        meant.map(|session| session.end(end)).count()
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "the remainder is below the number of shards, which is fixed"
    )]
    fn certificates(&self, certificate: CertificateId) -> &Mutex<Connected> {
        &self.certificates[(self.hasher.hash_one(certificate) >> 32) as usize % SHARDS]
    }
}

impl Slot {
    pub(super) fn held(session: Arc<Session>, contender: u64) -> Self {
        Self { hash: session.client, session, contender, parked: None }
    }

    /// Of a session that waits for its client.
    pub(super) fn parked(session: Arc<Session>, parked: Parked) -> Self {
        Self { parked: Some(Box::new(parked)), ..Self::held(session, 0) }
    }

    fn place(&self) -> u64 {
        self.hash.within_its_shard()
    }
}

fn shrink(slots: &mut HashTable<Slot>) {
    if slots.len() < slots.capacity() / 4 {
        slots.shrink_to_fit(Slot::place);
    }
}

impl super::Will {
    /// The message to publish now.
    pub(super) fn to_message(&self, session: &Session) -> Message {
        let expires_at = self.message_expiry.map(super::timers::after);
        let mut message = Message { expires_at, ..self.message.clone() };
        session.sign(&mut message);
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_ids_are_spread_over_the_shards_and_within_each() {
        const CLIENTS: usize = SHARDS * 256;
        let directory = Directory::new();
        let mut shards = vec![Vec::new(); SHARDS];
        for number in 0..CLIENTS {
            let client = directory.hash(&format!("device-{number:07}"));
            let shard =
                directory.shards.iter().position(|shard| std::ptr::eq(shard, directory.shard(client)));
            shards[shard.unwrap()].push(client.within_its_shard());
        }
        for places in shards {
            assert!((128..=512).contains(&places.len()), "{}", places.len());
            // What a table of so many looks at: places by the lowest bits, tags by the highest.
            for bits in [|place: u64| place & 0x1ff, |place: u64| place >> 57] {
                let different: std::collections::BTreeSet<u64> =
                    places.iter().map(|place| bits(*place)).collect();
                assert!(different.len() >= 48, "{}", different.len());
            }
        }
    }

    #[test]
    fn two_slots_fit_into_a_cache_line() {
        assert_eq!(size_of::<Slot>(), 32);
    }
}
