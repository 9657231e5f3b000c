//! Writing attempts: with the commit that they tell of, or a moment later in batches.
use super::Attempt;
use crate::change::Change;
use crate::error::RegistryError;
use crate::numbered_log::sequencer::Ticket;
use crate::numbered_log::{Kept, NumberedLog};
use crate::registry::Registry;
use crate::store::Table;
use crate::tx::Tx;
use parking_lot::Mutex;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Refusals that may wait for the disk.
const QUEUE: usize = 8192;
/// Most refusals in one commit.
const BATCH: usize = 256;
/// The log is trimmed after so many attempts, and this often.
const TRIM_AFTER: u64 = 1024;
const TRIM_EVERY: Duration = Duration::from_secs(60);

/// The attempt log.
pub(crate) struct AttemptLog {
    records: NumberedLog<Attempt>,
    queue: Mutex<Option<mpsc::Sender<Attempt>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl AttemptLog {
    /// Continues the stored log. Runs a task that ends with [`AttemptLog::close`], or when the log is dropped.
    pub(crate) async fn open(registry: Registry) -> Result<Self, RegistryError> {
        let kept =
            Kept { count: registry.options().attempts_kept, age: registry.options().attempts_kept_for };
        let records = NumberedLog::open(registry, Table::Attempts, kept).await?;
        let (queue, waiting) = mpsc::channel(QUEUE);
        let writer = tokio::spawn(write_waiting(records.clone(), waiting));
        Ok(Self { records, queue: Mutex::new(Some(queue)), writer: Mutex::new(Some(writer)) })
    }

    /// The records, for lists and tails.
    pub(crate) fn records(&self) -> &NumberedLog<Attempt> {
        &self.records
    }

    /// Adds an attempt to a unit of work: its row and its change. The ticket is kept until the commit is over.
    pub(crate) fn enter(&self, tx: &mut Tx, attempt: Attempt) -> Result<Ticket, RegistryError> {
        enter(&self.records, tx, vec![attempt])
    }

    /// Adds an attempt soon, without waiting; if too many wait already it is counted and dropped.
    pub(crate) fn enter_later(&self, attempt: Attempt) {
        let entered = self.queue.lock().as_ref().is_some_and(|queue| queue.try_send(attempt).is_ok());
        if !entered {
            metrics::counter!("AttemptLog.Dropped").increment(1);
        }
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
async fn write_waiting(records: NumberedLog<Attempt>, mut waiting: mpsc::Receiver<Attempt>) {
    let mut batch = Vec::new();
    let mut trimmed_at = records.next();
    let mut tick = tokio::time::interval(TRIM_EVERY);
    loop {
        let due = tokio::select! {
            count = waiting.recv_many(&mut batch, BATCH) => {
                if count == 0 {
                    return;
                }
                write(&records, std::mem::take(&mut batch)).await;
                records.next() - trimmed_at >= TRIM_AFTER
            }
            _ = tick.tick() => true,
        };
        if due {
            trimmed_at = records.next();
            records.trim_aside().await;
        }
    }
}

async fn write(records: &NumberedLog<Attempt>, attempts: Vec<Attempt>) {
    let count = attempts.len();
    let mut tx = records.begin();
    let written = match enter(records, &mut tx, attempts) {
        Ok(_ticket) => tx.commit().await.map_err(RegistryError::from),
        Err(error) => Err(error),
    };
    if let Err(error) = written {
        metrics::counter!("AttemptLog.Dropped").increment(u64::try_from(count).unwrap_or(u64::MAX));
        tracing::warn!(%error, count, "refusals could not be written to the attempt log");
    }
}

fn enter(
    records: &NumberedLog<Attempt>,
    tx: &mut Tx,
    attempts: Vec<Attempt>,
) -> Result<Ticket, RegistryError> {
    let (ticket, attempts) = records.enter(tx, attempts)?;
    for attempt in attempts {
        tx.record(Change::Attempted {
            sequence: attempt.sequence,
            outcome: attempt.outcome,
            ca_certificate_id: attempt.ca_certificate_id,
        });
    }
    Ok(ticket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attempt::{AttemptKind, Outcome};
    use crate::clock::{ManualClock, Timestamp};
    use crate::provisioner::Options;
    use crate::reason::ReasonCode;
    use crate::store::{Direction, KeyRange};
    use std::collections::BTreeMap;
    use std::sync::Arc;

    fn attempt(at: u64) -> Attempt {
        Attempt {
            sequence: 0,
            timestamp: Timestamp(at),
            kind: AttemptKind::Connection,
            outcome: Outcome::Refused,
            reason: ReasonCode::NotAuthenticated,
            message: String::new(),
            certificate_id: None,
            ca_certificate_id: None,
            claim_certificate_id: None,
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
        let records =
            NumberedLog::open(registry.clone(), Table::Attempts, Kept { count: 700, age: kept_for })
                .await
                .unwrap();
        write(&records, (0..2000).map(|_| attempt(1_000_000)).collect()).await;
        write(&records, (0..100).map(|_| attempt(1_030_000)).collect()).await;
        let all = KeyRange::prefix(&[]);
        let stored = async || {
            let rows =
                registry.store().scan(Table::Attempts, &all, 5000, Direction::Ascending).await.unwrap();
            rows.iter()
                .map(|(key, _)| u64::from_be_bytes(key.as_slice().try_into().unwrap()))
                .collect::<Vec<u64>>()
        };
        assert_eq!(stored().await.len(), 2100);
        records.trim().await.unwrap();
        assert_eq!(stored().await, (1401..=2100).collect::<Vec<u64>>());
        clock.set(Timestamp(1_060_001));
        records.trim().await.unwrap();
        assert_eq!(stored().await, (2001..=2100).collect::<Vec<u64>>());
        clock.set(Timestamp(9_000_000));
        records.trim().await.unwrap();
        assert_eq!(stored().await, [2100]);
        let again = AttemptLog::open(registry.clone()).await.unwrap();
        assert_eq!(again.records.next(), 2101);
    }
}
