//! The queue of one session. Publishers push, the holder drains, one lock in between that is held for a few
//! instructions.
use super::Session;
use super::durable::Sequence;
use super::lag::Lag;
use super::queue::Queue;
use super::stored_queue::StoredQueue;
use crate::backend::{SessionEnd, Wakers};
use crate::batch::{Mail, Part};
use crate::message::{Delivery, QoS, SessionId};
use crate::router::Standing;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::time::Instant;

/// What a mailbox takes; the same for all.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) messages: usize,
    /// At most 4 GiB: that is as far as a mailbox counts.
    pub(crate) bytes: u32,
    /// At the bounds the oldest messages go, not the new one.
    pub(crate) drop_oldest: bool,
    /// How long publishers wait for a client that lags behind; zero: not at all.
    pub(crate) patience: Duration,
}

impl Bounds {
    /// Less than a quarter of it is taken by so much: the client keeps up.
    fn hardly_used_by(self, messages: usize, bytes: u32) -> bool {
        messages < self.messages / 4 && bytes < self.bytes / 4
    }
}

/// What became of a delivery.
#[derive(Debug)]
pub(crate) enum Pushed {
    /// It will be sent.
    Queued {
        /// Its place, if it is to be stored.
        stored: Sequence,
        /// For the publisher to wait for.
        lag: Option<Arc<Lag>>,
    },
    /// It was QoS 0 and nobody is there.
    Missed,
    /// The mailbox is at its bounds. For the publisher to wait for before it goes on.
    Full(Option<Arc<Lag>>),
    /// The session has ended; the delivery comes back.
    Gone(Delivery),
}

/// What goes so that something else can come, or because it expired.
#[derive(Debug, Default)]
pub(crate) struct Evicted {
    pub(crate) expired: Vec<Delivery>,
    pub(crate) oldest: Vec<Delivery>,
    /// More should go, but is not in memory: see [`Session::wants_trim`].
    pub(crate) overfull: bool,
}

impl Evicted {
    pub(crate) fn is_empty(&self) -> bool {
        self.expired.is_empty() && self.oldest.is_empty() && !self.overfull
    }
}

/// What is in memory of a durable session's queue while the client is away, and while it is there: the rest is only stored.
const IN_MEMORY_OFFLINE: InMemory = InMemory { messages: 16, bytes: 16 * 1024 };
const IN_MEMORY_ONLINE: InMemory = InMemory { messages: 1024, bytes: 1024 * 1024 };

struct InMemory {
    messages: usize,
    bytes: u32,
}

#[derive(Debug)]
pub(super) struct Mailbox {
    queue: Queue,
    /// Of all that is queued, in memory or not.
    bytes: u32,
    standing: Standing,
    end: Option<SessionEnd>,
    /// The holder's, if it waits.
    waker: Option<Waker>,
    /// It waits for the next message, not only for the end.
    wants_mail: bool,
}

impl Default for Mailbox {
    fn default() -> Self {
        Self {
            queue: Queue::default(),
            bytes: 0,
            standing: Standing::Online,
            end: None,
            waker: None,
            wants_mail: false,
        }
    }
}

impl Mailbox {
    /// Of a durable session without a connection.
    pub(super) fn restored(stored: StoredQueue, bytes: u32) -> Self {
        Self {
            queue: Queue::durable(stored),
            bytes,
            standing: Standing::Offline,
            end: None,
            waker: None,
            wants_mail: false,
        }
    }
    /// Of a durable session with one.
    pub(super) fn durable() -> Self {
        Self { queue: Queue::durable(StoredQueue::default()), ..Self::default() }
    }
}

impl Session {
    /// Queues a delivery; adds the holder if it is to be woken. Cheap: it decides the speed of fan-out. For a durable session it
    /// must be called while recording.
    pub(crate) fn push(
        &self,
        delivery: Delivery,
        bounds: Bounds,
        evicted: &mut Evicted,
        wakers: &mut Wakers,
    ) -> Pushed {
        let mut mailbox = self.mailbox.lock();
        let pushed = mailbox.push(delivery, self.id, bounds, evicted);
        if let Pushed::Queued { .. } = &pushed {
            mailbox.call(self.id, wakers);
        }
        pushed
    }

