//! What an earlier process left: sessions, their subscriptions and retained messages into memory, queues counted.
use super::directory::{Parked, Slot};
use super::{BackendOptions, Local};
use crate::message::SessionId;
use crate::router::Subscription;
use crate::session::durable::{
    Recorder, Sequence, StoreBounds, StoredDelivery, StoredInFlight, StoredSession, Unreadable, Wall,
    decode_message, decode_subscription, stored_filter,
};
use crate::session::{Held, Kept, RetainedScan, Session, StoredQueue};
use hashbrown::hash_table::Entry;
use jitp_provisioner::sessions::{SessionRow, SessionRows, SessionStore};
use jitp_provisioner::{Clock, RegistryError};
use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::time::Instant;

/// Rows read at once.
const PAGE: usize = 512;
/// Of those that hold messages.
const PAGE_OF_MESSAGES: usize = 128;
/// Numbers that are left free for each millisecond that passes between two starts.
const NUMBERS_PER_MILLISECOND: u64 = 1 << 20;

/// Why what is stored of sessions could not be restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The store cannot be read.
    #[error("stored sessions cannot be read: {0}")]
    Registry(#[from] RegistryError),
    /// A row is not understood.
    #[error(
        "the stored row {row:?} cannot be read: {why}. Use the newest jitp that has written it, or restore a backup"
    )]
    Row {
        /// Which.
        row: Box<SessionRow>,
        /// Why.
        why: Unreadable,
    },
}

/// A session on its way into memory.
struct Restoring {
    row: StoredSession,
    kept: Kept,
    /// Messages in the queue and beside it, their bytes, and the next places.
    messages: usize,
    bytes: u32,
    next: u64,
    next_aside: u64,
}

impl Restoring {
    fn goes_on_behind(&mut self, place: u64) {
        if place >= Sequence::FIRST_QUEUED {
            self.next = self.next.max(place + 1);
        } else {
            self.next_aside = self.next_aside.max(place + 1);
        }
    }
}

