//! Which rows have been written since a moment.
use super::{Key, Table, Write};
use parking_lot::Mutex;
use std::collections::HashSet;

/// Most bytes of keys that are remembered.
const MOST_BYTES: usize = 64 * 1024 * 1024;
/// What an entry costs beside its key, about.
const ENTRY_BYTES: usize = 64;

/// The rows of some tables that commits may have written since it was made, up to 64 MiB of them. To remember a row that was
/// not written after all does no harm.
pub(crate) struct Touched {
    tables: Vec<Table>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    places: HashSet<(Table, Key)>,
    bytes: usize,
    overflown: bool,
}

impl Touched {
    pub(crate) fn of(tables: Vec<Table>) -> Self {
        Self { tables, inner: Mutex::default() }
    }

    /// Remembers what is about to be written.
    pub(crate) fn note(&self, writes: &[Write]) {
        for write in writes.iter().filter(|write| self.tables.contains(&write.table)) {
            self.add((write.table, write.key.clone()));
        }
    }

    /// Remembers a row.
    pub(crate) fn add(&self, place: (Table, Key)) {
        let mut inner = self.inner.lock();
        let bytes = place.1.len() + ENTRY_BYTES;
        if inner.overflown || !inner.places.insert(place) {
            return;
        }
        inner.bytes += bytes;
        if inner.bytes > MOST_BYTES {
            *inner = Inner { overflown: true, ..Inner::default() };
        }
    }

    /// The rows, in the order of their tables and keys; `None`: they were too many.
    pub(crate) fn places(&self) -> Option<Vec<(Table, Key)>> {
        let inner = self.inner.lock();
        let mut places: Vec<(Table, Key)> =
            (!inner.overflown).then(|| inner.places.iter().cloned().collect())?;
        drop(inner);
        places.sort_unstable();
        Some(places)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(table: Table, key: Vec<u8>) -> Write {
        Write { table, key, value: None }
    }

    #[test]
    fn rows_of_its_tables_are_remembered_once_and_in_order() {
        let touched = Touched::of(vec![Table::Things, Table::Policies]);
        let (b, a) = (write(Table::Things, b"b".to_vec()), write(Table::Things, b"a".to_vec()));
        touched.note(&[b.clone(), a, b, write(Table::Audit, b"a".to_vec())]);
        assert_eq!(
            touched.places(),
            Some(vec![(Table::Things, b"a".to_vec()), (Table::Things, b"b".to_vec())])
        );
    }

    #[test]
    fn too_many_are_not_remembered_at_all() {
        let touched = Touched::of(vec![Table::Things]);
        for n in 0..=65_u8 {
            touched.note(&[write(Table::Things, [&vec![0; 1024 * 1024][..], &[n]].concat())]);
        }
        assert_eq!(touched.places(), None);
        touched.add((Table::Things, b"a".to_vec()));
        assert_eq!(touched.places(), None);
    }
}
