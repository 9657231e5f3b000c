//! A token bucket as one number, with the time as an argument: whoever owns it keeps a [`Bucket`], whoever shares it a
//! [`SharedBucket`], and both decide by the same two functions.
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};

/// Nanoseconds since some moment that all who share a bucket agree on.
pub(crate) type Nanos = u64;

/// What may come at once after a pause: as much as in one second.
const BURST: Nanos = 1_000_000_000;

/// So many a second, and as many at once after a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate(NonZeroU32);

impl Rate {
    /// `None` for 0: there is no limit.
    pub(crate) fn new(per_second: u32) -> Option<Self> {
        NonZeroU32::new(per_second).map(Self)
    }

    /// The time in which so many may come, to the nanosecond.
    fn time_for(self, units: u32) -> Nanos {
        (u64::from(units) * BURST / u64::from(self.0.get())).max(1)
    }
}

/// A bucket of one owner. A new one is full.
///
/// It is kept as the moment when it will be full: a second before that it is empty, earlier it is in debt.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bucket {
    full_at: Nanos,
}

impl Bucket {
    /// Takes so many if they are there.
    pub(crate) fn take(&mut self, rate: Rate, units: u32, now: Nanos) -> bool {
        let taken = taken(self.full_at, rate, units, now);
        self.full_at = taken.unwrap_or(self.full_at);
        taken.is_some()
    }

    /// Takes so many whether they are there or not: what lacks is debt.
    pub(crate) fn charge(&mut self, rate: Rate, units: u32, now: Nanos) {
        self.full_at = charged(self.full_at, rate, units, now);
    }

    /// Whether [`Bucket::take`] of one would succeed.
    pub(crate) fn has_one(&self, rate: Rate, now: Nanos) -> bool {
        taken(self.full_at, rate, 1, now).is_some()
    }

    /// How many are there.
    pub(crate) fn level(&self, rate: Rate, now: Nanos) -> u32 {
        let left = (now + BURST).saturating_sub(self.full_at.max(now));
        u32::try_from(left / rate.time_for(1)).unwrap_or(u32::MAX)
    }

    /// How long until nothing is owed any more.
    pub(crate) fn debt(&self, now: Nanos) -> Nanos {
        debt(self.full_at, now)
    }

    /// Whether it is as a new one.
    pub(crate) fn is_full(&self, now: Nanos) -> bool {
        self.full_at <= now
    }
}

/// A bucket of several owners, without a lock.
#[derive(Debug, Default)]
pub(crate) struct SharedBucket {
    full_at: AtomicU64,
}

impl SharedBucket {
    /// As [`Bucket::take`].
    pub(crate) fn take(&self, rate: Rate, units: u32, now: Nanos) -> bool {
        let take = |full_at| taken(full_at, rate, units, now);
        self.full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// As [`Bucket::charge`].
    pub(crate) fn charge(&self, rate: Rate, units: u32, now: Nanos) {
        let charge = |full_at| Some(charged(full_at, rate, units, now));
        let _ = self.full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, charge);
    }

    /// As [`Bucket::debt`].
    pub(crate) fn debt(&self, now: Nanos) -> Nanos {
        debt(self.full_at.load(Ordering::Relaxed), now)
    }
}

/// When the bucket will be full after so many were taken; `None`: they are not there.
fn taken(full_at: Nanos, rate: Rate, units: u32, now: Nanos) -> Option<Nanos> {
    let after = charged(full_at, rate, units, now);
    (debt(after, now) == 0).then_some(after)
}

fn charged(full_at: Nanos, rate: Rate, units: u32, now: Nanos) -> Nanos {
    full_at.max(now).saturating_add(rate.time_for(units))
}

fn debt(full_at: Nanos, now: Nanos) -> Nanos {
    full_at.saturating_sub(now.saturating_add(BURST))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Nanos = BURST;

    fn rate(per_second: u32) -> Rate {
        Rate::new(per_second).unwrap()
    }

    #[test]
    fn a_second_s_worth_may_come_at_once_and_then_one_at_a_time() {
        let (mut bucket, rate) = (Bucket::default(), rate(10));
        assert_eq!(bucket.level(rate, 0), 10);
        assert!((0..10).all(|_| bucket.take(rate, 1, 0)));
        assert!(!bucket.has_one(rate, 0) && !bucket.take(rate, 1, 0));
        assert!(!bucket.take(rate, 1, SECOND / 10 - 1));
        assert!(bucket.take(rate, 1, SECOND / 10));
        assert_eq!(bucket.level(rate, SECOND / 10), 0);
        assert!(!bucket.is_full(SECOND) && bucket.is_full(2 * SECOND));
    }

    #[test]
    fn what_is_owed_is_paid_by_waiting() {
        let (mut bucket, rate) = (Bucket::default(), rate(1000));
        bucket.charge(rate, 3500, 0);
        assert_eq!(bucket.debt(0), 5 * SECOND / 2);
        assert_eq!(bucket.debt(2 * SECOND), SECOND / 2);
        assert!(!bucket.take(rate, 1, 2 * SECOND));
        assert_eq!(bucket.debt(5 * SECOND / 2), 0);
    }

    #[test]
    fn no_rate_is_no_limit() {
        assert_eq!(Rate::new(0), None);
    }

    proptest! {
        /// In every stretch of time no more is granted than the rate allows and a second's worth, and who has waited gets
        /// one. Two who share a bucket get what one owner would.
        #[test]
        fn no_more_is_granted_than_the_rate_allows(
            per_second in 1..5000u32,
            steps in proptest::collection::vec((0..400_000_000u64, 1..4u32), 1..200),
        ) {
            let rate = rate(per_second);
            let (mut bucket, shared) = (Bucket::default(), SharedBucket::default());
            let mut now = 0;
            let mut granted: Vec<(Nanos, u64)> = Vec::new();
            for (pause, units) in steps {
                now += pause;
                let level = bucket.level(rate, now);
                let took = bucket.take(rate, units, now);
                prop_assert_eq!(took, shared.take(rate, units, now));
                prop_assert!(took || level < units);
                if took {
                    granted.push((now, u64::from(units)));
                }
            }
            for (first, (begin, _)) in granted.iter().enumerate() {
                let mut sum = 0;
                for (end, units) in &granted[first..] {
                    sum += units;
                    let most = u128::from(end - begin + SECOND) * u128::from(per_second) / u128::from(SECOND);
                    prop_assert!(u128::from(sum) <= most + 1, "{} between {} and {}", sum, begin, end);
                }
            }
            prop_assert!(bucket.take(rate, 1, now + 2 * SECOND));
        }

        /// Charged or not: over time it is the rate, whatever is owed in between.
        #[test]
        fn what_is_charged_is_the_rate_in_the_long_run(
            per_second in 1..1_000_000u32,
            charges in proptest::collection::vec(1..100_000u32, 1..50),
        ) {
            let rate = rate(per_second);
            let (mut bucket, shared, mut now, mut sum) = (Bucket::default(), SharedBucket::default(), 0, 0u128);
            for units in charges {
                now += bucket.debt(now);
                prop_assert_eq!(bucket.debt(now), 0);
                bucket.charge(rate, units, now);
                shared.charge(rate, units, now);
                prop_assert_eq!(shared.debt(now), bucket.debt(now));
                sum += u128::from(units);
            }
            now += bucket.debt(now);
            let most = u128::from(now + SECOND) * u128::from(per_second) / u128::from(SECOND);
            prop_assert!(sum <= most + 1, "{} of {}", sum, most);
        }
    }
}
