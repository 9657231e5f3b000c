//! Rows that are kept in memory only.
use crate::store::Direction;
use crate::store::{Key, KeyRange, Revision, SessionCommit, SessionLayer, SessionWrites, Table};
use parking_lot::Mutex;
use std::sync::Arc;

/// The tables of sessions. What is written is there at once.
#[derive(Default)]
pub(super) struct Memory(Mutex<SessionLayer>);

impl Memory {
    pub(super) fn commit(&self, writes: &Arc<SessionWrites>) {
        let commit = SessionCommit { revision: Revision(0), writes: Arc::clone(writes) };
        self.0.lock().apply(&mut SessionLayer::default(), &Arc::new(commit));
    }

    pub(super) fn get(&self, table: Table, key: &Key) -> Option<Vec<u8>> {
        Some(self.0.lock().get(table, key)?.value()?.bytes().to_vec())
    }

    pub(super) fn scan(&self, table: Table, range: &KeyRange, limit: usize) -> Vec<(Key, Vec<u8>)> {
        if range.is_empty() {
            return Vec::new();
        }
        let rows = self.0.lock();
        let rows = rows.range(table, range, Direction::Ascending);
        let rows = rows.filter_map(|(key, row)| Some((key.to_vec(), row.value()?.bytes().to_vec())));
        rows.take(limit).collect()
    }
}