impl Local {
    pub(super) async fn restore(
        options: BackendOptions,
        store: SessionStore,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, RestoreError> {
        let wall = Wall::new(clock);
        let mut sessions = read_sessions(&store).await?;
        let newest = sessions.last_key_value().map_or(0, |(newest, _)| *newest);
        // Above every number that a session or a message can have had: so many are not given within a millisecond.
        let first = wall.now().saturating_mul(NUMBERS_PER_MILLISECOND).max(newest + 1);
        let bounds = StoreBounds { messages: options.stored_messages, bytes: options.stored_bytes };
        let recorder = Recorder::new(store, wall, bounds, first);
        read_subscriptions(&recorder, &mut sessions).await?;
        let orphans = read_queues(&recorder, &mut sessions).await?;
        read_in_flight(&recorder, &mut sessions).await?;
        let local = Self::start(options, Some(Arc::clone(&recorder)), first);
        for orphan in orphans.into_iter().filter_map(NonZeroU64::new) {
            local.chores.reap(SessionId(orphan), None);
        }
        for (number, restoring) in sessions {
            if let Some(number) = NonZeroU64::new(number) {
                local.restore_session(&recorder, SessionId(number), restoring);
            }
        }
        local.restore_retained(&recorder).await?;
        Ok(local)
    }

    fn restore_session(self: &Arc<Self>, recorder: &Recorder, id: SessionId, restoring: Restoring) {
        let Restoring { row, kept, messages, bytes, next, next_aside } = restoring;
        let now = recorder.wall().now();
        // Nobody knows when the process was killed: the session waits from now on.
        let killed = row.waits_until.is_none();
        let expiry = row.expiry.min(self.options.session_expiry);
        let expiry_milliseconds = u64::try_from(expiry.as_millis()).unwrap_or(u64::MAX);
        let waits_until = row.waits_until.unwrap_or_else(|| now.saturating_add(expiry_milliseconds));
        // As many as can have been in flight without a trace.
        let uncertain = if killed || row.uncertain { usize::from(self.options.receive_maximum) } else { 0 };
        let stored = StoredQueue::restored(next, next_aside, messages, uncertain);
        let session = Session::restored(id, Arc::clone(&row.client_id), stored, bytes);
        for held in &kept.subscriptions {
            let subscription = Subscription {
                subscriber: Arc::clone(&session),
                identifier: held.options.identifier,
                qos: held.options.qos,
                no_local: held.options.no_local,
                retain_as_published: held.options.retain_as_published,
            };
            self.router.subscribe(&held.filter, subscription);
        }
        let expires_at = recorder.wall().instant(waits_until);
        let timer = self.timers.set(expires_at, Arc::clone(&session));
        if killed {
            let row = StoredSession { waits_until: Some(waits_until), uncertain: true, ..row.clone() };
            recorder.record().put(SessionRow::Session { session: id.0.get() }, row.encode());
        }
        let parked = Parked { kept, version: row.version, expires_at, will: None, timer };
        let superseded = self.directory.with_entry(&row.client_id, |entry| {
            let parked = Some(Box::new(parked));
            match entry {
                Entry::Vacant(vacancy) => {
                    vacancy.insert(Slot { session, contender: 0, parked });
                    None
                }
                // Killed while one was about to end and another to begin: they come in order, so this one is newer.
                Entry::Occupied(mut slot) => {
                    let old = std::mem::replace(slot.get_mut(), Slot { session, contender: 0, parked });
                    old.parked.map(|parked| (old.session, parked))
                }
            }
        });
        match superseded {
            None => {
                self.offline.fetch_add(1, Ordering::Relaxed);
            }
            Some((old, parked)) => {
                self.timers.cancel(parked.timer);
                self.finish_parked(&old, *parked, false);
            }
        }
    }

    async fn restore_retained(&self, recorder: &Recorder) -> Result<(), RestoreError> {
        let mut after = None;
        loop {
            let page = recorder.store().scan(SessionRows::Retained, after.as_ref(), PAGE_OF_MESSAGES).await?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(last.clone());
            let mut messages = Vec::with_capacity(page.len());
            for (row, value) in page {
                let message = decode_message(&value, recorder.wall()).map_err(|why| unreadable(&row, why))?;
                match message.is_expired(Instant::now()) {
                    true => recorder.record().delete(row),
                    false => messages.push(message),
                }
            }
            self.retained.restore(messages.into_iter());
            tokio::task::consume_budget().await;
        }
    }
}

async fn read_sessions(store: &SessionStore) -> Result<BTreeMap<u64, Restoring>, RestoreError> {
    let mut sessions = BTreeMap::new();
    let mut after = None;
    loop {
        let page = store.scan(SessionRows::Sessions, after.as_ref(), PAGE).await?;
        let Some((last, _)) = page.last() else { return Ok(sessions) };
        after = Some(last.clone());
        for (name, value) in page {
            let SessionRow::Session { session } = &name else { continue };
            let row = StoredSession::decode(&value).map_err(|why| unreadable(&name, why))?;
            let restoring = Restoring {
                row,
                kept: Kept { unread: true, ..Kept::default() },
                messages: 0,
                bytes: 0,
                next: Sequence::FIRST_QUEUED,
                next_aside: Sequence::FIRST_ASIDE,
            };
            sessions.insert(*session, restoring);
        }
    }
}

async fn read_subscriptions(
    recorder: &Recorder,
    sessions: &mut BTreeMap<u64, Restoring>,
) -> Result<(), RestoreError> {
    let mut after = None;
    loop {
        let page = recorder.store().scan(SessionRows::Subscriptions(None), after.as_ref(), PAGE).await?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        after = Some(last.clone());
        for (row, value) in page {
            let SessionRow::Subscription { session, filter } = &row else { continue };
            let Some(restoring) = sessions.get_mut(session) else {
                recorder.record().delete(row);
                continue;
            };
            let filter = stored_filter(filter).map_err(|why| unreadable(&row, why))?;
            let (options, owed) = decode_subscription(&value).map_err(|why| unreadable(&row, why))?;
            if let Some(owed) = owed {
                restoring.kept.scans.push_back(RetainedScan::owed(&filter, options, &owed));
            }
            restoring.kept.subscriptions.push(Held { filter, options });
        }
    }
}

/// Counts what is queued. Returns the sessions that are gone and have left something.
async fn read_queues(
    recorder: &Recorder,
    sessions: &mut BTreeMap<u64, Restoring>,
) -> Result<Vec<u64>, RestoreError> {
    let mut orphans = Vec::new();
    let mut after = None;
    loop {
        let rows = SessionRows::Queued(None);
        let page = recorder.store().scan(rows, after.as_ref(), PAGE_OF_MESSAGES).await?;
        let Some((last, _)) = page.last() else { return Ok(orphans) };
        after = Some(last.clone());
        for (row, value) in page {
            let SessionRow::Queued { session, sequence } = row else { continue };
            let stored = StoredDelivery::decode(&value).map_err(|why| unreadable(&row, why))?;
            recorder.record().count(stored.charge, stored.message);
            let Some(restoring) = sessions.get_mut(&session) else {
                if orphans.last() != Some(&session) {
                    orphans.push(session);
                }
                continue;
            };
            restoring.messages += 1;
            restoring.bytes = restoring.bytes.saturating_add(stored.charge);
            restoring.goes_on_behind(sequence);
        }
        tokio::task::consume_budget().await;
    }
}

/// A message that is gone may still be owed its PUBREL: its place is not given again.
async fn read_in_flight(
    recorder: &Recorder,
    sessions: &mut BTreeMap<u64, Restoring>,
) -> Result<(), RestoreError> {
    let mut after = None;
    loop {
        let page = recorder.store().scan(SessionRows::InFlight(None), after.as_ref(), PAGE).await?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        after = Some(last.clone());
        for (row, value) in page {
            let SessionRow::InFlight { session, .. } = &row else { continue };
            let in_flight = StoredInFlight::decode(&value).map_err(|why| unreadable(&row, why))?;
            match sessions.get_mut(session) {
                Some(restoring) => restoring.goes_on_behind(in_flight.place),
                None => recorder.record().delete(row),
            }
        }
    }
}

fn unreadable(row: &SessionRow, why: Unreadable) -> RestoreError {
    RestoreError::Row { row: Box::new(row.clone()), why }
}
