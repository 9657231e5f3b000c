//! What outlives a connection: subscriptions, messages in flight, queued messages, the will.

pub mod durable;
mod handle;
mod in_flight;
mod lag;
mod mailbox;
mod packet_id_set;
mod queue;
mod stored;
mod stored_queue;

pub(crate) use handle::HeldBy;
pub use handle::{SessionHandle, Wake};
pub use in_flight::{Awaited, InFlight};
pub(crate) use lag::Lag;
pub(crate) use mailbox::{Bounds, Evicted, Pushed, charge};
pub(crate) use packet_id_set::PacketIdSet;
pub(crate) use stored_queue::StoredQueue;

use crate::backend::{ClientHash, SubscribeOptions};
use crate::message::{Message, SessionId};
use crate::retained::Scan;
use crate::router::{Keyed, Standing, Subscriber};
use crate::topic::Filter;
use in_flight::{AllInFlight, Was};
use mailbox::Mailbox;
use parking_lot::Mutex;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// A session as others see it: a name and a mailbox. The rest of its state is with whoever holds it, the connection or,
/// between connections, the directory: see [`Kept`].
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) client_id: Arc<str>,
    /// Leads to its place among all sessions.
    pub(crate) client: ClientHash,
    mailbox: Mutex<Mailbox>,
    /// A copy of the mailbox's [`Standing`], to be read without its lock.
    standing: AtomicU8,
    /// What happens to it is stored.
    durable: bool,
}

impl Session {
    /// A session with a connection.
    pub(crate) fn new(id: SessionId, client_id: Arc<str>, client: ClientHash, durable: bool) -> Arc<Self> {
        let mailbox = if durable { Mailbox::durable() } else { Mailbox::default() };
        let standing = AtomicU8::new(Standing::Online as u8);
        Arc::new(Self { id, client_id, client, mailbox: Mutex::new(mailbox), standing, durable })
    }

    /// A durable session that an earlier process has left.
    pub(crate) fn restored(
        id: SessionId,
        client_id: Arc<str>,
        client: ClientHash,
        stored: StoredQueue,
        bytes: u32,
    ) -> Arc<Self> {
        let mailbox = Mutex::new(Mailbox::restored(stored, bytes));
        let standing = AtomicU8::new(Standing::Offline as u8);
        Arc::new(Self { id, client_id, client, mailbox, standing, durable: true })
    }

    /// Is what happens to it stored?
    pub(crate) fn is_durable(&self) -> bool {
        self.durable
    }

    /// Says in a message who publishes it.
    pub(crate) fn sign(&self, message: &mut Message) {
        message.publisher = Some(self.id);
        message.retained_by = message.retain.then(|| Arc::clone(&self.client_id));
    }
}

impl Keyed for Arc<Session> {
    fn key(&self) -> u64 {
        self.id.0.get()
    }
}

impl Subscriber for Arc<Session> {
    fn standing(&self) -> Standing {
        const ONLINE: u8 = Standing::Online as u8;
        const OFFLINE: u8 = Standing::Offline as u8;
        match self.standing.load(Ordering::Relaxed) {
            ONLINE => Standing::Online,
            OFFLINE => Standing::Offline,
            _ => Standing::Gone,
        }
    }
}

/// What only the holder of a session needs. It is handed from one connection to the next, so it needs no lock.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) subscriptions: SmallVec<[Held; 1]>,
    /// Towards the client, in the order of sending.
    pub(crate) in_flight: AllInFlight,
    /// From the client: QoS 2 packet ids that are not released yet.
    pub(crate) exactly_once: PacketIdSet,
    /// Retained messages that are still to be sent.
    pub(crate) scans: VecDeque<RetainedScan>,
    /// What is in flight, and what was received, is still where an earlier process has stored it.
    pub(crate) unread: bool,
    /// Packet ids that are in flight are stored, and not only those of QoS 2.
    pub(crate) packet_ids_stored: bool,
}

/// One subscription of a session.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) filter: Filter,
    pub(crate) options: SubscribeOptions,
}

/// Retained messages on their way to a new subscription.
#[derive(Debug)]
pub(crate) struct RetainedScan {
    pub(crate) filter: Filter,
    pub(crate) options: SubscribeOptions,
    pub(crate) scan: Scan,
    /// How many queued messages come first: they may be older.
    pub(crate) behind: usize,
}

impl RetainedScan {
    fn new(filter: &Filter, options: SubscribeOptions, behind: usize) -> Self {
        Self { filter: filter.clone(), options, scan: Scan::new(filter.path()), behind }
    }

    /// What another one has left. Behind all that is queued when the client is back.
    pub(crate) fn owed(filter: &Filter, options: SubscribeOptions, owed: &durable::Owed) -> Self {
        let scan = Scan::from(filter.path(), owed);
        Self { filter: filter.clone(), options, scan, behind: usize::MAX }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_with_its_counts_is_two_cache_lines() {
        let size = size_of::<Session>() + 2 * size_of::<usize>();
        assert!(size <= 128, "{size}");
    }
}
