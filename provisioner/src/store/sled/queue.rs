//! Batches on their way to the committer: bounded by their size in memory, taken in groups.
use crate::store::{Batch, Revision, StoreError};
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// KiB of batches that may wait; further writers wait for a slot.
const CAPACITY: u32 = 64 * 1024;
/// A group is not made larger than this, so that the first of it does not wait long for the last.
const GROUP_COMMITS: usize = 128;
const GROUP_BYTES: usize = 4 * 1024 * 1024;
/// In a crowd the next group is given this long to grow: a flush costs the same for two commits and for twenty. Who comes
/// alone does not wait.
const GATHER: Duration = Duration::from_millis(4);
/// A crowd: this many commits in the group before.
const CROWD: usize = 3;
/// How long a batch that nobody waits for lies here before it is written on its own account.
const LATER: Duration = Duration::from_millis(50);

/// A batch, who waits for it, and its place in the queue.
pub(super) struct Request {
    pub batch: Batch,
    /// `None`: nobody waits.
    pub reply: Option<oneshot::Sender<Result<Revision, StoreError>>>,
    pub slot: OwnedSemaphorePermit,
}

/// The queue between the writers and the committer.
pub(super) struct Queue {
    slots: Arc<Semaphore>,
    inner: Mutex<Inner>,
    filled: Condvar,
}

#[derive(Default)]
struct Inner {
    waiting: VecDeque<Request>,
    /// How many of the waiting somebody waits for.
    urgent: usize,
    /// When the first of those arrived that nobody waits for.
    lazy_since: Option<Instant>,
    /// Commits in the group before that somebody waited for.
    last_group: usize,
    /// The committer gathers, and wants to be woken when this many are urgent.
    gathering: Option<usize>,
    closed: bool,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            slots: Arc::new(Semaphore::new(CAPACITY as usize)),
            inner: Mutex::default(),
            filled: Condvar::new(),
        }
    }
}

impl Queue {
    /// Waits for room. `None`: closed.
    pub(super) async fn slot(&self, batch: &Batch) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.slots).acquire_many_owned(size(batch)).await.ok()
    }
    /// Room, if there is some right now.
    pub(super) fn slot_now(&self, batch: &Batch) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.slots).try_acquire_many_owned(size(batch)).ok()
    }
    /// Appends; `false`: closed.
    pub(super) fn push(&self, request: Request) -> bool {
        let mut inner = self.inner.lock();
        if inner.closed {
            return false;
        }
        if request.reply.is_some() {
            inner.urgent += 1;
        } else if inner.lazy_since.is_none() {
            inner.lazy_since = Some(Instant::now());
        }
        inner.waiting.push_back(request);
        let enough = inner.gathering.is_none_or(|wanted| inner.urgent >= wanted);
        drop(inner);
        if enough {
            self.filled.notify_one();
        }
        true
    }
    /// Waits for the next group, in the order of arrival. `None`: closed and empty.
    pub(super) fn take(&self) -> Option<Vec<Request>> {
        let mut inner = self.inner.lock();
        while inner.urgent == 0 && !inner.closed {
            match inner.lazy_since {
                None => self.filled.wait(&mut inner),
                Some(since) => {
                    if self.filled.wait_until(&mut inner, since + LATER).timed_out() {
                        break;
                    }
                }
            }
        }
        if inner.last_group >= CROWD {
            let wanted = (2 * inner.last_group).min(GROUP_COMMITS);
            let until = Instant::now() + GATHER;
            inner.gathering = Some(wanted);
            while inner.urgent < wanted && !inner.closed {
                if self.filled.wait_until(&mut inner, until).timed_out() {
                    break;
                }
            }
            inner.gathering = None;
        }
        inner.last_group = inner.urgent.min(GROUP_COMMITS);
        let mut group = Vec::new();
        let mut bytes = 0;
        while group.len() < GROUP_COMMITS && bytes < GROUP_BYTES {
            let Some(request) = inner.waiting.pop_front() else { break };
            bytes += request.batch.weight();
            if request.reply.is_some() {
                inner.urgent -= 1;
            }
            group.push(request);
        }
        if inner.waiting.is_empty() {
            inner.lazy_since = None;
        }
        (!group.is_empty()).then_some(group)
    }
    /// Takes nothing more; what waits is still taken.
    pub(super) fn close(&self) {
        self.slots.close();
        self.inner.lock().closed = true;
        self.filled.notify_all();
    }
    /// Takes nothing more and drops what waits: nobody will take it.
    pub(super) fn abandon(&self) {
        self.close();
        let waiting = std::mem::take(&mut self.inner.lock().waiting);
        drop(waiting);
    }
}

fn size(batch: &Batch) -> u32 {
    u32::try_from(batch.weight() / 1024 + 1).unwrap_or(CAPACITY).min(CAPACITY)
}
