//! What a group of commits writes: decided, but not yet in the trees and the change log.
use super::recent::RecentWrites;
use super::trees::{Trees, revision_of, stored_value};
use crate::store::{
    Batch, Expectation, Key, KeyRange, Revision, SessionCommit, SessionWrites, StoreError, Table, Write,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The rows of a table: key → stored value, or `None`: deleted.
pub(super) type Rows = BTreeMap<Key, Option<Vec<u8>>>;

/// The writes of a group, the last one to each key, and its entries in the change log.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Group {
    /// None of sessions.
    tables: BTreeMap<Table, Rows>,
    changes: Vec<(Revision, Vec<u8>)>,
    /// What its commits write to the tables of sessions, in their order.
    sessions: Vec<Arc<SessionCommit>>,
}

impl Group {
    /// Do all expectations of a batch hold, over the trees and what the group has written before it? What was not written since
    /// it was read is as it was read.
    pub(super) fn meets(
        &self,
        batch: &Batch,
        recent: &RecentWrites,
        trees: &Trees,
    ) -> Result<bool, StoreError> {
        let since = batch.read_since;
        for expectation in &batch.expectations {
            let holds = match expectation {
                Expectation::Revision { table, key, revision } => {
                    match self.rows(*table).and_then(|r| r.get(key)) {
                        Some(Some(stored)) => Some(revision_of(*table, key, stored)?) == *revision,
                        Some(None) => revision.is_none(),
                        None => {
                            !recent.may_have_row(*table, key, since)
                                || trees.revision(*table, key)? == *revision
                        }
                    }
                }
                Expectation::Prefix { table, prefix, rows, newest } => {
                    !self.any(*table, prefix) && !recent.may_have_below(*table, prefix, since)
                        || self.prefix_is(*table, prefix, *rows, *newest, trees)?
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
        let mut of_sessions = SessionWrites::default();
        for Write { table, key, value } in batch.writes {
            match value {
                Some(value) if table.is_of_sessions() => of_sessions.put_row(table, &key, &value),
                None if table.is_of_sessions() => of_sessions.delete_row(table, &key),
                value => self.put(revision, table, key, value.as_deref()),
            }
        }
        if !of_sessions.is_empty() {
            self.write_sessions(revision, Arc::new(of_sessions));
        }
        if let Some(writes) = batch.sessions {
            self.write_sessions(revision, writes);
        }
        if let Some(changes) = batch.changes {
            self.changes.push((revision, changes));
        }
    }
    fn write_sessions(&mut self, revision: Revision, writes: Arc<SessionWrites>) {
        self.sessions.push(Arc::new(SessionCommit { revision, writes }));
    }
    pub(super) fn put(&mut self, revision: Revision, table: Table, key: Key, value: Option<&[u8]>) {
        let value = value.map(|v| stored_value(revision, v));
        self.tables.entry(table).or_default().insert(key, value);
    }
    /// All rows but those of sessions, by table and key.
    pub(super) fn tables(&self) -> impl Iterator<Item = (Table, &Rows)> {
        self.tables.iter().map(|(table, rows)| (*table, rows))
    }
    /// The rows of a table, if it writes any.
    pub(super) fn rows(&self, table: Table) -> Option<&Rows> {
        self.tables.get(&table)
    }
    /// The entries of the change log, in the order of their revisions.
    pub(super) fn changes(&self) -> &[(Revision, Vec<u8>)] {
        &self.changes
    }
    /// What is written to the tables of sessions.
    pub(super) fn sessions(&self) -> &[Arc<SessionCommit>] {
        &self.sessions
    }
    /// The same, and from then on it has none.
    pub(super) fn take_sessions(&mut self) -> Vec<Arc<SessionCommit>> {
        std::mem::take(&mut self.sessions)
    }

    /// As the redo log holds it: tables (name, rows (key, 0 or 1 and the value)), then changes (revision, bytes), then what
    /// is written of sessions (revision, bytes), which an older program left out and put among the tables. Numbers and lengths
    /// have 4 bytes, revisions 8, big endian.
    pub(super) fn encode(&self, bytes: &mut Vec<u8>) {
        put_number(bytes, self.tables.len());
        for (table, rows) in &self.tables {
            put_bytes(bytes, table.name().as_bytes());
            put_number(bytes, rows.len());
            for (key, value) in rows {
                put_bytes(bytes, key);
                put_number(bytes, usize::from(value.is_some()));
                if let Some(value) = value {
                    put_bytes(bytes, value);
                }
            }
        }
        put_number(bytes, self.changes.len());
        for (revision, changes) in &self.changes {
            bytes.extend_from_slice(&revision.0.to_be_bytes());
            put_bytes(bytes, changes);
        }
        put_number(bytes, self.sessions.len());
        for commit in &self.sessions {
            bytes.extend_from_slice(&commit.revision.0.to_be_bytes());
            put_bytes(bytes, commit.writes.bytes());
        }
    }
    /// Reads what `encode` wrote. `None`: that it is not.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut input = Input(bytes);
        let mut group = Self::default();
        for _ in 0..input.number()? {
            let name = input.bytes()?;
            let table = *Table::ALL.iter().find(|table| table.name().as_bytes() == name)?;
            for _ in 0..input.number()? {
                let key = input.bytes()?;
                let value = match input.number()? {
                    0 => None,
                    1 => Some(input.bytes()?),
                    _ => return None,
                };
                match table.is_of_sessions() {
                    true => group.write_older_session(table, key, value)?,
                    false => {
                        group
                            .tables
                            .entry(table)
                            .or_default()
                            .insert(key.to_vec(), value.map(<[u8]>::to_vec));
                    }
                }
            }
        }
        for _ in 0..input.number()? {
            let revision = Revision(u64::from_be_bytes(*input.take::<8>()?));
            group.changes.push((revision, input.bytes()?.to_vec()));
        }
        let sessions = if input.0.is_empty() { 0 } else { input.number()? };
        for _ in 0..sessions {
            let revision = Revision(u64::from_be_bytes(*input.take::<8>()?));
            group.write_sessions(revision, Arc::new(SessionWrites::decode(input.bytes()?)?));
        }
        input.0.is_empty().then_some(group)
    }
    /// A row of a session as an older program has stored it, with its revision.
    fn write_older_session(&mut self, table: Table, key: &[u8], stored: Option<&[u8]>) -> Option<()> {
        let mut writes = SessionWrites::default();
        let mut written_at = Revision(0);
        match stored {
            Some(stored) => {
                let (revision, value) = stored.split_first_chunk::<8>()?;
                written_at = Revision(u64::from_be_bytes(*revision));
                writes.put_row(table, key, value);
            }
            None => writes.delete_row(table, key),
        }
        self.write_sessions(written_at, Arc::new(writes));
        Some(())
    }

    fn any(&self, table: Table, prefix: &[u8]) -> bool {
        let range = KeyRange::prefix(prefix);
        self.rows(table).is_some_and(|rows| rows.range((range.start, range.end)).next().is_some())
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
        let written = self.rows(table);
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

/// A group is bounded far below 4 GiB; the entry that holds it is refused beyond that.
fn put_number(bytes: &mut Vec<u8>, number: usize) {
    bytes.extend_from_slice(&u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes());
}
fn put_bytes(bytes: &mut Vec<u8>, value: &[u8]) {
    put_number(bytes, value.len());
    bytes.extend_from_slice(value);
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(taken)
    }
    fn number(&mut self) -> Option<usize> {
        usize::try_from(u32::from_be_bytes(*self.take::<4>()?)).ok()
    }
    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::SessionLayer;
    use proptest::prelude::*;

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(any::<u8>(), 0..12)
    }

    proptest! {
        #[test]
        fn a_group_is_read_as_it_was_written(
            rows in prop::collection::vec(
                (prop::sample::select(&Table::ALL[..20]), bytes(), prop::option::of(bytes()), any::<u64>()),
                0..20
            ),
            sessions in prop::collection::vec((any::<u64>(), bytes()), 0..3),
            changes in prop::collection::vec((any::<u64>().prop_map(Revision), bytes()), 0..5),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut group = Group { changes, ..Group::default() };
            for (table, key, value, revision) in rows {
                group.put(Revision(revision), table, key, value.as_deref());
            }
            for (revision, value) in sessions {
                let mut writes = SessionWrites::default();
                writes.queue(&[(1, 2), (3, 4)], &value);
                group.write_sessions(Revision(revision), Arc::new(writes));
            }
            let mut encoded = Vec::new();
            group.encode(&mut encoded);
            let cut = cut.index(encoded.len());
            // An older program says nothing of sessions where there is nothing to say.
            if cut != encoded.len() - 4 {
                let of_a_part = Group::decode(&encoded[..cut]);
                prop_assert_ne!(of_a_part.as_ref(), Some(&group));
            }
            prop_assert_eq!(Group::decode(&encoded), Some(group));
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = Group::decode(&bytes);
        }
    }

    #[test]
    fn what_an_older_program_wrote_of_sessions_is_read() {
        let mut encoded = Vec::new();
        put_number(&mut encoded, 2);
        put_bytes(&mut encoded, b"session-messages");
        put_number(&mut encoded, 2);
        put_bytes(&mut encoded, b"number 1");
        put_number(&mut encoded, 1);
        put_bytes(&mut encoded, &stored_value(Revision(7), b"message"));
        put_bytes(&mut encoded, b"number 2");
        put_number(&mut encoded, 0);
        put_bytes(&mut encoded, b"things");
        put_number(&mut encoded, 1);
        put_bytes(&mut encoded, b"pump");
        put_number(&mut encoded, 1);
        put_bytes(&mut encoded, &stored_value(Revision(7), b"record"));
        put_number(&mut encoded, 0);
        let group = Group::decode(&encoded).unwrap();
        let mut layer = SessionLayer::default();
        for commit in group.sessions() {
            layer.apply(&mut SessionLayer::default(), commit);
        }
        let read = layer.get(Table::SessionMessages, b"number 1").unwrap().value().unwrap().versioned();
        assert_eq!((read.revision, read.value), (Revision(7), b"message".to_vec()));
        assert!(layer.get(Table::SessionMessages, b"number 2").unwrap().value().is_none());
        assert_eq!(group.rows(Table::Things).unwrap().len(), 1);
        assert!(group.rows(Table::SessionMessages).is_none());
    }
}
