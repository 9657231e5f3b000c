//! When sessions expire and delayed wills are due: one ordered map for all, minded by one task.
use crate::session::Session;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// Points in time at which a session needs attention.
#[derive(Default)]
pub(crate) struct Timers {
    state: Mutex<State>,
    /// The earliest timer changed, or all is over.
    changed: Notify,
}

#[derive(Default)]
struct State {
    timers: BTreeMap<Timer, Arc<Session>>,
    set: u64,
    closed: bool,
}

/// Names a timer that was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Timer {
    at: Instant,
    number: u64,
}

impl Timers {
    /// Sets a timer.
    pub(crate) fn set(&self, at: Instant, session: Arc<Session>) -> Timer {
        let mut state = self.state.lock();
        state.set += 1;
        let timer = Timer { at, number: state.set };
        state.timers.insert(timer, session);
        if state.timers.first_key_value().is_some_and(|(first, _)| *first == timer) {
            self.changed.notify_one();
        }
        timer
    }

    /// Removes a timer, unless it is due already.
    pub(crate) fn cancel(&self, timer: Timer) {
        self.state.lock().timers.remove(&timer);
    }

    /// Waits for the next timer and takes it; `None` when closed.
    pub(crate) async fn next(&self) -> Option<(Timer, Arc<Session>)> {
        loop {
            let changed = self.changed.notified();
            let next = {
                let mut state = self.state.lock();
                if state.closed {
                    return None;
                }
                let now = Instant::now();
                match state.timers.first_entry() {
                    Some(first) if first.key().at <= now => return Some(first.remove_entry()),
                    Some(first) => Some(first.key().at),
                    None => None,
                }
            };
            match next {
                None => changed.await,
                Some(at) => {
                    tokio::select! {
                        () = changed => {}
                        () = sleep_until(at) => {}
                    }
                }
            }
        }
    }

    /// No timer fires any more.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_one();
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn len(&self) -> usize {
        self.state.lock().timers.len()
    }
}

/// `wait` from now; in the very far future if that cannot be counted.
pub(crate) fn after(wait: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(86_400 * 365 * 30);
    let now = Instant::now();
    now.checked_add(wait).unwrap_or_else(|| now + FAR)
}
