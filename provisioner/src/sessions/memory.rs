//! Rows that are kept in memory only.
use crate::store::{Key, KeyRange, Table, Write};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::ops::Bound;

/// The tables of sessions, as an ordered map. What is written is there at once.
#[derive(Default)]
pub(super) struct Memory(Mutex<BTreeMap<(Table, Key), Vec<u8>>>);

impl Memory {
    pub(super) fn commit(&self, writes: impl Iterator<Item = Write>) {
        let mut rows = self.0.lock();
        for Write { table, key, value } in writes {
            match value {
                Some(value) => drop(rows.insert((table, key), value)),
                None => drop(rows.remove(&(table, key))),
            }
        }
    }

    pub(super) fn get(&self, table: Table, key: &Key) -> Option<Vec<u8>> {
        self.0.lock().get(&(table, key.clone())).cloned()
    }

    pub(super) fn scan(&self, table: Table, range: &KeyRange, limit: usize) -> Vec<(Key, Vec<u8>)> {
        if range.is_empty() {
            return Vec::new();
        }
        let place = |key: &Key| (table, key.clone());
        let start = match &range.start {
            Bound::Unbounded => Bound::Included(place(&Key::new())),
            bound => bound.as_ref().map(place),
        };
        let rows = self.0.lock();
        let of_table = rows.range((start, range.end.as_ref().map(place)));
        let of_table = of_table.take_while(|((of, _), _)| *of == table);
        of_table.take(limit).map(|((_, key), value)| (key.clone(), value.clone())).collect()
    }
}