    /// Queues messages that came together for a session that is not durable; adds the holder if it is to be woken. Returns how
    /// many have no room, and whom the publisher should wait for.
    pub(crate) fn push_part(
        &self,
        part: Part,
        bounds: Bounds,
        evicted: &mut Evicted,
        wakers: &mut Wakers,
    ) -> (u64, Option<Arc<Lag>>) {
        let mut mailbox = self.mailbox.lock();
        let pushed = mailbox.push_part(part, self.id, bounds, evicted);
        if !mailbox.queue.is_empty() {
            mailbox.call(self.id, wakers);
        }
        pushed
    }

    /// A place in the store for a delivery that does not wait in the queue; none if the session is not durable.
    pub(crate) fn place_aside(&self) -> Sequence {
        self.mailbox.lock().queue.stored().map(StoredQueue::place_aside).unwrap_or_default()
    }

    /// How many messages are queued, in memory or not.
    pub(super) fn messages(&self) -> usize {
        self.mailbox.lock().messages()
    }

    /// Takes up to `max` messages from the front, counting those with QoS 1 or 2 against `window` and stopping at one that
    /// has no room there. Returns how many, and those that had expired and were left out.
    pub(super) fn drain(
        &self,
        max: usize,
        window: &mut usize,
        mail: &mut Vec<Mail>,
    ) -> (usize, Vec<Delivery>) {
        let mut expired = Vec::new();
        let mut now = None;
        let mut mailbox = self.mailbox.lock();
        let mut taken = 0;
        while taken < max {
            let Some(next) = mailbox.queue.front() else { break };
            let confirmed = next.qos > QoS::AtMostOnce;
            if confirmed && *window == 0 {
                break;
            }
            if next.in_part {
                let most = if confirmed { (max - taken).min(*window) } else { max - taken };
                let Some(part) = mailbox.pop_part(most) else { break };
                taken += part.len();
                *window -= if confirmed { part.len() } else { 0 };
                mail.push(Mail::Many(part));
                continue;
            }
            let is_expired = next.message.expires_at.is_some()
                && next.message.is_expired(*now.get_or_insert_with(Instant::now));
            let Some(delivery) = mailbox.pop() else { break };
            if is_expired {
                expired.push(delivery);
                continue;
            }
            *window -= usize::from(confirmed);
            taken += 1;
            mail.push(Mail::One(delivery));
        }
        mailbox.catch_up();
        mailbox.queue.release_memory();
        (taken, expired)
    }

    /// The places of what is to be read now, as nothing is left in memory: from the first to before the second.
    pub(super) fn unread(&self) -> Option<(u64, u64)> {
        let mut mailbox = self.mailbox.lock();
        if !mailbox.queue.is_empty() {
            return None;
        }
        let stored = mailbox.queue.stored()?;
        Some((stored.unread_from?, stored.next))
    }

    /// Takes in what was read from a place on. `next`: where it goes on; `None`: that was all before `until`. `missing`: so
    /// many more were there, and are not wanted.
    pub(super) fn read_in(
        &self,
        from: u64,
        next: Option<u64>,
        until: u64,
        page: Vec<Delivery>,
        missing: usize,
    ) {
        let mut mailbox = self.mailbox.lock();
        let Some(stored) = mailbox.queue.stored().filter(|stored| stored.unread_from == Some(from)) else {
            return;
        };
        stored.unread = stored.unread.saturating_sub(page.len() + missing);
        stored.unread_from = match next {
            Some(next) => Some(next),
            None if stored.next > until => Some(until),
            None => None,
        };
        let mut uncertain = std::mem::take(&mut stored.uncertain);
        let all = stored.unread_from.is_none();
        if all {
            stored.unread = 0;
        }
        let mut bytes = 0u32;
        for mut delivery in page {
            if uncertain > 0 {
                uncertain -= 1;
                delivery.stored = delivery.stored.repeated();
            }
            bytes = bytes.saturating_add(charge(&delivery));
            mailbox.queue.push(delivery);
        }
        if all {
            mailbox.bytes = bytes;
        }
        if let Some(stored) = mailbox.queue.stored() {
            stored.uncertain = uncertain;
        }
    }

    /// The client is back after a restart. The queue goes on at `from`. Of what was before, with so many bytes, `in_flight` are in
    /// flight again; the rest is read first.
    pub(super) fn resume(&self, from: u64, again: Vec<Delivery>, in_flight: usize, bytes: u32) {
        let mut mailbox = self.mailbox.lock();
        let again_bytes = again.iter().map(charge).fold(0, u32::saturating_add);
        mailbox.bytes = mailbox.bytes.saturating_sub(bytes.saturating_sub(again_bytes));
        let Some(stored) = mailbox.queue.stored() else { return };
        if let Some(unread_from) = stored.unread_from {
            // What came since the restart may be in memory.
            let from = from.max(unread_from);
            stored.unread_from = (from < stored.next).then_some(from);
        }
        stored.unread = stored.unread.saturating_sub(again.len() + in_flight);
        stored.uncertain = stored.uncertain.saturating_sub(again.len() + in_flight);
        again.into_iter().for_each(|delivery| mailbox.queue.push(delivery));
    }

