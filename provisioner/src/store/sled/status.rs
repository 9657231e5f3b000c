//! What readers, writers and health checks know of the committer.
use super::closed;
use crate::store::{Revision, StoreError};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::watch;

/// How far the committer is, and whether it has failed, for now or for good.
pub(super) struct Status {
    durable: AtomicU64,
    /// The newest durable revision with changes.
    latest: watch::Sender<Revision>,
    trimmed: AtomicU64,
    /// Bytes that were not free when something was to be written last; 0: they were.
    lacking: AtomicU64,
    failure: OnceLock<String>,
}

impl Status {
    pub(super) fn new(durable: Revision, latest: Revision, trimmed: Revision) -> Self {
        Self {
            durable: AtomicU64::new(durable.0),
            latest: watch::Sender::new(latest),
            trimmed: AtomicU64::new(trimmed.0),
            lacking: AtomicU64::new(0),
            failure: OnceLock::new(),
        }
    }
    pub(super) fn durable(&self) -> Revision {
        Revision(self.durable.load(Ordering::Acquire))
    }
    pub(super) fn latest(&self) -> watch::Receiver<Revision> {
        self.latest.subscribe()
    }
    pub(super) fn trimmed(&self) -> Revision {
        Revision(self.trimmed.load(Ordering::Acquire))
    }
    /// A group is on disk.
    pub(super) fn advance(&self, durable: Revision, latest: Revision, trimmed: Revision) {
        self.trimmed.store(trimmed.0, Ordering::Release);
        self.durable.store(durable.0, Ordering::Release);
        self.latest.send_if_modified(|l| {
            let grown = *l < latest;
            *l = (*l).max(latest);
            grown
        });
    }
    /// So many bytes have to be free before what was refused can be written; 0: nothing was refused since something was written.
    pub(super) fn lacking(&self) -> u64 {
        self.lacking.load(Ordering::Relaxed)
    }
    /// There was no room for so many bytes; 0: there is.
    pub(super) fn lacks(&self, bytes: u64) {
        self.lacking.store(bytes, Ordering::Relaxed);
    }
    /// Refuses all further writes; the first reason stays.
    pub(super) fn fail(&self, why: String) -> StoreError {
        if self.failure.set(why).is_ok() {
            tracing::error!(why = self.failure.get(), "the registry cannot be written any more");
        }
        self.why()
    }
    /// Why nothing is written, if it has failed.
    pub(super) fn failure(&self) -> Option<StoreError> {
        self.failure.get().map(|why| StoreError::Unavailable(why.clone()))
    }
    /// Why nothing is written: it has failed, or has been closed.
    pub(super) fn why(&self) -> StoreError {
        self.failure().unwrap_or_else(closed)
    }
}
