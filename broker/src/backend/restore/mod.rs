//! What an earlier process left: sessions, their subscriptions and wills, and retained messages into memory, queues counted.
//!
//! One session after another, in the order of their numbers, in which all that is stored of them lies: it takes memory with what
//! there will be, and none beside it.
mod rows_in_order;
mod wills;

use super::directory::{Parked, Slot};
use super::{BackendOptions, Local, ReviveAuthority, after};
use crate::message::SessionId;
use crate::router::Subscription;
use crate::session::durable::{
    Recorder, Sequence, StoreBounds, StoredDelivery, StoredInFlight, StoredSession, StoredWill, Unreadable,
    Wall, decode_message, decode_subscription, stored_filter,
};
use crate::session::{Held, Kept, RetainedScan, Session, StoredQueue};
use hashbrown::hash_table::Entry;
use jitp_provisioner::sessions::{SessionRow, SessionRows, SessionStore};
use jitp_provisioner::{Clock, RegistryError};
use rows_in_order::RowsInOrder;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::time::Instant;
use wills::RestoredWills;

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
    /// Its will, and the number of that.
    will: Option<(u64, StoredWill)>,
    /// Messages in the queue and beside it, their bytes, and the next places.
    messages: usize,
    bytes: u32,
    next: u64,
    next_aside: u64,
}

impl Restoring {
    fn new(row: StoredSession) -> Self {
        Self {
            row,
            kept: Kept::default(),
            will: None,
            messages: 0,
            bytes: 0,
            next: Sequence::FIRST_QUEUED,
            next_aside: Sequence::FIRST_ASIDE,
        }
    }

    fn goes_on_behind(&mut self, place: u64) {
        if place >= Sequence::FIRST_QUEUED {
            self.next = self.next.max(place + 1);
        } else {
            self.next_aside = self.next_aside.max(place + 1);
        }
    }
}

/// What is stored of sessions beside themselves, as far as it was read.
struct Belongings<'s> {
    recorder: &'s Recorder,
    subscriptions: RowsInOrder<'s>,
    queued: RowsInOrder<'s>,
    in_flight: RowsInOrder<'s>,
    received: RowsInOrder<'s>,
    wills: RowsInOrder<'s>,
    restored_wills: RestoredWills<'s>,
    /// Sessions that are gone and have left messages.
    orphans: Vec<u64>,
}

impl<'s> Belongings<'s> {
    fn of_all(recorder: &'s Recorder, revive: ReviveAuthority<'s>) -> Self {
        let all = |rows, at_once| RowsInOrder::new(recorder.store(), rows, at_once);
        Self {
            recorder,
            subscriptions: all(SessionRows::Subscriptions(None), PAGE),
            queued: all(SessionRows::Queued(None), PAGE_OF_MESSAGES),
            in_flight: all(SessionRows::InFlight(None), PAGE),
            received: all(SessionRows::Received(None), PAGE),
            wills: all(SessionRows::Wills, PAGE_OF_MESSAGES),
            restored_wills: RestoredWills::new(recorder, revive),
            orphans: Vec::new(),
        }
    }

    /// Reads what belongs to the session with this number. What belongs to those before it, nobody wants.
    async fn read(&mut self, number: u64, session: &mut Restoring) -> Result<(), RestoreError> {
        self.read_up_to(number, Some(session)).await
    }

    /// Reads the rest, which belongs to nobody.
    async fn read_to_the_end(&mut self) -> Result<(), RestoreError> {
        self.read_up_to(u64::MAX, None).await
    }

