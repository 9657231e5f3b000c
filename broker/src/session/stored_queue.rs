//! The stored part of a durable session's queue. Every QoS 1 and 2 delivery of such a session is stored; the first ones are in
//! memory as well, and the others are read when there is room for them.
use super::durable::Sequence;

/// Where the queue of a durable session stands.
#[derive(Debug)]
pub(crate) struct StoredQueue {
    /// The next place in the queue.
    pub(super) next: u64,
    /// The next place beside it.
    pub(super) next_aside: u64,
    /// The first place that is not in memory; all behind it are not, either. `None`: everything is in memory.
    pub(super) unread_from: Option<u64>,
    /// How many are not in memory.
    pub(super) unread: usize,
    /// So many of the next that are read may have been sent before a crash.
    pub(super) uncertain: usize,
    /// Somebody is making room.
    pub(super) trimming: bool,
}

impl Default for StoredQueue {
    fn default() -> Self {
        Self {
            next: Sequence::FIRST_QUEUED,
            next_aside: Sequence::FIRST_ASIDE,
            unread_from: None,
            unread: 0,
            uncertain: 0,
            trimming: false,
        }
    }
}

impl StoredQueue {
    /// As an earlier process has left it: so many messages, all of them before this place.
    pub(crate) fn restored(next: u64, next_aside: u64, messages: usize, uncertain: usize) -> Self {
        let unread_from = (messages > 0).then_some(Sequence::FIRST_QUEUED);
        Self { next, next_aside, unread_from, unread: messages, uncertain, trimming: false }
    }

    /// The place of a delivery that is put at the end.
    pub(super) fn place(&mut self) -> Sequence {
        let place = self.next;
        self.next += 1;
        Sequence::new(place)
    }

    /// The place of a delivery that does not wait.
    pub(super) fn place_aside(&mut self) -> Sequence {
        let place = self.next_aside;
        self.next_aside += 1;
        Sequence::new(place)
    }

    /// From this place on nothing is in memory.
    pub(super) fn leave(&mut self, from: u64, deliveries: usize) {
        self.unread_from = Some(from);
        self.unread += deliveries;
    }
}
