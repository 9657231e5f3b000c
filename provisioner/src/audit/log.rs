//! The stored records: one commit each, before the call is answered; read newest first, or after a sequence; trimmed by
//! count and age.
use super::{AuditFilter, AuditRecord};
use crate::attempt::sequencer::Sequencer;
use crate::clock::Timestamp;
use crate::error::RegistryError;
use crate::registry::Registry;
use crate::store::{Direction, Key, KeyRange, Table};
use crate::stored::{decode, encode};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Rows read, or trimmed, at a time.
const CHUNK: usize = 512;
/// How long a tail waits for records that are being committed.
const PATIENCE: Duration = Duration::from_secs(1);
/// The log is trimmed after so many records.
const TRIM_EVERY: u64 = 256;

/// The audit log. Cheap to clone.
#[derive(Clone)]
pub struct AuditLog {
    shelf: Arc<Shelf>,
}

struct Shelf {
    registry: Registry,
    sequencer: Arc<Sequencer>,
    /// The newest sequence that was committed.
    newest: watch::Sender<u64>,
    /// Held while the log is trimmed.
    trimming: tokio::sync::Mutex<()>,
}

impl AuditLog {
    /// Continues the stored log.
    pub(crate) async fn open(registry: Registry) -> Result<Self, RegistryError> {
        let newest =
            registry.store().scan(Table::Audit, &KeyRange::prefix(&[]), 1, Direction::Descending).await?;
        let newest = match newest.first() {
            Some((key, _)) => sequence(key)?,
            None => 0,
        };
        let sequencer = Sequencer::starting_at(newest.saturating_add(1));
        let shelf = Shelf {
            registry,
            sequencer,
            newest: watch::Sender::new(newest),
            trimming: tokio::sync::Mutex::default(),
        };
        Ok(Self { shelf: Arc::new(shelf) })
    }

    /// Adds a record; it is durable when this returns. Sequence and time are set here.
    pub async fn enter(&self, record: AuditRecord) -> Result<(), RegistryError> {
        let ticket = self.shelf.sequencer.open(1);
        let sequence = ticket.numbers().start;
        let mut tx = self.shelf.registry.begin();
        let record = AuditRecord { sequence, timestamp: tx.now(), ..record };
        tx.put_row(Table::Audit, key(sequence), encode(&record)?);
        tx.commit().await?;
        drop(ticket);
        self.shelf.newest.send_if_modified(|newest| {
            let grown = *newest < sequence;
            *newest = (*newest).max(sequence);
            grown
        });
        if sequence.is_multiple_of(TRIM_EVERY) {
            let shelf = Arc::clone(&self.shelf);
            tokio::spawn(async move { shelf.trim_aside().await });
        }
        Ok(())
    }

    /// Newest first, older than the sequence `before` if given.
    pub async fn list(
        &self,
        filter: &AuditFilter,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<AuditRecord>, RegistryError> {
        let end = before.map_or(Bound::Unbounded, |sequence| Bound::Excluded(key(sequence)));
        let range = KeyRange { start: Bound::Unbounded, end };
        self.shelf.read(filter, range, limit, Direction::Descending).await
    }

    /// Oldest first, after a sequence: for tails. Waits for records that are being committed, so that a tail that goes on
    /// from the last sequence misses none.
    pub async fn list_after(
        &self,
        filter: &AuditFilter,
        after: u64,
        limit: usize,
    ) -> Result<Vec<AuditRecord>, RegistryError> {
        let end = Bound::Excluded(key(self.shelf.sequencer.decided(PATIENCE).await));
        let range = KeyRange { start: Bound::Excluded(key(after)), end };
        self.shelf.read(filter, range, limit, Direction::Ascending).await
    }

    /// The newest sequence; 0 if there is no record.
    pub fn newest(&self) -> u64 {
        *self.shelf.newest.borrow()
    }
    /// Returns when there is a record beyond a sequence. Cancel-safe.
    pub async fn beyond(&self, sequence: u64) {
        // The sender lives as long as `self`, so this ends only with an answer.
        let _ = self.shelf.newest.subscribe().wait_for(|newest| *newest > sequence).await;
    }
}

impl Shelf {
    async fn read(
        &self,
        filter: &AuditFilter,
        mut range: KeyRange,
        limit: usize,
        direction: Direction,
    ) -> Result<Vec<AuditRecord>, RegistryError> {
        let oldest = self.oldest_kept();
        let mut found = Vec::new();
        while found.len() < limit && !range.is_empty() {
            let rows = self.registry.store().scan(Table::Audit, &range, CHUNK, direction).await?;
            let Some((last, _)) = rows.last() else { break };
            let last = last.clone();
            for (key, row) in rows {
                let record: AuditRecord = decode(Table::Audit, &key, &row.value)?;
                if record.timestamp >= oldest && filter.matches(&record) && found.len() < limit {
                    found.push(record);
                }
            }
            range = range.beyond(last, direction);
        }
        Ok(found)
    }

    /// Trims unless that is being done already.
    async fn trim_aside(&self) {
        let Ok(_alone) = self.trimming.try_lock() else { return };
        if let Err(error) = self.trim().await {
            tracing::warn!(%error, "the audit log could not be trimmed: it is tried again after the next calls");
        }
    }