    async fn read_up_to(
        &mut self,
        number: u64,
        mut session: Option<&mut Restoring>,
    ) -> Result<(), RestoreError> {
        while let Some((row, value)) = self.subscriptions.next_up_to(number).await? {
            let SessionRow::Subscription { session: of, filter } = &row else { continue };
            let Some(session) = session.as_mut().filter(|_| *of == number) else {
                self.recorder.record().delete(row);
                continue;
            };
            let filter = stored_filter(filter).map_err(|why| unreadable(&row, why))?;
            let (options, owed) = decode_subscription(&value).map_err(|why| unreadable(&row, why))?;
            if let Some(owed) = owed {
                session.kept.scans.push_back(RetainedScan::owed(&filter, options, &owed));
            }
            session.kept.subscriptions.push(Held { filter, options });
        }
        while let Some((row, value)) = self.queued.next_up_to(number).await? {
            let SessionRow::Queued { session: of, sequence } = row else { continue };
            let stored = StoredDelivery::decode(&value).map_err(|why| unreadable(&row, why))?;
            self.recorder.record().count(stored.charge, stored.message);
            let Some(session) = session.as_mut().filter(|_| of == number) else {
                if self.orphans.last() != Some(&of) {
                    self.orphans.push(of);
                }
                continue;
            };
            session.messages += 1;
            session.bytes = session.bytes.saturating_add(stored.charge);
            session.goes_on_behind(sequence);
            session.kept.unread = true;
        }
        while let Some((row, value)) = self.in_flight.next_up_to(number).await? {
            // A message that is gone may still be owed its PUBREL: its place is not given again.
            let in_flight = StoredInFlight::decode(&value).map_err(|why| unreadable(&row, why))?;
            let Some(session) = session.as_mut().filter(|_| row.session() == Some(number)) else {
                self.recorder.record().delete(row);
                continue;
            };
            session.goes_on_behind(in_flight.place);
            session.kept.unread = true;
        }
        while let Some((row, _)) = self.received.next_up_to(number).await? {
            match session.as_mut().filter(|_| row.session() == Some(number)) {
                Some(session) => session.kept.unread = true,
                None => self.recorder.record().delete(row),
            }
        }
        while let Some((row, value)) = self.wills.next_up_to(number).await? {
            let SessionRow::Will { session: of, number: will } = row else { continue };
            let stored =
                StoredWill::decode(&value, self.recorder.wall()).map_err(|why| unreadable(&row, why))?;
            // Of two the first was due already.
            let due = match session.as_mut().filter(|_| of == number) {
                Some(session) => session.will.replace((will, stored)),
                None => Some((will, stored)),
            };
            self.restored_wills.found(will);
            if let Some((will, stored)) = due {
                self.restored_wills.is_due(of, will, stored);
            }
        }
        Ok(())
    }
}

impl Local {
    pub(super) async fn restore(
        options: BackendOptions,
        store: SessionStore,
        clock: Arc<dyn Clock>,
        revive: ReviveAuthority<'_>,
    ) -> Result<Arc<Self>, RestoreError> {
        let wall = Wall::new(clock);
        // Above every number that a session or a message can have had: so many are not given within a millisecond.
        let first = wall.now().saturating_mul(NUMBERS_PER_MILLISECOND);
        let bounds = StoreBounds { messages: options.stored_messages, bytes: options.stored_bytes };
        let recorder = Recorder::new(store, wall, bounds, first);
        let (local, duties) = Self::begin(options, Some(Arc::clone(&recorder)), first);
        local.restore_sessions(&recorder, revive).await?;
        local.restore_retained(&recorder).await?;
        // Not before all that refers to a message has been counted, and all that gets one is there.
        local.take_up(duties);
        Ok(local)
    }