    /// Should somebody make room in what is only stored? Says so once, until [`Session::end_trim`].
    pub(crate) fn wants_trim(&self) -> bool {
        let mut mailbox = self.mailbox.lock();
        mailbox.queue.stored().is_some_and(|stored| !std::mem::replace(&mut stored.trimming, true))
    }

    /// What is queued for a session that has no connection and more than fits into memory.
    pub(crate) fn queued_while_offline(&self) -> Option<Queued> {
        let mailbox = self.mailbox.lock();
        let from = mailbox.queue.unread_from().filter(|_| mailbox.standing == Standing::Offline)?;
        Some(Queued { from, messages: mailbox.messages(), bytes: mailbox.bytes })
    }

    /// So much of what is only stored goes. `false`: not now, the client is back. Must be called while recording.
    pub(crate) fn trim(&self, messages: usize, bytes: u32) -> bool {
        let mut mailbox = self.mailbox.lock();
        if mailbox.standing != Standing::Offline {
            return false;
        }
        mailbox.bytes = mailbox.bytes.saturating_sub(bytes);
        if let Some(stored) = mailbox.queue.stored() {
            stored.unread = stored.unread.saturating_sub(messages);
        }
        true
    }

    /// Room was made.
    pub(crate) fn end_trim(&self) {
        if let Some(stored) = self.mailbox.lock().queue.stored() {
            stored.trimming = false;
        }
    }

    /// Ready when the connection must end, or when `drain` would take something given whether the window is open.
    pub(super) fn poll_mail(&self, context: &mut Context<'_>, window_open: bool) -> Poll<Option<SessionEnd>> {
        let mut mailbox = self.mailbox.lock();
        if let Some(end) = mailbox.end {
            return Poll::Ready(Some(end));
        }
        if mailbox.queue.front().is_some_and(|next| window_open || next.qos == QoS::AtMostOnce) {
            return Poll::Ready(None);
        }
        let nothing = mailbox.queue.is_empty();
        let stored_only = nothing && mailbox.queue.unread_from().is_some();
        if stored_only && window_open {
            return Poll::Ready(None);
        }
        // Behind a message that waits for the window, no later one is of interest.
        mailbox.wants_mail = nothing && !stored_only;
        match &mut mailbox.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    /// Ready when the connection must end.
    pub(super) fn poll_end(&self, context: &mut Context<'_>) -> Poll<SessionEnd> {
        let mut mailbox = self.mailbox.lock();
        if let Some(end) = mailbox.end {
            return Poll::Ready(end);
        }
        mailbox.wants_mail = false;
        match &mut mailbox.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    /// Tells the holder to end its connection. The first reason stays.
    pub(crate) fn end(&self, end: SessionEnd) {
        let waker = {
            let mut mailbox = self.mailbox.lock();
            mailbox.end.get_or_insert(end);
            mailbox.wants_mail = false;
            mailbox.waker.take()
        };
        wake(waker);
    }

    /// Why the connection must end, if it must.
    pub(crate) fn ended(&self) -> Option<SessionEnd> {
        self.mailbox.lock().end
    }

    /// Do others wait for this client, as it lags behind?
    pub(super) fn is_waited_for(&self) -> bool {
        let mut mailbox = self.mailbox.lock();
        mailbox.queue.lag().and_then(|lag| lag.as_ref()).is_some_and(|lag| !lag.is_over())
    }

    /// The client is back.
    pub(crate) fn go_online(&self) {
        self.mailbox.lock().end = None;
        self.stand(Standing::Online);
    }

    /// The connection is gone, the session stays: what is QoS 0 is forgotten, and of what is stored only the first part stays
    /// in memory. Returns the deliveries of shared subscriptions, which others may take.
    pub(crate) fn go_offline(&self) -> Vec<Delivery> {
        self.stand(Standing::Offline);
        let mut shared = Vec::new();
        let mut mailbox = self.mailbox.lock();
        mailbox.waker = None;
        mailbox.wants_mail = false;
        let mut in_memory = 0u32;
        let (mut left, mut left_from) = (0, None);
        let waiting: Vec<Mail> = mailbox.queue.take().collect();
        for delivery in waiting.into_iter().flat_map(Mail::into_deliveries) {
            let bytes = charge(&delivery);
            if delivery.shared.is_some() || delivery.qos == QoS::AtMostOnce {
                mailbox.bytes = mailbox.bytes.saturating_sub(bytes);
                if delivery.shared.is_some() {
                    shared.push(delivery);
                }
                continue;
            }
            let full =
                mailbox.queue.len() >= IN_MEMORY_OFFLINE.messages || in_memory >= IN_MEMORY_OFFLINE.bytes;
            if delivery.stored.is_stored() && (full || left_from.is_some()) {
                left_from = left_from.or(Some(delivery.stored.place()));
                left += 1;
            } else {
                in_memory = in_memory.saturating_add(bytes);
                mailbox.queue.push(delivery);
            }
        }
        if let (Some(from), Some(stored)) = (left_from, mailbox.queue.stored()) {
            stored.leave(from, left);
        }
        mailbox.queue.release_memory();
        shared
    }

    /// The session has ended. Returns what was queued in memory and came alone, as what is of shared subscriptions does, and from
    /// which place on the rest is stored.
    pub(crate) fn finish(&self) -> (Vec<Delivery>, Option<u64>) {
        self.stand(Standing::Gone);
        let mut mailbox = self.mailbox.lock();
        mailbox.waker = None;
        mailbox.wants_mail = false;
        mailbox.bytes = 0;
        let unread_from = mailbox.queue.unread_from();
        let queued = mailbox.queue.take().filter_map(Mail::one).collect();
        mailbox.queue = Queue::default();
        (queued, unread_from)
    }

    fn stand(&self, standing: Standing) {
        let mut mailbox = self.mailbox.lock();
        mailbox.standing = standing;
        mailbox.end_lag();
        self.standing.store(standing as u8, Ordering::Relaxed);
    }

    /// Messages and bytes that are queued.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn queued(&self) -> (usize, usize) {
        let mailbox = self.mailbox.lock();
        (mailbox.messages(), mailbox.bytes as usize)
    }

    /// Messages that are in memory.
    #[cfg(test)]
    pub(crate) fn in_memory(&self) -> usize {
        self.mailbox.lock().queue.len()
    }
}

/// How much is queued for a session.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Queued {
    /// From this place on it is not in memory.
    pub(crate) from: u64,
    pub(crate) messages: usize,
    pub(crate) bytes: u32,
}

