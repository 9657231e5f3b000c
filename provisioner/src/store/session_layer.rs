//! What commits have written to the tables of sessions, and no tree has yet: rows over those below.
use super::session_writes::{QueueKey, SessionWrite, SessionWrites};
use super::{Direction, Key, KeyRange, Revision, Table, Versioned};
use std::collections::BTreeMap;
use std::ops::{Bound, Range};
use std::sync::Arc;

/// The writes of one commit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SessionCommit {
    pub revision: Revision,
    pub writes: Arc<SessionWrites>,
}

/// The last write of each row. A row that is put only once in its life, and is deleted while it is here, leaves nothing: that is
/// nearly every message.
#[derive(Debug, Default)]
pub(crate) struct SessionLayer {
    queues: BTreeMap<QueueKey, LayerRow>,
    others: BTreeMap<Table, BTreeMap<Key, LayerRow>>,
}

/// A row of a layer.
#[derive(Debug, Clone)]
pub(crate) enum LayerRow {
    Gone,
    /// There is none below.
    New(LayerValue),
    /// There may be one below.
    Value(LayerValue),
}

/// Where a value is: in the commit that wrote it.
#[derive(Debug, Clone)]
pub(crate) struct LayerValue {
    of: Arc<SessionCommit>,
    start: u32,
    length: u32,
}

impl SessionLayer {
    /// Applies a commit. `older`: a layer below, which lies above all others.
    pub(crate) fn apply(&mut self, older: &mut Self, commit: &Arc<SessionCommit>) {
        for write in commit.writes.iter() {
            match write {
                SessionWrite::Put { table, key, value } => {
                    self.put(table, key, LayerValue::of(commit, &value))
                }
                SessionWrite::Delete { table, key } => self.delete(older, table, key),
                SessionWrite::Queue { keys, value } => {
                    let value = LayerValue::of(commit, &value);
                    for key in keys {
                        put(&mut self.queues, *key, value.clone(), true);
                    }
                }
                SessionWrite::Unqueue { session, first, count } => {
                    for number in 0..u64::from(count) {
                        let key = queue_key(session, first.wrapping_add(number));
                        delete(&mut self.queues, &mut older.queues, key);
                    }
                }
            }
        }
    }

    fn put(&mut self, table: Table, key: &[u8], value: LayerValue) {
        match (table, key.try_into()) {
            (Table::SessionQueues, Ok(key)) => put(&mut self.queues, key, value, true),
            _ => put(self.others.entry(table).or_default(), key.to_vec(), value, is_put_once(table)),
        }
    }

    fn delete(&mut self, older: &mut Self, table: Table, key: &[u8]) {
        match (table, key.try_into()) {
            (Table::SessionQueues, Ok(key)) => delete(&mut self.queues, &mut older.queues, key),
            _ => {
                let mut nothing = BTreeMap::new();
                let below = older.others.get_mut(&table).unwrap_or(&mut nothing);
                delete(self.others.entry(table).or_default(), below, key.to_vec());
            }
        }
    }

    /// A row, if it has one.
    pub(crate) fn get(&self, table: Table, key: &[u8]) -> Option<&LayerRow> {
        match table {
            Table::SessionQueues => self.queues.get(key),
            _ => self.others.get(&table)?.get(key),
        }
    }

    /// Its rows of a range that is not empty, in key order or against it.
    pub(crate) fn range<'a>(
        &'a self,
        table: Table,
        range: &KeyRange,
        direction: Direction,
    ) -> Box<dyn Iterator<Item = (&'a [u8], &'a LayerRow)> + 'a> {
        let bounds = (slice(&range.start), slice(&range.end));
        if table == Table::SessionQueues {
            let rows = self.queues.range::<[u8], _>(bounds).map(|(key, row)| (&key[..], row));
            return direction.of(rows);
        }
        match self.others.get(&table) {
            Some(rows) => direction.of(rows.range::<[u8], _>(bounds).map(|(key, row)| (&key[..], row))),
            None => Box::new(std::iter::empty()),
        }
    }

    /// All rows, by table and key.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Table, &[u8], &LayerRow)> {
        let queues = self.queues.iter().map(|(key, row)| (Table::SessionQueues, &key[..], row));
        let others = self.others.iter();
        let others = others.flat_map(|(table, rows)| rows.iter().map(|(key, row)| (*table, &key[..], row)));
        queues.chain(others)
    }
}

