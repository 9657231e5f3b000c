//! The stored attempts: written with the commit that they tell of, or a moment later in batches; read newest first, or
//! after a sequence; trimmed by count and age.
use super::sequencer::{Sequencer, Ticket};
use super::{Attempt, AttemptFilter};
use crate::change::Change;
use crate::clock::Timestamp;
use crate::error::RegistryError;
use crate::registry::Registry;
use crate::store::{Direction, Key, KeyRange, Table};
use crate::stored::{decode, encode};
use crate::tx::Tx;
use parking_lot::Mutex;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Refusals that may wait for the disk.
const QUEUE: usize = 8192;
/// Most refusals in one commit.
const BATCH: usize = 256;
/// Rows read, or trimmed, at a time.
const CHUNK: usize = 512;
/// How long a tail waits for attempts that are being committed.
const PATIENCE: Duration = Duration::from_secs(1);
/// The log is trimmed after so many attempts, and this often.
const TRIM_AFTER: u64 = 1024;
const TRIM_EVERY: Duration = Duration::from_secs(60);

/// The attempt log.
pub(crate) struct AttemptLog {
    shelf: Arc<Shelf>,
    queue: Mutex<Option<mpsc::Sender<Attempt>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// What the log and its writer share.
struct Shelf {
    registry: Registry,
    sequencer: Arc<Sequencer>,
}

impl AttemptLog {
    /// Continues the stored log. Runs a task that ends with [`AttemptLog::close`], or when the log is dropped.
    pub(crate) async fn open(registry: Registry) -> Result<Self, RegistryError> {
        let newest =
            registry.store().scan(Table::Attempts, &KeyRange::prefix(&[]), 1, Direction::Descending).await?;
        let next = match newest.first() {
            Some((key, _)) => sequence(key)?.saturating_add(1),
            None => 1,
        };
        let shelf = Arc::new(Shelf { registry, sequencer: Sequencer::starting_at(next) });
        let (queue, waiting) = mpsc::channel(QUEUE);
        let writer = tokio::spawn(write(Arc::clone(&shelf), waiting));
        Ok(Self { shelf, queue: Mutex::new(Some(queue)), writer: Mutex::new(Some(writer)) })
    }

    /// Adds an attempt to a unit of work: its row and its change. The ticket is kept until the commit is over.
    pub(crate) fn enter(&self, tx: &mut Tx, attempt: Attempt) -> Result<Ticket, RegistryError> {
        self.shelf.enter(tx, vec![attempt])
    }

    /// Adds an attempt soon, without waiting; if too many wait already it is counted and dropped.
    pub(crate) fn enter_later(&self, attempt: Attempt) {
        let entered = self.queue.lock().as_ref().is_some_and(|queue| queue.try_send(attempt).is_ok());
        if !entered {
            metrics::counter!("AttemptLog.Dropped").increment(1);
        }
    }

