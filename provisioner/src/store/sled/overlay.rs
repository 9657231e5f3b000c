//! What a group has decided to write but has not written yet.
use super::trees::{Trees, revision_of, stored_value};
use crate::store::{Batch, Expectation, Key, KeyRange, Revision, StoreError, Table, Write};
use std::collections::BTreeMap;

/// The writes of the group so far, over the trees.
#[derive(Default)]
pub(super) struct Overlay {
    tables: BTreeMap<Table, BTreeMap<Key, Option<Vec<u8>>>>,
}

impl Overlay {
    /// Do all expectations of a batch hold, over the trees and what the group has written before it?
    pub(super) fn meets(&self, batch: &Batch, trees: &Trees) -> Result<bool, StoreError> {
        for expectation in &batch.expectations {
            let holds = match expectation {
                Expectation::Revision { table, key, revision } => {
                    self.revision(*table, key, trees)? == *revision
                }
                Expectation::Prefix { table, prefix, rows, newest } => {
                    self.prefix_is(*table, prefix, *rows, *newest, trees)?
                }
            };
            if !holds {
                return Ok(false);
            }
        }
        Ok(true)
    }
    /// Adds a batch's writes, as of a revision.
    pub(super) fn write(&mut self, revision: Revision, batch: Batch) {
        for Write { table, key, value } in batch.writes {
            self.put(revision, table, key, value.as_deref());
        }
        if let Some(changes) = batch.changes {
            self.put(revision, Table::Changes, revision.0.to_be_bytes().to_vec(), Some(&changes));
        }
    }
    pub(super) fn put(&mut self, revision: Revision, table: Table, key: Key, value: Option<&[u8]>) {
        let value = value.map(|v| stored_value(revision, v));
        self.tables.entry(table).or_default().insert(key, value);
    }
    /// All writes, by table and key.
    pub(super) fn tables(&self) -> impl Iterator<Item = (Table, &BTreeMap<Key, Option<Vec<u8>>>)> {
        self.tables.iter().map(|(table, rows)| (*table, rows))
    }

    fn revision(&self, table: Table, key: &[u8], trees: &Trees) -> Result<Option<Revision>, StoreError> {
        match self.tables.get(&table).and_then(|rows| rows.get(key)) {
            Some(Some(stored)) => revision_of(table, key, stored).map(Some),
            Some(None) => Ok(None),
            None => trees.revision(table, key),
        }
    }
    /// Scans no further than it takes to know.
    fn prefix_is(
        &self,
        table: Table,
        prefix: &[u8],
        expected: usize,
        newest: Revision,
        trees: &Trees,
    ) -> Result<bool, StoreError> {
        let written = self.tables.get(&table);
        let mut rows = 0;
        if let Some(written) = written {
            let range = KeyRange::prefix(prefix);
            for (key, value) in written.range((range.start, range.end)) {
                let Some(stored) = value else { continue };
                rows += 1;
                if rows > expected || revision_of(table, key, stored)? > newest {
                    return Ok(false);
                }
            }
        }
        for row in trees.revisions(table, prefix) {
            let (key, revision) = row?;
            if written.is_some_and(|w| w.contains_key(key.as_ref())) {
                continue;
            }
            rows += 1;
            if rows > expected || revision > newest {
                return Ok(false);
            }
        }
        Ok(rows == expected)
    }
}