impl LayerRow {
    /// What it is now; `None`: it is gone.
    pub(crate) fn value(&self) -> Option<&LayerValue> {
        match self {
            Self::Gone => None,
            Self::New(value) | Self::Value(value) => Some(value),
        }
    }
}

impl LayerValue {
    /// Commits are far smaller than 4 GiB.
    fn of(commit: &Arc<SessionCommit>, value: &Range<usize>) -> Self {
        let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Self { of: Arc::clone(commit), start: number(value.start), length: number(value.len()) }
    }
    pub(crate) fn revision(&self) -> Revision {
        self.of.revision
    }
    pub(crate) fn bytes(&self) -> &[u8] {
        let start = self.start as usize;
        self.of.writes.value(start..start.saturating_add(self.length as usize))
    }
    pub(crate) fn versioned(&self) -> Versioned {
        Versioned { revision: self.revision(), value: self.bytes().to_vec() }
    }
}

impl SessionWrites {
    /// Writes with the same outcome, without the rows that are put and deleted among them.
    #[must_use]
    pub fn compacted(self) -> Self {
        let mut layer = SessionLayer::default();
        let commit = Arc::new(SessionCommit { revision: Revision(0), writes: Arc::new(self) });
        layer.apply(&mut SessionLayer::default(), &commit);
        let mut compact = Self::default();
        for (table, key, row) in layer.iter() {
            match (row.value(), split_queue_key(table, key)) {
                (Some(value), _) => compact.put_row(table, key, value.bytes()),
                (None, Some((session, place))) => compact.unqueue(session, place),
                (None, None) => compact.delete_row(table, key),
            }
        }
        compact
    }
}

/// Are the table's rows put once, and then only deleted? Their keys are numbers that are never given again.
fn is_put_once(table: Table) -> bool {
    matches!(table, Table::SessionQueues | Table::SessionMessages)
}

fn put<K: Ord>(rows: &mut BTreeMap<K, LayerRow>, key: K, value: LayerValue, once: bool) {
    use std::collections::btree_map::Entry;
    match rows.entry(key) {
        Entry::Vacant(row) => {
            row.insert(if once { LayerRow::New(value) } else { LayerRow::Value(value) });
        }
        Entry::Occupied(mut row) => {
            let new = matches!(row.get(), LayerRow::New(_));
            row.insert(if new { LayerRow::New(value) } else { LayerRow::Value(value) });
        }
    }
}

fn delete<K: Ord>(rows: &mut BTreeMap<K, LayerRow>, older: &mut BTreeMap<K, LayerRow>, key: K) {
    let was_new = |row: Option<LayerRow>| matches!(row, Some(LayerRow::New(_)));
    let new_here = was_new(rows.remove(&key));
    let new_below = matches!(older.get(&key), Some(LayerRow::New(_))) && was_new(older.remove(&key));
    if !new_here && !new_below {
        rows.insert(key, LayerRow::Gone);
    }
}

fn queue_key(session: u64, place: u64) -> QueueKey {
    (u128::from(session) << 64 | u128::from(place)).to_be_bytes()
}

fn split_queue_key(table: Table, key: &[u8]) -> Option<(u64, u64)> {
    let key: QueueKey = key.try_into().ok().filter(|_| table == Table::SessionQueues)?;
    let (session, place) = key.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*session), u64::from_be_bytes(place.try_into().ok()?)))
}

fn slice(bound: &Bound<Key>) -> Bound<&[u8]> {
    bound.as_ref().map(Vec::as_slice)
}
