//! What the last groups have written. Nearly every expectation of a commit is of rows that nobody has written since they were
//! read: that is known here, without looking into the trees.
use super::group::Group;
use crate::store::{Revision, Table};
use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};

/// Hashes of a generation. Two are kept: many more than are written while one unit of work is under way.
const GENERATION: usize = 16 * 1024;

/// The last commits that wrote a row, or below a prefix. They are known by a hash: what has the same one as something else
/// may be taken for written, never the other way round.
pub(super) struct RecentWrites {
    newer: Generation,
    older: Generation,
    state: RandomState,
}

struct Generation {
    /// It has everything that was written after this revision, up to the next generation's.
    after: Revision,
    written: HashMap<u64, Revision, BuildHasherDefault<Hashed>>,
}

impl RecentWrites {
    /// Nothing yet; what was written up to a revision is unknown.
    pub(super) fn after(revision: Revision) -> Self {
        Self {
            newer: Generation::after(revision),
            older: Generation::after(revision),
            state: RandomState::new(),
        }
    }
    /// `false`: nobody has written the row after a revision.
    pub(super) fn may_have_row(&self, table: Table, key: &[u8], since: Revision) -> bool {
        self.may_have(self.hashes(table, key).row, since)
    }
    /// `false`: nobody has written a row with this prefix after a revision, nor another whose key has the same first part; if the
    /// prefix has none, none of the table.
    pub(super) fn may_have_below(&self, table: Table, prefix: &[u8], since: Revision) -> bool {
        self.may_have(self.hashes(table, prefix).first_part, since)
    }
    /// Adds what a group has written, with which the registry came from one revision to another.
    pub(super) fn add(&mut self, group: &Group, before: Revision, now: Revision) {
        if self.newer.written.len() >= GENERATION {
            self.older = std::mem::replace(&mut self.newer, Generation::after(before));
        }
        for (table, rows) in group.tables() {
            let of_rows = rows.keys().map(|key| self.hashes(table, key));
            let written = of_rows.flat_map(|hashes| [hashes.row, hashes.first_part]);
            let written: Vec<u64> = written.chain([self.hashes(table, &[]).row]).collect();
            self.newer.written.extend(written.into_iter().map(|hash| (hash, now)));
        }
    }

    fn may_have(&self, hash: u64, since: Revision) -> bool {
        let written = |generation: &Generation| generation.written.get(&hash).is_some_and(|at| *at > since);
        since < self.older.after || written(&self.newer) || written(&self.older)
    }
    fn hashes(&self, table: Table, key: &[u8]) -> Hashes {
        let (first_part, rest) = key.split_at(first_part(key).len());
        let mut hasher = self.state.build_hasher();
        hasher.write_u8(table as u8);
        hasher.write(first_part);
        let of_first_part = hasher.clone().finish();
        hasher.write(rest);
        Hashes { first_part: of_first_part, row: hasher.finish() }
    }
}

/// Of a row's table and key, and of its table and the first part of its key.
struct Hashes {
    row: u64,
    first_part: u64,
}

/// Up to and with the zero that ends it. Empty: the key has but one part.
fn first_part(key: &[u8]) -> &[u8] {
    let length = key.iter().position(|byte| *byte == 0).map_or(0, |at| at + 1);
    key.get(..length).unwrap_or_default()
}

impl Generation {
    fn after(revision: Revision) -> Self {
        Self { after: revision, written: HashMap::default() }
    }
}

/// Hashes nothing: what comes is a hash.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| (hash << 8) | u64::from(*byte));
    }
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(rows: impl IntoIterator<Item = (Vec<u8>, bool)>) -> Group {
        let mut group = Group::default();
        for (key, put) in rows {
            group.put(Revision(0), Table::Things, key, put.then_some(b"value"));
        }
        group
    }

    #[test]
    fn what_was_written_lately_is_known_by_row_and_by_first_part_and_of_what_is_forgotten_nothing_is_said() {
        let mut recent = RecentWrites::after(Revision(10));
        let row = |recent: &RecentWrites, key: &str, since| {
            recent.may_have_row(Table::Things, key.as_bytes(), Revision(since))
        };
        let below = |recent: &RecentWrites, prefix: &str, since| {
            recent.may_have_below(Table::Things, prefix.as_bytes(), Revision(since))
        };
        assert!(row(&recent, "a", 9) && !row(&recent, "a", 10), "before the start anything was written");
        let written = [(b"a".to_vec(), true), (b"b\x001\x00x".to_vec(), false)];
        recent.add(&group(written), Revision(10), Revision(12));
        recent.add(&group([(b"a".to_vec(), true)]), Revision(12), Revision(13));
        assert!(row(&recent, "a", 12) && !row(&recent, "a", 13));
        assert!(row(&recent, "b\x001\x00x", 11), "a delete is a write");
        assert!(!row(&recent, "b\x001\x00x", 12) && !row(&recent, "b", 10) && !row(&recent, "b\0", 13));
        assert!(!recent.may_have_row(Table::Policies, b"a", Revision(10)));
        assert!(below(&recent, "b\0", 11) && !below(&recent, "b\0", 12) && !below(&recent, "c\0", 10));
        assert!(below(&recent, "", 12) && !below(&recent, "", 13));
        assert!(!recent.may_have_below(Table::Policies, b"", Revision(10)));
        assert!(below(&recent, "c", 12) && !below(&recent, "c", 13), "as of the whole table");
        assert!(below(&recent, "b\x002\0", 11) && !below(&recent, "b\x002\0", 12), "as of the first part");
        for at in 13..16 {
            let many = (0..GENERATION).map(|i| (format!("{at}/{i}").into_bytes(), true));
            recent.add(&group(many), Revision(at), Revision(at + 1));
        }
        assert!(row(&recent, "a", 13), "forgotten");
        assert!(!row(&recent, "a", 14) && row(&recent, "15/0", 15));
    }
}