impl Mailbox {
    fn push(
        &mut self,
        mut delivery: Delivery,
        session: SessionId,
        bounds: Bounds,
        evicted: &mut Evicted,
    ) -> Pushed {
        match self.standing {
            Standing::Online => {}
            Standing::Offline if delivery.qos > QoS::AtMostOnce => {}
            Standing::Offline => return Pushed::Missed,
            Standing::Gone => return Pushed::Gone(delivery),
        }
        let is_owed = self.is_owed(delivery.qos, delivery.message.publisher, session);
        let bytes = charge(&delivery);
        if !self.has_room(bytes, bounds, evicted) {
            return Pushed::Full(if is_owed { self.lag(bounds) } else { None });
        }
        let is_full = self.memory_is_full();
        self.bytes += bytes;
        let stored = match self.queue.stored() {
            Some(queue) if delivery.qos > QoS::AtMostOnce => {
                delivery.stored = queue.place();
                let only_stored = queue.unread_from.is_some() || is_full;
                if only_stored {
                    queue.leave(queue.unread_from.unwrap_or_else(|| delivery.stored.place()), 1);
                }
                (delivery.stored, only_stored)
            }
            _ => (Sequence::default(), false),
        };
        let (stored, only_stored) = stored;
        if !only_stored {
            self.queue.push(delivery);
        }
        let lag = if is_owed { self.lag(bounds) } else { None };
        Pushed::Queued { stored, lag }
    }

