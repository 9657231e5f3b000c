//! How much of the change log is kept.
use super::{Cursor, Revision};
use crate::clock::Timestamp;

/// The newest commits that are always kept.
const KEPT: u64 = 100_000;
/// What a consumer has not read yet is kept beyond that, but never more than this.
const KEPT_FOR_CONSUMERS: u64 = 500_000;
/// A cursor that has not moved for 7 days belongs to a consumer that is gone.
const ABANDONED_AFTER_MILLIS: u64 = 7 * 24 * 3600 * 1000;

/// Commits up to and including this revision may be trimmed from the change log.
pub(super) fn trim_up_to<'a>(
    latest: Revision,
    cursors: impl IntoIterator<Item = &'a Cursor>,
    now: Timestamp,
) -> Revision {
    let wanted = latest.0.saturating_sub(KEPT);
    let at_least = latest.0.saturating_sub(KEPT_FOR_CONSUMERS);
    let slowest = cursors
        .into_iter()
        .filter(|c| now.0.saturating_sub(c.at.0) < ABANDONED_AFTER_MILLIS)
        .map(|c| c.done.0)
        .min()
        .unwrap_or(u64::MAX);
    Revision(wanted.min(slowest).max(at_least))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(100 * ABANDONED_AFTER_MILLIS);

    fn cursor(done: u64, age: u64) -> Cursor {
        Cursor { done: Revision(done), at: Timestamp(NOW.0 - age) }
    }

    #[test]
    fn the_newest_commits_are_kept_and_what_a_live_consumer_has_not_read_up_to_a_bound() {
        let latest = 2_000_000;
        for (cursors, expected) in [
            (vec![], latest - KEPT),
            (vec![cursor(latest - 10, 5)], latest - KEPT),
            (vec![cursor(latest - 10, 5), cursor(1_700_000, 5)], 1_700_000),
            (vec![cursor(1_700_000, ABANDONED_AFTER_MILLIS)], latest - KEPT),
            (vec![cursor(3, 5)], latest - KEPT_FOR_CONSUMERS),
        ] {
            assert_eq!(trim_up_to(Revision(latest), &cursors, NOW).0, expected, "{cursors:?}");
        }
        assert_eq!(trim_up_to(Revision(7), &[], NOW), Revision(0));
    }
}
