//! The queue of one session. Publishers push, the holder drains, one lock in between that is held for a few
//! instructions.
use super::Session;
use super::queue::Queue;
use crate::backend::SessionEnd;
use crate::message::{Delivery, QoS};
use crate::router::Standing;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use tokio::time::Instant;

/// What a mailbox takes; the same for all.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) messages: usize,
    /// At most 4 GiB: that is as far as a mailbox counts.
    pub(crate) bytes: u32,
}

/// What became of a delivery.
#[derive(Debug)]
pub(crate) enum Pushed {
    /// It will be sent.
    Queued,
    /// It was QoS 0 and nobody is there.
    Missed,
    /// The mailbox is at its bounds.
    Full,
    /// The session has ended; the delivery comes back.
    Gone(Delivery),
}

#[derive(Debug)]
pub(super) struct Mailbox {
    queue: Queue,
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

impl Session {
    /// Queues a delivery. Cheap: it decides the speed of fan-out.
    pub(crate) fn push(&self, delivery: Delivery, bounds: Bounds) -> Pushed {
        let waker = {
            let mut mailbox = self.mailbox.lock();
            match mailbox.standing {
                Standing::Online => {}
                Standing::Offline if delivery.qos > QoS::AtMostOnce => {}
                Standing::Offline => return Pushed::Missed,
                Standing::Gone => return Pushed::Gone(delivery),
            }
            let bytes = charge(&delivery);
            if !mailbox.has_room(bytes, bounds) {
                return Pushed::Full;
            }
            mailbox.bytes += bytes;
            mailbox.queue.push(delivery);
            if !mailbox.wants_mail {
                return Pushed::Queued;
            }
            mailbox.wants_mail = false;
            mailbox.waker.take()
        };
        wake(waker);
        Pushed::Queued
    }

    /// Takes up to `max` deliveries from the front, counting those with QoS 1 or 2 against `window` and stopping at one that
    /// has no room there. Returns how many had expired and were left out.
    pub(super) fn drain(&self, max: usize, window: &mut usize, mail: &mut Vec<Delivery>) -> u64 {
        let mut expired = 0;
        let mut now = None;
        let mut mailbox = self.mailbox.lock();
        let mut taken = 0;
        while taken < max {
            let Some(next) = mailbox.queue.front() else { break };
            let confirmed = next.qos > QoS::AtMostOnce;
            if confirmed && *window == 0 {
                break;
            }
            let is_expired = next.message.expires_at.is_some()
                && next.message.is_expired(*now.get_or_insert_with(Instant::now));
            let Some(delivery) = mailbox.pop() else { break };
            if is_expired {
                expired += 1;
                continue;
            }
            *window -= usize::from(confirmed);
            taken += 1;
            mail.push(delivery);
        }
        mailbox.queue.release_memory();
        expired
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
        // Behind a message that waits for the window, no later one is of interest.
        mailbox.wants_mail = mailbox.queue.is_empty();
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

    /// The client is back.
    pub(crate) fn go_online(&self) {
        self.mailbox.lock().end = None;
        self.stand(Standing::Online);
    }

    /// The connection is gone, the session stays: what is QoS 0 is forgotten. Returns the deliveries of shared subscriptions,
    /// which others may take.
    pub(crate) fn go_offline(&self) -> Vec<Delivery> {
        self.stand(Standing::Offline);
        let mut shared = Vec::new();
        let mut mailbox = self.mailbox.lock();
        mailbox.waker = None;
        mailbox.wants_mail = false;
        let mut stay = Queue::default();
        let mut bytes = 0;
        for delivery in std::mem::take(&mut mailbox.queue) {
            if delivery.shared.is_some() {
                shared.push(delivery);
            } else if delivery.qos > QoS::AtMostOnce {
                bytes += charge(&delivery);
                stay.push(delivery);
            }
        }
        mailbox.queue = stay;
        mailbox.bytes = bytes;
        shared
    }

    /// The session has ended. Returns what was queued.
    pub(crate) fn finish(&self) -> Queue {
        self.stand(Standing::Gone);
        let mut mailbox = self.mailbox.lock();
        mailbox.waker = None;
        mailbox.wants_mail = false;
        mailbox.bytes = 0;
        std::mem::take(&mut mailbox.queue)
    }

    fn stand(&self, standing: Standing) {
        self.mailbox.lock().standing = standing;
        self.standing.store(standing as u8, Ordering::Relaxed);
    }

    /// Messages and bytes that are queued.
    #[cfg(test)]
    pub(crate) fn queued(&self) -> (usize, usize) {
        let mailbox = self.mailbox.lock();
        (mailbox.queue.len(), mailbox.bytes as usize)
    }
}

impl Mailbox {
    /// Whether `bytes` more fit, after making room by removing what has expired in front.
    fn has_room(&mut self, bytes: u32, bounds: Bounds) -> bool {
        let fits = |mailbox: &Self| {
            mailbox.queue.len() < bounds.messages && mailbox.bytes.saturating_add(bytes) <= bounds.bytes
        };
        if fits(self) {
            return true;
        }
        let now = Instant::now();
        while self.queue.front().is_some_and(|next| next.message.is_expired(now)) {
            self.pop();
        }
        fits(self)
    }

    fn pop(&mut self) -> Option<Delivery> {
        let delivery = self.queue.pop()?;
        self.bytes = self.bytes.saturating_sub(charge(&delivery));
        Some(delivery)
    }
}

/// What a delivery counts against the bound of bytes.
fn charge(delivery: &Delivery) -> u32 {
    u32::try_from(delivery.message.queued_bytes()).unwrap_or(u32::MAX)
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}