    /// All of it as one, if it fits as it is. Otherwise one message after the other.
    fn push_part(
        &mut self,
        part: Part,
        session: SessionId,
        bounds: Bounds,
        evicted: &mut Evicted,
    ) -> (u64, Option<Arc<Lag>>) {
        let (messages, bytes) = (part.len(), part.charge());
        let fits = self.messages().saturating_add(messages) <= bounds.messages
            && self.bytes.saturating_add(bytes) <= bounds.bytes;
        if messages > 1 && fits && self.standing == Standing::Online {
            let is_owed = self.is_owed(part.qos(), part.publisher(), session);
            let keeps_up = bounds.hardly_used_by(self.messages(), self.bytes);
            self.bytes += bytes;
            self.queue.push_part(if keeps_up { part } else { part.without_packets() });
            return (0, if is_owed { self.lag(bounds) } else { None });
        }
        let (mut full, mut waited_for) = (0, None);
        for delivery in part.deliveries() {
            let lag = match self.push(delivery, session, bounds, evicted) {
                Pushed::Queued { lag, .. } => lag,
                Pushed::Missed => None,
                Pushed::Full(lag) => {
                    full += 1;
                    lag
                }
                Pushed::Gone(_) => break,
            };
            waited_for = lag.or(waited_for);
        }
        (full, waited_for)
    }

    /// Is a publisher to wait rather than that the client misses this?
    fn is_owed(&self, qos: QoS, publisher: Option<SessionId>, session: SessionId) -> bool {
        self.standing == Standing::Online && qos > QoS::AtMostOnce && publisher != Some(session)
    }

    /// There is mail: adds the holder if it waits for it.
    fn call(&mut self, session: SessionId, wakers: &mut Wakers) {
        if std::mem::take(&mut self.wants_mail) && !wakers.know_awake(session) {
            wakers.add(self.waker.take());
        }
    }

    fn messages(&self) -> usize {
        self.queue.len() + self.queue.unread()
    }

    /// Whether `bytes` more fit, after making room by removing what has expired in front, and what is oldest if that is what
    /// goes.
    fn has_room(&mut self, bytes: u32, bounds: Bounds, evicted: &mut Evicted) -> bool {
        let fits = |mailbox: &Self| {
            mailbox.messages() < bounds.messages && mailbox.bytes.saturating_add(bytes) <= bounds.bytes
        };
        if fits(self) {
            return true;
        }
        let now = Instant::now();
        while self.queue.front().is_some_and(|next| next.message.is_expired(now)) {
            evicted.expired.extend(self.pop());
        }
        if bounds.drop_oldest && bytes <= bounds.bytes {
            while !fits(self) {
                let Some(oldest) = self.pop() else { break };
                evicted.oldest.push(oldest);
            }
        }
        if fits(self) {
            return true;
        }
        evicted.overfull = self.queue.unread() > 0;
        // The oldest will go in a moment.
        bounds.drop_oldest
            && evicted.overfull
            && self.messages() < bounds.messages.saturating_add(bounds.messages / 8 + 16)
            && self.bytes.saturating_add(bytes) <= bounds.bytes.saturating_add(bounds.bytes / 8)
    }

    /// For a publisher to wait for, if more is queued than should be.
    fn lag(&mut self, bounds: Bounds) -> Option<Arc<Lag>> {
        let (messages, bytes) = (self.messages(), self.bytes);
        let lag = self.queue.lag()?;
        if lag.is_none() {
            *lag = Lag::of(messages, bytes, bounds).map(Arc::new);
        }
        lag.as_ref().filter(|lag| !lag.is_over()).cloned()
    }

    /// Some of the queue was taken.
    fn catch_up(&mut self) {
        let (messages, bytes) = (self.messages(), self.bytes);
        let lag = self.queue.lag().and_then(|lag| lag.as_ref());
        if lag.is_some_and(|lag| lag.is_caught_up(messages, bytes)) {
            self.end_lag();
        }
    }

    fn end_lag(&mut self) {
        if let Some(lag) = self.queue.lag().and_then(Option::take) {
            lag.end();
        }
    }

    /// Whether more is in memory of a durable session's queue than should be.
    fn memory_is_full(&self) -> bool {
        let most = match self.standing {
            Standing::Online => IN_MEMORY_ONLINE,
            Standing::Offline | Standing::Gone => IN_MEMORY_OFFLINE,
        };
        self.queue.len() >= most.messages || self.bytes >= most.bytes
    }

    fn pop_part(&mut self, most: usize) -> Option<Box<Part>> {
        let part = self.queue.pop_part(most)?;
        self.bytes = self.bytes.saturating_sub(part.charge());
        Some(part)
    }

    fn pop(&mut self) -> Option<Delivery> {
        let delivery = self.queue.pop()?;
        self.bytes = self.bytes.saturating_sub(charge(&delivery));
        Some(delivery)
    }
}

/// What a delivery counts against the bound of bytes.
pub(crate) fn charge(delivery: &Delivery) -> u32 {
    delivery.message.charge()
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}
