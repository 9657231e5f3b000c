//! How much of the change log is kept.
use super::{Cursor, Revision};
use crate::clock::Timestamp;

/// How much of the change log is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retention {
    /// The newest commits that are always kept.
    pub kept: u64,
    /// What a consumer has not read yet is kept beyond that, but never more than this.
    pub kept_for_consumers: u64,
    /// A cursor that has not moved for so many milliseconds belongs to a consumer that is gone.
    pub abandoned_after: u64,
    /// The log is trimmed by segments of so many bytes.
    pub segment_bytes: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            kept: 100_000,
            kept_for_consumers: 500_000,
            abandoned_after: 7 * 24 * 3600 * 1000,
            segment_bytes: 1024 * 1024,
        }
    }
}

impl Retention {
    /// Commits up to and including this revision may be trimmed from the change log.
    pub(super) fn trim_up_to<'a>(
        &self,
        latest: Revision,
        cursors: impl IntoIterator<Item = &'a Cursor>,
        now: Timestamp,
    ) -> Revision {
        let wanted = latest.0.saturating_sub(self.kept);
        let at_least = latest.0.saturating_sub(self.kept_for_consumers);
        let slowest = cursors
            .into_iter()
            .filter(|c| now.0.saturating_sub(c.at.0) < self.abandoned_after)
            .map(|c| c.done.0)
            .min()
            .unwrap_or(u64::MAX);
        Revision(wanted.min(slowest).max(at_least))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEEK: u64 = 7 * 24 * 3600 * 1000;
    const NOW: Timestamp = Timestamp(100 * WEEK);

    fn cursor(done: u64, age: u64) -> Cursor {
        Cursor { done: Revision(done), at: Timestamp(NOW.0 - age) }
    }

    #[test]
    fn the_newest_commits_are_kept_and_what_a_live_consumer_has_not_read_up_to_a_bound() {
        let latest = 2_000_000;
        for (cursors, expected) in [
            (vec![], 1_900_000),
            (vec![cursor(latest - 10, 5)], 1_900_000),
            (vec![cursor(latest - 10, 5), cursor(1_700_000, 5)], 1_700_000),
            (vec![cursor(1_700_000, WEEK)], 1_900_000),
            (vec![cursor(3, 5)], 1_500_000),
        ] {
            let found = Retention::default().trim_up_to(Revision(latest), &cursors, NOW);
            assert_eq!(found.0, expected, "{cursors:?}");
        }
        assert_eq!(Retention::default().trim_up_to(Revision(7), &[], NOW), Revision(0));
    }
}
