//! What readers see: the trees, and over them the group that is being written into them. A group is seen as a whole, and
//! only once it is durable.
use super::group::Group;
use super::trees::{Trees, versioned};
use super::unwritten::UnwrittenRows;
use crate::store::{Direction, Key, KeyRange, StoreError, Table, Versioned};
use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use std::cmp::Ordering as Order;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A scan that a group came across is done again so often before it makes the next group wait.
const TRIES: usize = 3;

/// The rows of all tables.
pub(super) struct VisibleRows {
    trees: Trees,
    /// What sessions have that is not in the trees.
    sessions: UnwrittenRows,
    /// The group that is being written into the trees, without what is of sessions.
    group: ArcSwapOption<Group>,
    /// Groups whose writing has begun.
    begun: AtomicU64,
    /// Held while a group is written into the trees.
    writing: Mutex<()>,
}

impl VisibleRows {
    pub(super) fn new(trees: Trees) -> Self {
        Self {
            trees,
            sessions: UnwrittenRows::default(),
            group: ArcSwapOption::empty(),
            begun: AtomicU64::new(0),
            writing: Mutex::new(()),
        }
    }
    pub(super) fn sessions(&self) -> &UnwrittenRows {
        &self.sessions
    }
    pub(super) fn trees(&self) -> &Trees {
        &self.trees
    }
    /// From now on the group is seen; the trees follow with [`write`](Self::write), before the next group. `seen` is called as
    /// soon as whoever reads from then on sees it.
    pub(super) fn show(&self, mut group: Group, seen: impl FnOnce()) {
        let sessions = group.take_sessions();
        self.group.store(Some(Arc::new(group)));
        match sessions.as_slice() {
            [] => seen(),
            commits => self.sessions.add(commits, seen),
        }
    }
    /// Writes the group that is shown into the trees. After an error it stays shown.
    pub(super) fn write(&self) -> Result<(), StoreError> {
        let Some(group) = self.group.load_full() else { return Ok(()) };
        let _writing = self.writing.lock();
        self.begun.fetch_add(1, Ordering::SeqCst);
        self.trees.apply(&group)?;
        self.group.store(None);
        Ok(())
    }
    pub(super) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Versioned>, StoreError> {
        if table.is_of_sessions() {
            return self.sessions.get(table, key, &self.trees);
        }
        let group = self.group.load();
        match group.as_ref().and_then(|group| group.rows(table)).and_then(|rows| rows.get(key)) {
            Some(Some(stored)) => versioned(table, key, stored).map(Some),
            Some(None) => Ok(None),
            None => self.trees.get(table, key),
        }
    }
    pub(super) fn scan(
        &self,
        table: Table,
        range: &KeyRange,
        limit: usize,
        direction: Direction,
    ) -> Result<Vec<(Key, Versioned)>, StoreError> {
        if table.is_of_sessions() {
            return self.sessions.scan(table, range, limit, direction, &self.trees);
        }
        for _ in 0..TRIES {
            let before = self.begun.load(Ordering::SeqCst);
            let found = self.scan_now(table, range, limit, direction)?;
            if self.begun.load(Ordering::SeqCst) == before {
                return Ok(found);
            }
        }
        let _nobody_writes = self.writing.lock();
        self.scan_now(table, range, limit, direction)
    }

    fn scan_now(
        &self,
        table: Table,
        range: &KeyRange,
        limit: usize,
        direction: Direction,
    ) -> Result<Vec<(Key, Versioned)>, StoreError> {
        let group = self.group.load();
        let trees = self.trees.scan(table, range, direction);
        match group.as_ref().and_then(|group| group.rows(table)) {
            Some(rows) if !range.is_empty() => {
                let read = |key: &[u8], stored: &Option<Vec<u8>>| {
                    stored.as_ref().map(|stored| versioned(table, key, stored)).transpose()
                };
                let rows = rows.range((range.start.clone(), range.end.clone()));
                let rows = direction.of(rows.map(|(key, stored)| (key.as_slice(), stored)));
                over(rows, read, direction, trees).take(limit).collect()
            }
            _ => trees.take(limit).collect(),
        }
    }
}

