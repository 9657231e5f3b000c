//! What the last groups have written. Nearly every expectation of a commit is younger than that, so it is checked here
//! instead of in the trees.
use super::group::Group;
use super::trees::revision_of;
use crate::store::{Key, KeyRange, Revision, StoreError, Table};
use std::collections::BTreeMap;

/// Rows of a generation. Two are kept: many more than are written while one unit of work is under way.
const GENERATION: usize = 4096;

/// The last writes: the key's newest commit, or `None` for a delete.
pub(super) struct RecentWrites {
    newer: Generation,
    older: Generation,
}

#[derive(Default)]
struct Generation {
    /// It has everything that was written after this revision, up to the next generation's.
    after: Revision,
    tables: BTreeMap<Table, BTreeMap<Key, Option<Revision>>>,
    rows: usize,
}

impl RecentWrites {
    /// Nothing yet; what was written up to a revision is unknown.
    pub(super) fn after(revision: Revision) -> Self {
        let generation = || Generation { after: revision, ..Generation::default() };
        Self { newer: generation(), older: generation() }
    }
    /// Is everything known that was written after this revision?
    pub(super) fn cover(&self, since: Revision) -> bool {
        since >= self.older.after
    }
    /// The last write of a row, if there was one.
    pub(super) fn last(&self, table: Table, key: &[u8]) -> Option<Option<Revision>> {
        [&self.newer, &self.older].into_iter().find_map(|g| g.tables.get(&table)?.get(key).copied())
    }
    /// Was any row with this prefix written?
    pub(super) fn any(&self, table: Table, prefix: &[u8]) -> bool {
        [&self.newer, &self.older].into_iter().any(|generation| {
            let range = KeyRange::prefix(prefix);
            generation
                .tables
                .get(&table)
                .is_some_and(|rows| rows.range((range.start, range.end)).next().is_some())
        })
    }
    /// Adds what a group has written, before which the registry was at a revision.
    pub(super) fn add(&mut self, group: &Group, before: Revision) -> Result<(), StoreError> {
        if self.newer.rows >= GENERATION {
            self.older =
                std::mem::replace(&mut self.newer, Generation { after: before, ..Generation::default() });
        }
        for (table, rows) in group.tables() {
            let known = self.newer.tables.entry(table).or_default();
            for (key, value) in rows {
                let revision = value.as_ref().map(|stored| revision_of(table, key, stored)).transpose()?;
                self.newer.rows += usize::from(known.insert(key.clone(), revision).is_none());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(rows: impl IntoIterator<Item = (u64, String, bool)>) -> Group {
        let mut group = Group::default();
        for (revision, key, put) in rows {
            group.put(Revision(revision), Table::Things, key.into_bytes(), put.then_some(b"value"));
        }
        group
    }

    #[test]
    fn the_last_write_of_a_row_is_known_for_two_generations() {
        let mut recent = RecentWrites::after(Revision(10));
        assert!(recent.cover(Revision(10)) && !recent.cover(Revision(9)));
        recent.add(&group([(11, "a".into(), true), (11, "b/1".into(), false)]), Revision(10)).unwrap();
        recent.add(&group([(12, "a".into(), true)]), Revision(11)).unwrap();
        assert_eq!(recent.last(Table::Things, b"a"), Some(Some(Revision(12))));
        assert_eq!(recent.last(Table::Things, b"b/1"), Some(None), "a delete is a write");
        assert_eq!(recent.last(Table::Things, b"b"), None);
        assert_eq!(recent.last(Table::Policies, b"a"), None);
        assert!(recent.any(Table::Things, b"b/") && !recent.any(Table::Things, b"c"));
        for at in 12..15 {
            assert!(recent.cover(Revision(10)) && !recent.cover(Revision(9)));
            let many = (0..GENERATION).map(|i| (at + 1, format!("{at}/{i}"), true));
            recent.add(&group(many), Revision(at)).unwrap();
        }
        assert_eq!(recent.last(Table::Things, b"a"), None, "forgotten, and so it is no longer covered");
        assert!(recent.cover(Revision(13)) && !recent.cover(Revision(12)));
    }
}
