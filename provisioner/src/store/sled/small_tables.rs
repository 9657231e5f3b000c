//! Tables of what operators make, in memory as long as they are small: every connection reads them, hardly anybody writes
//! them. A read costs a tenth of one in a tree.
use super::group::Rows;
use crate::store::{Key, KeyRange, StoreError, Table};
use parking_lot::RwLock;
use std::collections::BTreeMap;

/// The tables.
const SMALL: [Table; 11] = [
    Table::Settings,
    Table::CaCertificates,
    Table::CaCertificatesBySubject,
    Table::ThingTypes,
    Table::ThingGroups,
    Table::DynamicGroups,
    Table::BillingGroups,
    Table::Policies,
    Table::PolicyVersions,
    Table::Templates,
    Table::TemplateVersions,
];
/// A table with more rows, or more bytes of keys and values, is in its tree only.
const MOST_ROWS: usize = 1024;
const MOST_BYTES: usize = 1024 * 1024;

/// The tables that are small enough.
pub(super) struct SmallTables {
    /// In the order of [`SMALL`]; `None`: too large. It stays so until the next start.
    tables: [RwLock<Option<SmallTable>>; SMALL.len()],
}

#[derive(Default)]
struct SmallTable {
    rows: BTreeMap<Key, Vec<u8>>,
    bytes: usize,
}

impl SmallTables {
    /// Reads the tables as they are, each no further than it is small.
    pub(super) fn read<I>(mut rows_of: impl FnMut(Table) -> I) -> Result<Self, StoreError>
    where
        I: Iterator<Item = Result<(Key, Vec<u8>), StoreError>>,
    {
        let mut tables = [const { RwLock::new(None) }; SMALL.len()];
        for (table, place) in SMALL.into_iter().zip(&mut tables) {
            let mut small = SmallTable::default();
            for row in rows_of(table) {
                let (key, stored) = row?;
                small.insert(key, stored);
                if small.is_too_large() {
                    break;
                }
            }
            *place.get_mut() = Some(small).filter(|small| !small.is_too_large());
        }
        Ok(Self { tables })
    }
    /// What `read` makes of the stored value of a key. `None`: ask the tree.
    pub(super) fn get<T>(&self, table: Table, key: &[u8], read: impl Fn(&[u8]) -> T) -> Option<Option<T>> {
        let small = self.table(table)?.read();
        small.as_ref().map(|small| small.rows.get(key).map(|stored| read(stored)))
    }
    /// The rows of a range, in key order. `None`: ask the tree.
    pub(super) fn range(&self, table: Table, range: &KeyRange) -> Option<Vec<(Key, Vec<u8>)>> {
        let small = self.table(table)?.read();
        let rows = |small: &SmallTable| match range.is_empty() {
            true => Vec::new(),
            false => {
                let rows = small.rows.range((range.start.clone(), range.end.clone()));
                rows.map(|(key, stored)| (key.clone(), stored.clone())).collect()
            }
        };
        small.as_ref().map(rows)
    }
    /// Follows what has been written into the tree.
    pub(super) fn apply(&self, table: Table, rows: &Rows) {
        let Some(place) = self.table(table) else { return };
        let mut place = place.write();
        let Some(small) = place.as_mut() else { return };
        for (key, stored) in rows {
            match stored {
                Some(stored) => small.insert(key.clone(), stored.clone()),
                None => small.remove(key),
            }
        }
        if small.is_too_large() {
            *place = None;
        }
    }

    fn table(&self, table: Table) -> Option<&RwLock<Option<SmallTable>>> {
        SMALL.iter().position(|small| *small == table).and_then(|at| self.tables.get(at))
    }
}

impl SmallTable {
    fn insert(&mut self, key: Key, stored: Vec<u8>) {
        self.bytes += key.len() + stored.len();
        let key_bytes = key.len();
        if let Some(before) = self.rows.insert(key, stored) {
            self.bytes -= key_bytes + before.len();
        }
    }
    fn remove(&mut self, key: &Key) {
        if let Some(before) = self.rows.remove(key) {
            self.bytes -= key.len() + before.len();
        }
    }
    fn is_too_large(&self) -> bool {
        self.rows.len() > MOST_ROWS || self.bytes > MOST_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Stored = Vec<(Key, Vec<u8>)>;

    fn rows(rows: &[(&str, Option<&str>)]) -> Rows {
        rows.iter()
            .map(|(key, value)| (key.as_bytes().to_vec(), value.map(|v| v.as_bytes().to_vec())))
            .collect()
    }
    fn with_policies(stored: &Stored) -> SmallTables {
        let of = |table| match table {
            Table::Policies => stored.clone(),
            _ => Vec::new(),
        };
        SmallTables::read(|table| of(table).into_iter().map(Ok)).unwrap()
    }
    fn got(tables: &SmallTables, key: &[u8]) -> Option<Option<Vec<u8>>> {
        tables.get(Table::Policies, key, <[u8]>::to_vec)
    }
    fn keys(tables: &SmallTables, prefix: &str) -> Option<Vec<String>> {
        let rows = tables.range(Table::Policies, &KeyRange::prefix(prefix.as_bytes()))?;
        Some(rows.into_iter().map(|(key, _)| String::from_utf8(key).unwrap()).collect())
    }

    #[test]
    fn a_small_table_is_as_its_tree_is() {
        let tables = with_policies(&vec![(b"a/1".to_vec(), b"old".to_vec()), (b"b".to_vec(), b"".to_vec())]);
        tables.apply(
            Table::Policies,
            &rows(&[("a/1", Some("new")), ("a/2", Some("x")), ("b", None), ("c", None)]),
        );
        assert_eq!(got(&tables, b"a/1"), Some(Some(b"new".to_vec())));
        assert_eq!(got(&tables, b"b"), Some(None));
        assert_eq!(keys(&tables, "a/").unwrap(), ["a/1", "a/2"]);
        assert_eq!(keys(&tables, "").unwrap(), ["a/1", "a/2"]);
        let beyond = KeyRange::prefix(b"a/").beyond(b"z".to_vec(), crate::store::Direction::Ascending);
        assert_eq!(tables.range(Table::Policies, &beyond), Some(Vec::new()));
        tables.apply(Table::Things, &rows(&[("t", Some(""))]));
        assert_eq!(tables.get(Table::Things, b"t", <[u8]>::to_vec), None, "devices are not few");
        let small = tables.table(Table::Policies).unwrap().read();
        assert_eq!(small.as_ref().unwrap().bytes, 3 + 3 + 3 + 1);
    }

    #[test]
    fn a_table_that_grows_too_large_is_left_to_its_tree() {
        let key = |n: usize| n.to_string().into_bytes();
        let full: Stored = (0..MOST_ROWS).map(|n| (key(n), Vec::new())).collect();
        let tables = with_policies(&full);
        assert_eq!(got(&tables, b"7"), Some(Some(Vec::new())));
        tables.apply(Table::Policies, &rows(&[("one more", Some(""))]));
        assert_eq!(got(&tables, b"7"), None);
        tables.apply(Table::Policies, &rows(&[("one more", None)]));
        assert_eq!(got(&tables, b"7"), None, "what it missed meanwhile is unknown");
        let larger = full.into_iter().chain([(b"one more".to_vec(), Vec::new())]).collect();
        assert_eq!(got(&with_policies(&larger), b"7"), None);
        let heavy = vec![(b"a".to_vec(), vec![0; MOST_BYTES])];
        assert_eq!(got(&with_policies(&heavy), b"a"), None);
    }
}
