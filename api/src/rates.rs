//! How many calls of an operation are answered in a second, of all callers together (`spec/quotas.md` sections 1, 2 and 6).
use std::collections::BTreeMap;

use jitp_provisioner::{Buckets, Timestamp};

use crate::operations::operations;

/// AWS's quotas: an operation and its calls per second on each line.
const AWS: &str = include_str!("aws_rates.txt");

/// Calls per second by operation; what is not in it is unlimited. A caller who has waited may make one second's worth at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rates(BTreeMap<&'static str, u32>);

/// There is no operation of this name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoSuchOperation;

impl Rates {
    /// Those that AWS documents for an account in one of its large regions, so far as the operation is served here.
    pub fn of_aws() -> Self {
        let mut rates = Self::default();
        for (operation, per_second) in aws() {
            // That every one is known is tested.
            let _ = rates.set(operation, per_second);
        }
        rates
    }

    /// Sets the rate of an operation, AWS's or jitp's own; 0: unlimited.
    ///
    /// # Errors
    /// [`NoSuchOperation`] for one that is not in [`operations`].
    pub fn set(&mut self, operation: &str, per_second: u32) -> Result<(), NoSuchOperation> {
        let known = operations().find(|route| route.operation == operation).ok_or(NoSuchOperation)?;
        self.0.insert(known.operation, per_second);
        Ok(())
    }
}

fn aws() -> impl Iterator<Item = (&'static str, u32)> {
    let lines = AWS.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.filter_map(|line| {
        let (operation, per_second) = line.split_once(' ')?;
        Some((operation, per_second.parse().ok()?))
    })
}

/// The buckets of a running API.
pub(crate) struct Throttle {
    rates: Rates,
    buckets: Buckets<&'static str>,
}

impl Throttle {
    pub fn new(rates: Rates) -> Self {
        let buckets = Buckets::new(rates.0.len().max(1));
        Self { rates, buckets }
    }

    /// Takes one call of an operation. The rate, if it has been used up.
    pub fn take(&self, operation: &'static str, now: Timestamp) -> Result<(), u32> {
        let rate = self.rates.0.get(operation).copied().unwrap_or_default();
        if self.buckets.take(&operation, rate, now) { Ok(()) } else { Err(rate) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Of AWS's operations those without a documented rate.
    const UNDOCUMENTED: [&str; 10] = [
        "DescribeIndex",
        "GetIndexingConfiguration",
        "GetRetainedMessage",
        "GetV2LoggingOptions",
        "ListIndices",
        "ListRetainedMessages",
        "Publish",
        "SearchIndex",
        "SetV2LoggingOptions",
        "UpdateIndexingConfiguration",
    ];

    #[test]
    fn every_operation_of_aws_that_is_served_has_its_documented_rate_or_is_known_to_have_none() {
        let listed: Vec<&str> = aws().map(|(operation, _)| operation).collect();
        let lines = AWS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count();
        assert_eq!(listed.len(), lines, "a line cannot be read");
        let rates = Rates::of_aws();
        assert_eq!(rates.0.len(), lines, "an operation is not served, or is listed twice");
        assert!(rates.0.values().all(|rate| *rate > 0));
        let served = operations().filter(|route| !route.path.starts_with("/jitp/"));
        let without = served.map(|route| route.operation).filter(|name| !rates.0.contains_key(name));
        assert_eq!(without.collect::<BTreeSet<_>>(), UNDOCUMENTED.into_iter().collect());
    }

    #[test]
    fn an_operation_gets_its_rate_and_a_second_that_was_not_used() {
        let mut rates = Rates::default();
        rates.set("CreateThing", 2).unwrap();
        let throttle = Throttle::new(rates);
        let at = |ms: u64| Timestamp(1_000_000 + ms);
        assert_eq!([0, 0, 0].map(|ms| throttle.take("CreateThing", at(ms))), [Ok(()), Ok(()), Err(2)]);
        assert_eq!(throttle.take("CreateThing", at(499)), Err(2));
        assert_eq!(throttle.take("CreateThing", at(500)), Ok(()));
        assert_eq!([10_000; 3].map(|ms| throttle.take("CreateThing", at(ms))), [Ok(()), Ok(()), Err(2)]);
    }

    #[test]
    fn operations_do_not_share_and_are_unlimited_unless_something_is_said() {
        let mut rates = Rates::of_aws();
        rates.set("ListThings", 0).unwrap();
        assert_eq!(rates.set("CreateThng", 1), Err(NoSuchOperation));
        let throttle = Throttle::new(rates);
        let now = Timestamp(1_000_000);
        let taken = |operation, most| (0..most).take_while(|_| throttle.take(operation, now).is_ok()).count();
        assert_eq!(taken("GetEffectivePolicies", 1000), 5);
        assert_eq!(taken("DescribeThing", 1000), 350);
        assert_eq!(taken("ListThings", 1000), 1000);
        assert_eq!(taken("ListAttempts", 1000), 1000);
    }
}
