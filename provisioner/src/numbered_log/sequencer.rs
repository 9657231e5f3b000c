//! Sequence numbers of records, and up to where they are all decided.
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Hands out rising numbers. Records are committed in any order, so a reader that remembers the highest number it has
/// seen would miss a lower one that is committed later: readers stop at the lowest number that is still open.
#[derive(Debug)]
pub(crate) struct Sequencer {
    state: Mutex<State>,
    decided: watch::Sender<u64>,
}
#[derive(Debug)]
struct State {
    next: u64,
    open: BTreeSet<u64>,
}

/// Numbers that are not committed yet. Dropped when they are, or never will be.
#[derive(Debug)]
pub(crate) struct Ticket {
    first: u64,
    count: u64,
    sequencer: Arc<Sequencer>,
}

impl Sequencer {
    pub(crate) fn starting_at(next: u64) -> Arc<Self> {
        let state = Mutex::new(State { next, open: BTreeSet::new() });
        Arc::new(Self { state, decided: watch::Sender::new(next) })
    }
    /// Opens `count` numbers.
    pub(crate) fn open(self: &Arc<Self>, count: usize) -> Ticket {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        let mut state = self.state.lock();
        let first = state.next;
        state.next = first.saturating_add(count);
        state.open.insert(first);
        Ticket { first, count, sequencer: Arc::clone(self) }
    }
    /// The number that the next record gets.
    pub(crate) fn next(&self) -> u64 {
        self.state.lock().next
    }
    /// All numbers below this are committed, or never will be. Waits, at most so long, for those open now.
    pub(crate) async fn decided(&self, patience: Duration) -> u64 {
        let target = self.next();
        let mut decided = self.decided.subscribe();
        match tokio::time::timeout(patience, decided.wait_for(|decided| *decided >= target)).await {
            Ok(Ok(decided)) => *decided,
            Ok(Err(_)) | Err(_) => *self.decided.borrow(),
        }
    }
    /// As [`Sequencer::decided`] is now.
    pub(crate) fn decided_now(&self) -> u64 {
        *self.decided.borrow()
    }
    /// Returns when all numbers up to this one are decided. Cancel-safe.
    pub(crate) async fn beyond(&self, number: u64) {
        // The sender lives as long as `self`, so this ends only with an answer.
        let _ = self.decided.subscribe().wait_for(|decided| *decided > number).await;
    }
}

impl Ticket {
    pub(crate) fn numbers(&self) -> std::ops::Range<u64> {
        self.first..self.first.saturating_add(self.count)
    }
}
impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.sequencer.state.lock();
        state.open.remove(&self.first);
        let decided = state.open.first().copied().unwrap_or(state.next);
        self.sequencer.decided.send_replace(decided);
    }
}

#[cfg(test)]
mod tests {
    use super::Sequencer;
    use std::time::Duration;

    #[tokio::test]
    async fn readers_stop_below_what_is_still_open() {
        let sequencer = Sequencer::starting_at(5);
        let (a, b, c) = (sequencer.open(1), sequencer.open(3), sequencer.open(1));
        assert_eq!((a.numbers(), b.numbers(), c.numbers()), (5..6, 6..9, 9..10));
        drop(b);
        assert_eq!(sequencer.decided(Duration::ZERO).await, 5);
        drop(a);
        assert_eq!(sequencer.decided(Duration::ZERO).await, 9);
        drop(c);
        assert_eq!((sequencer.decided(Duration::ZERO).await, sequencer.next()), (10, 10));
    }

    #[tokio::test]
    async fn readers_wait_for_a_commit_that_is_under_way() {
        let sequencer = Sequencer::starting_at(1);
        let ticket = sequencer.open(1);
        let reader = tokio::spawn({
            let sequencer = sequencer.clone();
            async move { sequencer.decided(Duration::from_secs(60)).await }
        });
        tokio::task::yield_now().await;
        drop(ticket);
        assert_eq!(reader.await.unwrap(), 2);
    }
}
