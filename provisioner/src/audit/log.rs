//! Writing audit records: with the commit that they tell of ([`AuditedCall`](super::AuditedCall)), or in one of their own.
use super::AuditRecord;
use crate::error::RegistryError;
use crate::numbered_log::sequencer::Ticket;
use crate::numbered_log::{Kept, NumberedLog};
use crate::registry::Registry;
use crate::store::Table;

/// The log is trimmed after so many records.
const TRIM_EVERY: u64 = 256;

/// The audit log. Cheap to clone.
#[derive(Clone)]
pub struct AuditLog {
    records: NumberedLog<AuditRecord>,
}

impl AuditLog {
    /// Continues the stored log.
    pub(crate) async fn open(registry: Registry) -> Result<Self, RegistryError> {
        let kept = Kept { count: registry.options().audit_kept, age: registry.options().audit_kept_for };
        Ok(Self { records: NumberedLog::open(registry, Table::Audit, kept).await? })
    }

    /// The records, for lists and tails.
    pub fn records(&self) -> &NumberedLog<AuditRecord> {
        &self.records
    }

    /// Adds a record that belongs to no other commit; it is durable when this returns. Sequence and time are set here.
    pub(crate) async fn enter(&self, record: AuditRecord) -> Result<(), RegistryError> {
        let mut tx = self.records.begin();
        let record = AuditRecord { timestamp: tx.now(), ..record };
        let (ticket, _) = self.records.enter(&mut tx, vec![record])?;
        tx.commit().await?;
        self.entered(ticket);
        Ok(())
    }

    /// Records have been committed: what is too old or too many goes.
    pub(super) fn entered(&self, ticket: Ticket) {
        let sequence = ticket.numbers().start;
        drop(ticket);
        if sequence.is_multiple_of(TRIM_EVERY) {
            let records = self.records.clone();
            tokio::spawn(async move { records.trim_aside().await });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::AuditFilter;
    use crate::clock::{ManualClock, Timestamp};
    use crate::provisioner::Options;
    use crate::store::{Direction, KeyRange};
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;

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

    async fn open(directory: &Path, clock: &Arc<ManualClock>) -> (Registry, AuditLog) {
        let options =
            Options { audit_kept: 5, audit_kept_for: Duration::from_secs(60), ..Options::default() };
        let registry =
            Registry::open(directory, options, Arc::clone(clock) as Arc<dyn crate::Clock>).await.unwrap();
        let log = AuditLog::open(registry.clone()).await.unwrap();
        (registry, log)
    }

    async fn sequences(log: &AuditLog) -> Vec<u64> {
        let records = log.records.list_after(&AuditFilter::default(), 0, 100).await.unwrap();
        records.iter().map(|record| record.sequence).collect()
    }

    #[tokio::test]
    async fn the_log_keeps_so_many_and_so_long_and_goes_on_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp(1_000_000)));
        let (registry, log) = open(directory.path(), &clock).await;
        for _ in 0..8 {
            log.enter(record("CreateThing")).await.unwrap();
        }
        assert_eq!(sequences(&log).await, (1..=8).collect::<Vec<u64>>());
        log.records.trim().await.unwrap();
        assert_eq!(sequences(&log).await, (4..=8).collect::<Vec<u64>>());
        registry.close().await.unwrap();
        drop((registry, log));

        let (registry, log) = open(directory.path(), &clock).await;
        assert_eq!(log.records.newest(), 8);
        clock.set(Timestamp(1_060_001));
        assert!(sequences(&log).await.is_empty(), "too old to be shown, trimmed or not");
        log.enter(record("DeleteThing")).await.unwrap();
        log.records.trim().await.unwrap();
        assert_eq!(sequences(&log).await, [9]);
        let all = KeyRange::prefix(&[]);
        let stored = registry.store().scan(Table::Audit, &all, 100, Direction::Ascending).await;
        assert_eq!(stored.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn lists_are_filtered_and_a_tail_wakes_with_the_next_record() {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp(1_000_000)));
        let (_, log) = open(directory.path(), &clock).await;
        let waiting = tokio::spawn({
            let log = log.clone();
            async move { log.records.beyond(0).await }
        });
        log.enter(record("CreateThing")).await.unwrap();
        waiting.await.unwrap();
        clock.set(Timestamp(1_000_500));
        log.enter(record("DeleteThing")).await.unwrap();
        let of = async |filter: AuditFilter| {
            let found = log.records.list(&filter, None, 10).await.unwrap();
            found.into_iter().map(|record| record.operation).collect::<Vec<_>>()
        };
        assert_eq!(of(AuditFilter::default()).await, ["DeleteThing", "CreateThing"]);
        let operation = Some("CreateThing".to_string());
        assert_eq!(of(AuditFilter { operation, ..AuditFilter::default() }).await, ["CreateThing"]);
        let since = Some(Timestamp(1_000_500));
        assert_eq!(of(AuditFilter { since, ..AuditFilter::default() }).await, ["DeleteThing"]);
        let access_key_id = Some("AKIB".to_string());
        assert!(of(AuditFilter { access_key_id, ..AuditFilter::default() }).await.is_empty());
        assert_eq!(log.records.list(&AuditFilter::default(), Some(2), 10).await.unwrap().len(), 1);
    }
}
