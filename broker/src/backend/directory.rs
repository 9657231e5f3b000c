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

/// One client id's session.
pub(super) struct Slot {
    pub(super) session: Arc<Session>,
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

    pub(super) fn shard(&self, client_id: &str) -> &Shard {
        self.shard_at(self.hasher.hash_one(client_id))
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "the remainder is below the number of shards, which is fixed"
    )]
    fn shard_at(&self, hash: u64) -> &Shard {
        &self.shards[(hash >> 32) as usize % SHARDS]
    }

    /// Calls `visit` with the slot of a client id, or a vacancy for it, while nobody else can change it.
    pub(super) fn with_entry<R>(&self, client_id: &str, visit: impl FnOnce(Entry<'_, Slot>) -> R) -> R {
        let hash = self.hasher.hash_one(client_id);
        let rehash = |slot: &Slot| self.hasher.hash_one(&*slot.session.client_id);
        let mut slots = self.shard_at(hash).slots.lock();
        let result = visit(slots.entry(hash, |slot| *slot.session.client_id == *client_id, rehash));
        if slots.len() < slots.capacity() / 4 {
            slots.shrink_to_fit(rehash);
        }
        result
    }

    /// Calls `visit` with the slot of a session, if it still is its client id's.
    pub(super) fn with_session<R>(
        &self,
        session: &Arc<Session>,
        visit: impl FnOnce(OccupiedEntry<'_, Slot>) -> R,
    ) -> Option<R> {
        self.with_entry(&session.client_id, |entry| match entry {
            Entry::Occupied(slot) if Arc::ptr_eq(&slot.get().session, session) => Some(visit(slot)),
            _ => None,
        })
    }

    /// Calls `visit` with every slot, locking one shard after another.
    pub(super) fn for_each(&self, mut visit: impl FnMut(&Slot)) {
        for shard in &self.shards {
            shard.slots.lock().iter().for_each(&mut visit);
        }
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
        Self { session, contender, parked: None }
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
