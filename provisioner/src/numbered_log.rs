//! A log of numbered records over a table of the store: read newest first, or after a number; trimmed by count and age.
//!
//! The attempt log and the audit log are both this; what writes their records, and when, is their own.
pub(crate) mod sequencer;

use crate::clock::Timestamp;
use crate::error::RegistryError;
use crate::registry::Registry;
use crate::store::{Direction, Key, KeyRange, StoreError, Table};
use crate::stored::{decode, encode};
use crate::tx::Tx;
use sequencer::{Sequencer, Ticket};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::marker::PhantomData;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

/// Rows read, or trimmed, at a time.
const CHUNK: usize = 512;
/// How long a tail waits for records that are being committed.
const PATIENCE: Duration = Duration::from_secs(1);

/// A record of a log.
pub trait Numbered: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Which records to list. The default matches all.
    type Filter: Default + Send + Sync;
    /// The same record under this number.
    #[must_use]
    fn numbered(self, sequence: u64) -> Self;
    /// Rises with every record; the cursor of lists and tails.
    fn sequence(&self) -> u64;
    /// When it happened.
    fn timestamp(&self) -> Timestamp;
    /// Does it match all given members?
    fn matches(&self, filter: &Self::Filter) -> bool;
}

/// How many records are kept, and how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kept {
    pub(crate) count: u64,
    pub(crate) age: Duration,
}

/// A log of numbered records. Cheap to clone; clones share.
pub struct NumberedLog<R> {
    inner: Arc<Inner>,
    records: PhantomData<fn() -> R>,
}

struct Inner {
    registry: Registry,
    table: Table,
    kept: Kept,
    sequencer: Arc<Sequencer>,
    /// Held while the log is trimmed.
    trimming: tokio::sync::Mutex<()>,
}

impl<R> Clone for NumberedLog<R> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), records: PhantomData }
    }
}

impl<R: Numbered> NumberedLog<R> {
    /// Continues the log that is stored in a table.
    pub(crate) async fn open(registry: Registry, table: Table, kept: Kept) -> Result<Self, RegistryError> {
        let all = KeyRange::prefix(&[]);
        let newest = registry.store().scan(table, &all, 1, Direction::Descending).await?;
        let next = match newest.first() {
            Some((key, _)) => sequence(table, key)?.saturating_add(1),
            None => 1,
        };
        let sequencer = Sequencer::starting_at(next);
        let inner = Inner { registry, table, kept, sequencer, trimming: tokio::sync::Mutex::default() };
        Ok(Self { inner: Arc::new(inner), records: PhantomData })
    }

    /// Numbers records and adds them to a unit of work. The ticket is kept until the commit is over.
    pub(crate) fn enter(&self, tx: &mut Tx, records: Vec<R>) -> Result<(Ticket, Vec<R>), StoreError> {
        let ticket = self.inner.sequencer.open(records.len());
        let numbered = ticket.numbers().zip(records).map(|(sequence, record)| record.numbered(sequence));
        let numbered: Vec<R> = numbered.collect();
        for record in &numbered {
            tx.put_row(self.inner.table, key(record.sequence()), encode(record)?);
        }
        Ok((ticket, numbered))
    }

    /// A unit of work to enter records with that belong to no other.
    pub(crate) fn begin(&self) -> Tx {
        self.inner.registry.begin()
    }

    /// The record with this sequence; `None` if there is none (any more).
    pub(crate) async fn find(&self, sequence: u64) -> Result<Option<R>, RegistryError> {
        let table = self.inner.table;
        let key = key(sequence);
        let row = self.inner.registry.store().get(table, &key).await?;
        Ok(row.map(|row| decode(table, &key, &row.value)).transpose()?)
    }