type Row = Result<(Key, Versioned), StoreError>;

/// Rows over others in the same order: those win where a key is in both, and the deleted ones, which `read` gives no value of,
/// are in neither.
pub(super) fn over<'a, V: 'a>(
    rows: impl Iterator<Item = (&'a [u8], &'a V)> + 'a,
    read: impl Fn(&[u8], &V) -> Result<Option<Versioned>, StoreError> + 'a,
    direction: Direction,
    below: impl Iterator<Item = Row> + 'a,
) -> impl Iterator<Item = Row> + 'a {
    let (mut rows, mut below) = (rows.peekable(), below.peekable());
    std::iter::from_fn(move || {
        loop {
            let order = match (rows.peek(), below.peek()) {
                (None, _) | (_, Some(Err(_))) => return below.next(),
                (Some(_), None) => Order::Less,
                (Some((key, _)), Some(Ok((below, _)))) => match direction {
                    Direction::Ascending => (*key).cmp(below),
                    Direction::Descending => below.as_slice().cmp(key),
                },
            };
            if order == Order::Greater {
                return below.next();
            }
            if order == Order::Equal {
                below.next();
            }
            let Some((key, row)) = rows.next() else { continue };
            if let Some(row) = read(key, row).transpose() {
                return Some(row.map(|value| (key.to_vec(), value)));
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Revision;
    use crate::store::sled::home::Home;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use tempfile::TempDir;

    /// One whose rows are in its tree only, and one that is in memory as well.
    const TABLES: [Table; 2] = [Table::Things, Table::Policies];

    fn key() -> impl Strategy<Value = Key> {
        "[ab]{0,3}".prop_map(String::into_bytes)
    }
    fn rows() -> impl Strategy<Value = BTreeMap<Key, Option<u8>>> {
        prop::collection::btree_map(key(), prop::option::of(any::<u8>()), 0..10)
    }
    fn group(rows: &BTreeMap<Key, Option<u8>>) -> Group {
        let mut group = Group::default();
        for (key, value) in rows {
            let value = value.map(|v| vec![v]);
            for table in TABLES {
                group.put(Revision(1), table, key.clone(), value.as_deref());
            }
        }
        group
    }

    #[test]
    fn a_group_is_seen_over_the_trees_as_it_will_be_in_them() {
        let dir = TempDir::new().unwrap();
        let visible = VisibleRows::new(Trees::open(Home::open(dir.path()).unwrap(), 1 << 20).unwrap());
        let empty: BTreeMap<Key, Option<u8>> = ["", "a", "b"]
            .iter()
            .flat_map(|a| ["", "a", "b"].map(|b| format!("{a}{b}")))
            .flat_map(|ab| ["", "a", "b"].map(|c| (format!("{ab}{c}").into_bytes(), None)))
            .collect();
        proptest!(|(before in rows(), written in rows(), prefix in key(), from in prop::option::of(key()),
                    limit in 1..6_usize, descending in any::<bool>())| {
            let direction = if descending { Direction::Descending } else { Direction::Ascending };
            let mut range = KeyRange::prefix(&prefix);
            if let Some(from) = from {
                range = range.beyond(from, direction);
            }
            for rows in [&empty, &before] {
                visible.show(group(rows), || {});
                visible.write().unwrap();
            }
            visible.show(group(&written), || {});
            let look = || {
                TABLES.map(|table| {
                    let scanned = visible.scan(table, &range, limit, direction).unwrap();
                    let got: Vec<_> = empty.keys().map(|key| visible.get(table, key).unwrap()).collect();
                    (scanned, got)
                })
            };
            let shown = look();
            visible.write().unwrap();
            let [tree, small] = look();
            prop_assert_eq!(&shown, &[tree.clone(), small.clone()]);
            prop_assert_eq!(tree, small, "a table that is in memory is as one that is not");
        });
    }
}