    /// Drops what is beyond the count or the age; the newest always stays, so that sequences go on rising.
    async fn trim(&self) -> Result<(), RegistryError> {
        let next = self.sequencer.next();
        let first_kept = next.saturating_sub(self.registry.options().audit_kept.max(1));
        let oldest = self.oldest_kept();
        loop {
            let range =
                KeyRange { start: Bound::Unbounded, end: Bound::Excluded(key(next.saturating_sub(1))) };
            let rows = self.registry.store().scan(Table::Audit, &range, CHUNK, Direction::Ascending).await?;
            let mut tx = self.registry.begin();
            let mut dropped = 0;
            for (key, row) in &rows {
                let kept = sequence(key)? >= first_kept
                    && decode::<AuditRecord>(Table::Audit, key, &row.value)?.timestamp >= oldest;
                if kept {
                    break;
                }
                tx.delete_row(Table::Audit, key.clone());
                dropped += 1;
            }
            tx.commit().await?;
            if dropped < CHUNK {
                return Ok(());
            }
        }
    }

    fn oldest_kept(&self) -> Timestamp {
        let kept = u64::try_from(self.registry.options().audit_kept_for.as_millis()).unwrap_or(u64::MAX);
        Timestamp(self.registry.clock().now().millis().saturating_sub(kept))
    }
}

fn key(sequence: u64) -> Key {
    sequence.to_be_bytes().to_vec()
}

fn sequence(key: &[u8]) -> Result<u64, RegistryError> {
    let bytes = key.try_into().map_err(|_| {
        RegistryError::Internal(format!(
            "\"{}\" is not a key of the registry's table {:?}: it is damaged, restore a backup",
            key.escape_ascii(),
            Table::Audit.name()
        ))
    })?;
    Ok(u64::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::provisioner::Options;
    use std::collections::BTreeMap;
    use std::path::Path;

    fn record(operation: &str) -> AuditRecord {
        AuditRecord {
            sequence: 0,
            timestamp: Timestamp(0),
            access_key_id: "AKIA".into(),
            operation: operation.into(),
            resources: BTreeMap::new(),
            source_ip: "127.0.0.1".into(),
            user_agent: None,
            request_id: String::new(),
            error: None,
            duration_micros: 0,
        }
    }

    async fn open(directory: &Path, clock: &Arc<ManualClock>) -> AuditLog {
        let options =
            Options { audit_kept: 5, audit_kept_for: Duration::from_secs(60), ..Options::default() };
        let registry =
            Registry::open(directory, options, Arc::clone(clock) as Arc<dyn crate::Clock>).await.unwrap();
        AuditLog::open(registry).await.unwrap()
    }

    async fn sequences(log: &AuditLog) -> Vec<u64> {
        let records = log.list_after(&AuditFilter::default(), 0, 100).await.unwrap();
        records.iter().map(|record| record.sequence).collect()
    }

    #[tokio::test]
    async fn the_log_keeps_so_many_and_so_long_and_goes_on_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp(1_000_000)));
        let log = open(directory.path(), &clock).await;
        for _ in 0..8 {
            log.enter(record("CreateThing")).await.unwrap();
        }
        assert_eq!(sequences(&log).await, (1..=8).collect::<Vec<u64>>());
        log.shelf.trim().await.unwrap();
        assert_eq!(sequences(&log).await, (4..=8).collect::<Vec<u64>>());
        log.shelf.registry.close().await.unwrap();
        drop(log);

        let log = open(directory.path(), &clock).await;
        assert_eq!(log.newest(), 8);
        clock.set(Timestamp(1_060_001));
        assert!(sequences(&log).await.is_empty(), "too old to be shown, trimmed or not");
        log.enter(record("DeleteThing")).await.unwrap();
        log.shelf.trim().await.unwrap();
        assert_eq!(sequences(&log).await, [9]);
        let all = KeyRange::prefix(&[]);
        let stored = log.shelf.registry.store().scan(Table::Audit, &all, 100, Direction::Ascending).await;
        assert_eq!(stored.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn lists_are_filtered_and_a_tail_wakes_with_the_next_record() {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp(1_000_000)));
        let log = open(directory.path(), &clock).await;
        let waiting = tokio::spawn({
            let log = log.clone();
            async move { log.beyond(0).await }
        });
        log.enter(record("CreateThing")).await.unwrap();
        waiting.await.unwrap();
        clock.set(Timestamp(1_000_500));
        log.enter(record("DeleteThing")).await.unwrap();
        let of = async |filter: AuditFilter| {
            let found = log.list(&filter, None, 10).await.unwrap();
            found.into_iter().map(|record| record.operation).collect::<Vec<_>>()
        };
        assert_eq!(of(AuditFilter::default()).await, ["DeleteThing", "CreateThing"]);
        let operation = Some("CreateThing".to_string());
        assert_eq!(of(AuditFilter { operation, ..AuditFilter::default() }).await, ["CreateThing"]);
        let since = Some(Timestamp(1_000_500));
        assert_eq!(of(AuditFilter { since, ..AuditFilter::default() }).await, ["DeleteThing"]);
        let access_key_id = Some("AKIB".to_string());
        assert!(of(AuditFilter { access_key_id, ..AuditFilter::default() }).await.is_empty());
        assert_eq!(log.list(&AuditFilter::default(), Some(2), 10).await.unwrap().len(), 1);
    }
}