    /// Newest first, older than the sequence `before` if given.
    pub async fn list(
        &self,
        filter: &R::Filter,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<R>, RegistryError> {
        let end = before.map_or(Bound::Unbounded, |sequence| Bound::Excluded(key(sequence)));
        let range = KeyRange { start: Bound::Unbounded, end };
        self.read(filter, range, limit, Direction::Descending).await
    }

    /// Oldest first, after a sequence: for tails. Waits for records that are being committed, so that a tail that goes on
    /// from the last sequence misses none.
    pub async fn list_after(
        &self,
        filter: &R::Filter,
        after: u64,
        limit: usize,
    ) -> Result<Vec<R>, RegistryError> {
        let end = Bound::Excluded(key(self.inner.sequencer.decided(PATIENCE).await));
        let range = KeyRange { start: Bound::Excluded(key(after)), end };
        self.read(filter, range, limit, Direction::Ascending).await
    }

    /// The newest sequence up to which nothing is being committed any more; 0 if there is no record.
    pub fn newest(&self) -> u64 {
        self.inner.sequencer.decided_now().saturating_sub(1)
    }
    /// Returns when [`NumberedLog::newest`] is beyond a sequence. Cancel-safe.
    pub async fn beyond(&self, sequence: u64) {
        self.inner.sequencer.beyond(sequence.saturating_add(1)).await;
    }
    /// The sequence that the next record gets.
    pub(crate) fn next(&self) -> u64 {
        self.inner.sequencer.next()
    }

    async fn read(
        &self,
        filter: &R::Filter,
        mut range: KeyRange,
        limit: usize,
        direction: Direction,
    ) -> Result<Vec<R>, RegistryError> {
        let table = self.inner.table;
        let oldest = self.oldest_kept();
        let mut found = Vec::new();
        while found.len() < limit && !range.is_empty() {
            let rows = self.inner.registry.store().scan(table, &range, CHUNK, direction).await?;
            let Some((last, _)) = rows.last() else { break };
            let last = last.clone();
            for (key, row) in rows {
                let record: R = decode(table, &key, &row.value)?;
                if record.timestamp() >= oldest && record.matches(filter) && found.len() < limit {
                    found.push(record);
                }
            }
            range = range.beyond(last, direction);
        }
        Ok(found)
    }

    /// Drops what is beyond the count or the age, unless that is being done already.
    pub(crate) async fn trim_aside(&self) {
        let Ok(_alone) = self.inner.trimming.try_lock() else { return };
        if let Err(error) = self.trim().await {
            let table = self.inner.table.name();
            tracing::warn!(%error, table, "a log could not be trimmed: it is tried again after the next records");
        }
    }

    /// The newest always stays, so that sequences go on rising.
    pub(crate) async fn trim(&self) -> Result<(), RegistryError> {
        let table = self.inner.table;
        let next = self.next();
        let first_kept = next.saturating_sub(self.inner.kept.count.max(1));
        let newest = next.saturating_sub(1);
        let oldest = self.oldest_kept();
        loop {
            let range = KeyRange { start: Bound::Unbounded, end: Bound::Excluded(key(newest)) };
            let rows = self.inner.registry.store().scan(table, &range, CHUNK, Direction::Ascending).await?;
            let mut tx = self.begin();
            let mut dropped = 0;
            for (key, row) in &rows {
                let kept = sequence(table, key)? >= first_kept
                    && decode::<R>(table, key, &row.value)?.timestamp() >= oldest;
                if kept {
                    break;
                }
                tx.delete_row(table, key.clone());
                dropped += 1;
            }
            tx.commit().await?;
            if dropped < CHUNK {
                return Ok(());
            }
        }
    }

    fn oldest_kept(&self) -> Timestamp {
        let kept = u64::try_from(self.inner.kept.age.as_millis()).unwrap_or(u64::MAX);
        Timestamp(self.inner.registry.clock().now().millis().saturating_sub(kept))
    }
}

fn key(sequence: u64) -> Key {
    sequence.to_be_bytes().to_vec()
}

fn sequence(table: Table, key: &[u8]) -> Result<u64, RegistryError> {
    let bytes = key.try_into().map_err(|_| {
        RegistryError::Internal(format!(
            "\"{}\" is not a key of the registry's table {:?}: it is damaged, restore a backup",
            key.escape_ascii(),
            table.name()
        ))
    })?;
    Ok(u64::from_be_bytes(bytes))
}
