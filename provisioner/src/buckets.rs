//! Rates per key: token buckets, as many as are needed and never more than a bound.
use crate::clock::Timestamp;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// One token is this much, so that a millisecond of refill at one token per second is a whole number.
const TOKEN: u64 = 1000;

/// A bucket per key, each holding at most one second's worth of tokens. A key that was never charged has a full
/// bucket and takes no memory; over `most` keys the one charged for the first time longest ago is forgotten.
#[derive(Debug)]
pub struct Buckets<K> {
    most: usize,
    state: Mutex<State<K>>,
}
#[derive(Debug)]
struct State<K> {
    buckets: HashMap<K, Bucket>,
    /// The keys of `buckets` by the time of their first charge.
    order: VecDeque<K>,
}
#[derive(Debug, Clone, Copy)]
struct Bucket {
    level: u64,
    rate: u32,
    at: Timestamp,
}

impl<K: Hash + Eq + Clone> Buckets<K> {
    /// Remembers at most so many keys.
    pub fn new(most: usize) -> Self {
        Self { most, state: Mutex::new(State { buckets: HashMap::new(), order: VecDeque::new() }) }
    }

    /// Has the key a token at `rate` tokens per second? 0 is unlimited.
    pub fn has_token(&self, key: &K, rate: u32, now: Timestamp) -> bool {
        rate == 0
            || self
                .state
                .lock()
                .buckets
                .get(key)
                .is_none_or(|bucket| bucket.refilled(rate, now).level >= TOKEN)
    }

    /// Takes a token if there is one at `rate` tokens per second; says whether there was. 0 is unlimited.
    pub fn take(&self, key: &K, rate: u32, now: Timestamp) -> bool {
        if rate == 0 {
            return true;
        }
        let mut state = self.state.lock();
        if let Some(bucket) = state.buckets.get_mut(key) {
            *bucket = bucket.refilled(rate, now);
            if bucket.level < TOKEN {
                return false;
            }
            bucket.level -= TOKEN;
            return true;
        }
        state.forget(self.most, now);
        let level = Bucket::full(rate) - TOKEN;
        state.buckets.insert(key.clone(), Bucket { level, rate, at: now });
        state.order.push_back(key.clone());
        true
    }

    /// Forgets every charge.
    pub fn clear(&self) {
        let mut state = self.state.lock();
        state.buckets.clear();
        state.order.clear();
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.state.lock().buckets.len()
    }
}

impl<K: Hash + Eq> State<K> {
    /// Makes room for one: drops the oldest keys while they are full again, and one more if there is no room yet.
    fn forget(&mut self, most: usize, now: Timestamp) {
        while let Some(oldest) = self.order.front() {
            let full = self
                .buckets
                .get(oldest)
                .is_none_or(|b| b.refilled(b.rate, now).level >= Bucket::full(b.rate));
            if !full && self.buckets.len() < most {
                return;
            }
            if let Some(key) = self.order.pop_front() {
                self.buckets.remove(&key);
            }
        }
    }
}

impl Bucket {
    fn full(rate: u32) -> u64 {
        u64::from(rate) * TOKEN
    }
    fn refilled(self, rate: u32, now: Timestamp) -> Self {
        let elapsed = now.millis().saturating_sub(self.at.millis());
        let level = self.level.saturating_add(elapsed.saturating_mul(u64::from(rate))).min(Self::full(rate));
        Self { level, rate, at: now.max(self.at) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_gets_its_rate_per_second_and_no_more() {
        let buckets = Buckets::new(10);
        let at = |ms: u64| Timestamp(1_000_000 + ms);
        assert!(buckets.take(&1, 2, at(0)));
        assert!(buckets.take(&1, 2, at(0)));
        assert!(!buckets.has_token(&1, 2, at(499)));
        assert!(!buckets.take(&1, 2, at(499)));
        assert!(buckets.take(&1, 2, at(500)));
        assert!(!buckets.take(&1, 2, at(500)));
        assert!(buckets.take(&2, 2, at(500)), "another key has its own bucket");
    }

    proptest::proptest! {
        #[test]
        fn in_no_span_of_time_does_a_key_get_more_than_a_burst_and_its_rate(
            rate in 1_u32..20,
            steps in proptest::collection::vec(0_u64..700, 1..200),
        ) {
            let buckets = Buckets::new(10);
            let mut now = 5_000_000;
            let mut granted = Vec::new();
            for step in steps {
                now += step;
                if buckets.take(&1, rate, Timestamp(now)) {
                    granted.push(now);
                }
            }
            for (i, from) in granted.iter().enumerate() {
                for (j, to) in granted.iter().enumerate().skip(i) {
                    let most = u64::from(rate) * 1000 + (to - from) * u64::from(rate);
                    proptest::prop_assert!((j - i + 1) as u64 * 1000 <= most);
                }
            }
        }
    }

    #[test]
    fn a_rate_of_zero_is_unlimited() {
        let buckets = Buckets::new(10);
        assert!((0..1000).all(|_| buckets.take(&1, 0, Timestamp(0))));
        assert_eq!(buckets.len(), 0);
    }

    #[test]
    fn memory_is_bounded_and_full_buckets_are_forgotten() {
        let buckets = Buckets::new(100);
        for key in 0..1000 {
            assert!(buckets.take(&key, 1, Timestamp(0)));
        }
        assert_eq!(buckets.len(), 100);
        assert!(buckets.take(&5000, 1, Timestamp(1000)));
        assert_eq!(buckets.len(), 1);
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing_away() {
        let buckets = Buckets::new(10);
        assert!(buckets.take(&1, 1, Timestamp(10_000)));
        assert!(!buckets.take(&1, 1, Timestamp(5_000)));
        assert!(!buckets.take(&1, 1, Timestamp(10_500)));
        assert!(buckets.take(&1, 1, Timestamp(11_000)));
    }
}