    /// The attempt with this sequence; `None` if there is none (any more).
    pub(crate) async fn find(&self, sequence: u64) -> Result<Option<Attempt>, RegistryError> {
        let key = key(sequence);
        let row = self.shelf.registry.store().get(Table::Attempts, &key).await?;
        Ok(row.map(|row| decode(Table::Attempts, &key, &row.value)).transpose()?)
    }
    /// Newest first, older than the sequence `before` if given.
    pub(crate) async fn list(
        &self,
        filter: &AttemptFilter,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Attempt>, RegistryError> {
        let end = before.map_or(Bound::Unbounded, |sequence| Bound::Excluded(key(sequence)));
        let range = KeyRange { start: Bound::Unbounded, end };
        self.shelf.read(filter, range, limit, Direction::Descending).await
    }
    /// Oldest first, after a sequence, up to where nothing older can come any more.
    pub(crate) async fn list_after(
        &self,
        filter: &AttemptFilter,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Attempt>, RegistryError> {
        let end = Bound::Excluded(key(self.shelf.sequencer.decided(PATIENCE).await));
        let range = KeyRange { start: Bound::Excluded(key(after)), end };
        self.shelf.read(filter, range, limit, Direction::Ascending).await
    }

    /// Writes what waits and stops.
    pub(crate) async fn close(&self) {
        drop(self.queue.lock().take());
        let writer = self.writer.lock().take();
        if let Some(writer) = writer {
            // It only fails if the task crashed; there is nothing left to write then.
            writer.await.unwrap_or_default();
        }
    }
}

/// Writes refusals in batches and trims the log, until the queue is closed and empty.
async fn write(shelf: Arc<Shelf>, mut waiting: mpsc::Receiver<Attempt>) {
    let mut batch = Vec::new();
    let mut trimmed_at = shelf.sequencer.next();
    let mut tick = tokio::time::interval(TRIM_EVERY);
    loop {
        let due = tokio::select! {
            count = waiting.recv_many(&mut batch, BATCH) => {
                if count == 0 {
                    return;
                }
                shelf.write(std::mem::take(&mut batch)).await;
                shelf.sequencer.next() - trimmed_at >= TRIM_AFTER
            }
            _ = tick.tick() => true,
        };
        if due {
            trimmed_at = shelf.sequencer.next();
            if let Err(error) = shelf.trim().await {
                tracing::warn!(%error, "the attempt log could not be trimmed: it is tried again in a minute");
            }
        }
    }
}

impl Shelf {
    fn enter(&self, tx: &mut Tx, attempts: Vec<Attempt>) -> Result<Ticket, RegistryError> {
        let ticket = self.sequencer.open(attempts.len());
        for (sequence, attempt) in ticket.numbers().zip(attempts) {
            let attempt = Attempt { sequence, ..attempt };
            tx.put_row(Table::Attempts, key(sequence), encode(&attempt)?);
            tx.record(Change::Attempted {
                sequence,
                outcome: attempt.outcome,
                ca_certificate_id: attempt.ca_certificate_id,
            });
        }
        Ok(ticket)
    }

    async fn write(&self, attempts: Vec<Attempt>) {
        let count = attempts.len();
        let mut tx = self.registry.begin();
        let written = match self.enter(&mut tx, attempts) {
            Ok(_ticket) => tx.commit().await.map_err(RegistryError::from),
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            metrics::counter!("AttemptLog.Dropped").increment(u64::try_from(count).unwrap_or(u64::MAX));
            tracing::warn!(%error, count, "refusals could not be written to the attempt log");
        }
    }

    async fn read(
        &self,
        filter: &AttemptFilter,
        mut range: KeyRange,
        limit: usize,
        direction: Direction,
    ) -> Result<Vec<Attempt>, RegistryError> {
        let oldest = self.oldest_kept();
        let mut found = Vec::new();
        while found.len() < limit && !range.is_empty() {
            let rows = self.registry.store().scan(Table::Attempts, &range, CHUNK, direction).await?;
            let Some((last, _)) = rows.last() else { break };
            let last = last.clone();
            for (key, row) in rows {
                let attempt: Attempt = decode(Table::Attempts, &key, &row.value)?;
                if attempt.timestamp >= oldest && filter.matches(&attempt) && found.len() < limit {
                    found.push(attempt);
                }
            }
            range = range.beyond(last, direction);
        }
        Ok(found)
    }

    /// Drops what is beyond the count or the age; the newest always stays, so that sequences go on rising.
    async fn trim(&self) -> Result<(), RegistryError> {
        let next = self.sequencer.next();
        let first_kept = next.saturating_sub(self.registry.options().attempts_kept.max(1));
        let newest = next.saturating_sub(1);
        let oldest = self.oldest_kept();
        loop {
            let range = KeyRange { start: Bound::Unbounded, end: Bound::Excluded(key(newest)) };
            let rows =
                self.registry.store().scan(Table::Attempts, &range, CHUNK, Direction::Ascending).await?;
            let mut tx = self.registry.begin();
            let mut dropped = 0;
            for (key, row) in &rows {
                let kept = sequence(key)? >= first_kept
                    && decode::<Attempt>(Table::Attempts, key, &row.value)?.timestamp >= oldest;
                if kept {
                    break;
                }
                tx.delete_row(Table::Attempts, key.clone());
                dropped += 1;
            }
            tx.commit().await?;
            if dropped < CHUNK {
                return Ok(());
            }
        }
    }

    fn oldest_kept(&self) -> Timestamp {
        let kept = u64::try_from(self.registry.options().attempts_kept_for.as_millis()).unwrap_or(u64::MAX);
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
            Table::Attempts.name()
        ))
    })?;
    Ok(u64::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attempt::Outcome;
    use crate::clock::ManualClock;
    use crate::provisioner::Options;
    use crate::reason::ReasonCode;
    use std::collections::BTreeMap;

    fn attempt(at: u64) -> Attempt {
        Attempt {
            sequence: 0,
            timestamp: Timestamp(at),
            outcome: Outcome::Refused,
            reason: ReasonCode::NotAuthenticated,
            message: String::new(),
            certificate_id: None,
            ca_certificate_id: None,
            subject: None,
            client_id: None,
            source_ip: String::new(),
            source_port: 0,
            server_name: None,
            template_name: None,
            template_version: None,
            parameters: BTreeMap::new(),
            thing_name: None,
            failing_resource: None,
            json_path: None,
            duration_micros: 0,
        }
    }

    #[tokio::test]
    async fn the_log_keeps_so_many_and_so_long_and_always_the_newest() {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp(1_000_000)));
        let kept_for = Duration::from_secs(60);
        let options = Options { attempts_kept: 700, attempts_kept_for: kept_for, ..Options::default() };
        let registry = Registry::open(directory.path(), options, clock.clone()).await.unwrap();
        let shelf = Shelf { registry: registry.clone(), sequencer: Sequencer::starting_at(1) };
        shelf.write((0..2000).map(|_| attempt(1_000_000)).collect()).await;
        shelf.write((0..100).map(|_| attempt(1_030_000)).collect()).await;
        let all = KeyRange::prefix(&[]);
        let stored = async || {
            let rows =
                registry.store().scan(Table::Attempts, &all, 5000, Direction::Ascending).await.unwrap();
            rows.iter().map(|(key, _)| sequence(key).unwrap()).collect::<Vec<u64>>()
        };
        assert_eq!(stored().await.len(), 2100);
        shelf.trim().await.unwrap();
        assert_eq!(stored().await, (1401..=2100).collect::<Vec<u64>>());
        clock.set(Timestamp(1_060_001));
        shelf.trim().await.unwrap();
        assert_eq!(stored().await, (2001..=2100).collect::<Vec<u64>>());
        clock.set(Timestamp(9_000_000));
        shelf.trim().await.unwrap();
        assert_eq!(stored().await, [2100]);
        let again = AttemptLog::open(registry.clone()).await.unwrap();
        assert_eq!(again.shelf.sequencer.next(), 2101);
    }
}