    async fn restore_sessions(
        self: &Arc<Self>,
        recorder: &Recorder,
        revive: ReviveAuthority<'_>,
    ) -> Result<(), RestoreError> {
        let mut sessions = RowsInOrder::new(recorder.store(), SessionRows::Sessions, PAGE);
        let mut belongings = Belongings::of_all(recorder, revive);
        let mut newest = 0;
        while let Some((row, value)) = sessions.next().await? {
            let Some(number) = row.session().and_then(NonZeroU64::new) else { continue };
            let stored = StoredSession::decode(&value).map_err(|why| unreadable(&row, why))?;
            let mut restoring = Restoring::new(stored);
            belongings.read(number.get(), &mut restoring).await?;
            self.restore_session(recorder, SessionId(number), restoring, &mut belongings.restored_wills);
            newest = number.get();
            // What is recorded of sessions that were connected is as much as they are many.
            recorder.room().await;
        }
        // The clock may have been set back.
        self.sessions_made.fetch_max(newest, Ordering::Relaxed);
        belongings.read_to_the_end().await?;
        for orphan in belongings.orphans.into_iter().filter_map(NonZeroU64::new) {
            self.chores.reap(SessionId(orphan), None);
        }
        belongings.restored_wills.hand_over(self);
        Ok(())
    }

    fn restore_session(
        self: &Arc<Self>,
        recorder: &Recorder,
        id: SessionId,
        restoring: Restoring,
        wills: &mut RestoredWills<'_>,
    ) {
        let Restoring { row, kept, will, messages, bytes, next, next_aside } = restoring;
        let now = recorder.wall().now();
        // Nobody knows when the process was killed: the session waits from now on.
        let killed = row.waits_until.is_none();
        let expiry = row.expiry.min(self.options.session_expiry);
        let expiry_milliseconds = u64::try_from(expiry.as_millis()).unwrap_or(u64::MAX);
        let waits_until = row.waits_until.unwrap_or_else(|| now.saturating_add(expiry_milliseconds));
        // As many as can have been in flight without a trace.
        let uncertain = if killed || row.uncertain { usize::from(self.options.receive_maximum) } else { 0 };
        let uncertain = uncertain.min(messages);
        let stored = StoredQueue::restored(next, next_aside, messages, uncertain);
        let client = self.directory.hash(&row.client_id);
        let session = Session::restored(id, Arc::clone(&row.client_id), client, stored, bytes);
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
        let mut recording = self.recording();
        if killed && let Some(recording) = recording.begin() {
            let row = StoredSession { waits_until: Some(waits_until), uncertain: true, ..row.clone() };
            recording.put(SessionRow::Session { session: id.0.get() }, row.encode());
        }
        let will = will.and_then(|(number, will)| {
            // Nobody knows when the process was killed: its delay begins now.
            let due = match will.due {
                Some(due) => recorder.wall().instant(due),
                None => after(will.delay).min(expires_at),
            };
            let was_set = will.due.is_some();
            let kept = wills.revive(id.0.get(), number, will, &mut recording)?;
            if !was_set {
                self.record_will(&session, &kept, Some(due), &mut recording);
            }
            Some((due, kept))
        });
        drop(recording);
        let due = will.as_ref().map_or(expires_at, |(due, _)| expires_at.min(*due));
        let timer = self.timers.set(due, Arc::clone(&session));
        let parked = Parked { kept, version: row.version, expires_at, will, timer };
        let superseded = self.directory.with_entry(client, &row.client_id, |entry| {
            let slot = Slot::parked(session, parked);
            match entry {
                Entry::Vacant(vacancy) => {
                    vacancy.insert(slot);
                    None
                }
                // Killed while one was about to end and another to begin: they come in order, so this one is newer.
                Entry::Occupied(mut taken) => {
                    let old = std::mem::replace(taken.get_mut(), slot);
                    old.parked.map(|parked| (old.session, parked))
                }
            }
        });
        match superseded {
            None => {
                self.offline.fetch_add(1, Ordering::Relaxed);
            }
            Some((old, mut parked)) => {
                self.timers.cancel(parked.timer);
                wills.due.extend(parked.will.take().map(|(_, will)| (Arc::clone(&old), will)));
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

fn unreadable(row: &SessionRow, why: Unreadable) -> RestoreError {
    RestoreError::Row { row: Box::new(row.clone()), why }
}

#[cfg(test)]
mod tests;
