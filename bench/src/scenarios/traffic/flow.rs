//! How far publishers may be ahead of the slowest subscriber.
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};

/// What was published and what has come, shared by all publishers and subscribers of one measurement.
pub struct Flow {
    published: AtomicU64,
    received: Vec<AtomicU64>,
    stopped: AtomicBool,
    moved: Notify,
    /// Closed at the end.
    finished: Semaphore,
    ahead: u64,
}

impl Flow {
    /// `ahead`: how many messages may be on their way to a subscriber.
    pub fn new(subscribers: usize, ahead: u64) -> Self {
        Self {
            published: AtomicU64::new(0),
            received: (0..subscribers).map(|_| AtomicU64::new(0)).collect(),
            stopped: AtomicBool::new(false),
            moved: Notify::new(),
            finished: Semaphore::new(0),
            ahead,
        }
    }

    /// Waits until `count` messages may be published, and takes them as published. False: it is over.
    pub async fn take(&self, count: u64) -> bool {
        loop {
            if self.stopped.load(Ordering::Relaxed) {
                self.moved.notify_one();
                return false;
            }
            if self.try_take(count) {
                // Another publisher may wait for what is left.
                self.moved.notify_one();
                return true;
            }
            self.moved.notified().await;
        }
    }

    fn try_take(&self, count: u64) -> bool {
        let bound = self.slowest() + self.ahead;
        let more = |published: u64| (published + count <= bound).then_some(published + count);
        self.published.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// One more will be published, whoever is behind.
    pub fn announce(&self) {
        self.published.fetch_add(1, Ordering::Relaxed);
    }

    /// A subscriber has received so many more.
    pub fn arrived(&self, subscriber: usize, count: u64) {
        if let Some(received) = self.received.get(subscriber) {
            received.fetch_add(count, Ordering::Relaxed);
        }
        self.moved.notify_one();
    }

    /// All deliveries so far.
    pub fn delivered(&self) -> u64 {
        self.received.iter().map(|received| received.load(Ordering::Relaxed)).sum()
    }

    /// Publishers end.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.moved.notify_one();
    }

    /// Waits until everything has come, or nothing more came for so long.
    pub async fn drained(&self, patience: Duration) {
        while self.balance().0 > 0 {
            let before = self.delivered();
            let arrival = tokio::time::timeout(patience, self.moved.notified()).await;
            if arrival.is_err() && self.delivered() == before {
                return;
            }
        }
    }

    /// Deliveries that are missing, and those that are too many, of all subscribers.
    pub fn balance(&self) -> (u64, u64) {
        let published = self.published.load(Ordering::Relaxed);
        self.received.iter().map(|received| received.load(Ordering::Relaxed)).fold(
            (0, 0),
            |sums, received| {
                (sums.0 + published.saturating_sub(received), sums.1 + received.saturating_sub(published))
            },
        )
    }

    /// Subscribers end.
    pub fn finish(&self) {
        self.finished.close();
    }

    /// Until [`Flow::finish`].
    pub async fn finished(&self) {
        // It has no permits: this waits until it is closed.
        let _ = self.finished.acquire().await;
    }

    fn slowest(&self) -> u64 {
        self.received.iter().map(|received| received.load(Ordering::Relaxed)).min().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    const AHEAD: u64 = 4000;

    #[tokio::test]
    async fn publishers_wait_for_the_slowest_subscriber() {
        let flow = Arc::new(Flow::new(2, AHEAD));
        assert!(flow.take(AHEAD).await);
        let waiting = tokio::spawn({
            let flow = flow.clone();
            async move { flow.take(10).await }
        });
        flow.arrived(0, 100);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        flow.arrived(1, 10);
        assert!(waiting.await.unwrap());
        assert_eq!(flow.delivered(), 110);
        assert_eq!(flow.balance(), (2 * (AHEAD + 10) - 110, 0));
        flow.arrived(1, AHEAD + 1);
        assert_eq!(flow.balance(), (AHEAD + 10 - 100, 1));
    }

    #[tokio::test]
    async fn those_who_wait_are_told_that_it_is_over() {
        let flow = Arc::new(Flow::new(1, AHEAD));
        assert!(flow.take(AHEAD).await);
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let flow = flow.clone();
                tokio::spawn(async move { flow.take(1).await })
            })
            .collect();
        tokio::task::yield_now().await;
        flow.stop();
        for publisher in waiting {
            assert!(!publisher.await.unwrap());
        }
    }
}
