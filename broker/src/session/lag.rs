//! A client that lags behind: so much is queued for it, although it is there, that those who publish to it wait before
//! something has to be dropped. Not for long: nobody can hold up others by not reading.
use super::Bounds;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// One time of lagging behind: from when the queue was half full until it is less than a quarter full, or until those who wait
/// have lost patience. Then nobody waits any more before the client has caught up.
#[derive(Debug)]
pub(crate) struct Lag {
    until: Instant,
    /// Less than this is queued when the client has caught up.
    messages: usize,
    bytes: u32,
    over: AtomicBool,
    ended: Notify,
}

impl Lag {
    /// Begins now, if so much is too much.
    pub(super) fn of(messages: usize, bytes: u32, bounds: Bounds) -> Option<Self> {
        let is_long = messages >= bounds.messages / 2 || bytes >= bounds.bytes / 2;
        (is_long && !bounds.patience.is_zero()).then(|| Self {
            until: Instant::now() + bounds.patience,
            messages: bounds.messages / 4,
            bytes: bounds.bytes / 4,
            over: AtomicBool::new(false),
            ended: Notify::new(),
        })
    }

    /// Has the client caught up when so much is queued?
    pub(super) fn is_caught_up(&self, messages: usize, bytes: u32) -> bool {
        messages <= self.messages && bytes <= self.bytes
    }

    /// Is nobody to wait any more?
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Lets all go who wait.
    pub(super) fn end(&self) {
        self.over.store(true, Ordering::Release);
        self.ended.notify_waiters();
    }

    /// Waits until the client has caught up or is gone, or until the patience is at an end.
    pub(crate) async fn wait(&self) {
        // From here on it hears of the end.
        let ended = self.ended.notified();
        if !self.is_over() && timeout_at(self.until, ended).await.is_err() {
            self.end();
        }
    }
}
