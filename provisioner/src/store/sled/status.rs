//! What readers, writers and health checks know of the committer.
use super::closed;
use crate::store::{Revision, StoreError};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::watch;

/// How far the committer is, and whether it has failed for good.
pub(super) struct Status {
    durable: watch::Sender<Revision>,
    /// The newest durable revision with changes.
    latest: watch::Sender<Revision>,
    trimmed: AtomicU64,
    failure: OnceLock<String>,
}

impl Status {
    pub(super) fn new(durable: Revision, latest: Revision, trimmed: Revision) -> Self {
        Self {
            durable: watch::Sender::new(durable),
            latest: watch::Sender::new(latest),
            trimmed: AtomicU64::new(trimmed.0),
            failure: OnceLock::new(),
        }
    }
    pub(super) fn durable(&self) -> Revision {
        *self.durable.borrow()
    }
    pub(super) fn is_durable(&self, revision: Revision) -> bool {
        revision <= self.durable()
    }
    pub(super) async fn wait_durable(&self, revision: Revision) -> Result<(), StoreError> {
        let mut durable = self.durable.subscribe();
        // The sender lives as long as `self`, so this ends only with an answer.
        let _ = durable.wait_for(|d| *d >= revision || self.failure.get().is_some()).await;
        if self.is_durable(revision) { Ok(()) } else { Err(self.why()) }
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
        self.durable.send_replace(durable);
        self.latest.send_if_modified(|l| {
            let grown = *l < latest;
            *l = (*l).max(latest);
            grown
        });
    }
    /// Refuses all further writes; the first reason stays.
    pub(super) fn fail(&self, why: String) -> StoreError {
        if self.failure.set(why).is_ok() {
            tracing::error!(why = self.failure.get(), "the registry cannot be written any more");
        }
        self.durable.send_modify(|_| ());
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
