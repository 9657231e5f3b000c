//! A call on its way into the log: what it changed and who did it are one commit.
use super::{AuditLog, AuditRecord};
use crate::error::RegistryError;
use crate::numbered_log::sequencer::Ticket;
use crate::store::StoreError;
use crate::tx::Tx;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// A call that is to be audited, once. The first commit that is made on its behalf
/// ([`Provisioner::on_behalf_of`](crate::Provisioner::on_behalf_of)) carries its record, so that nothing is changed of which
/// the log does not say who did it. A call that commits nothing gets a record of its own at its end; so does one that fails,
/// also after a commit: two records with one request id then say what came of it.
pub struct AuditedCall {
    log: AuditLog,
    record: AuditRecord,
    started: Instant,
    entered: AtomicBool,
}

impl AuditedCall {
    /// Begins a call that has taken since `started`. Sequence, time, duration and error of the record are set later.
    pub fn begin(log: &AuditLog, record: AuditRecord, started: Instant) -> Arc<Self> {
        Arc::new(Self { log: log.clone(), record, started, entered: AtomicBool::new(false) })
    }

    /// Ends a call: with the name of the exception that it is answered with, if it failed. What is known of it is durable when
    /// this returns.
    ///
    /// # Errors
    /// `Unavailable` when its record cannot be written.
    pub async fn end(&self, error: Option<&str>) -> Result<(), RegistryError> {
        if error.is_none() && self.entered.load(Ordering::Acquire) {
            return Ok(());
        }
        self.log.enter(AuditRecord { error: error.map(str::to_owned), ..self.so_far() }).await
    }

    /// Adds the record to a commit, with the names of what is made by it. `None`: an earlier one has it.
    pub(crate) fn enter(
        self: Arc<Self>,
        tx: &mut Tx,
        made: Vec<(&'static str, String)>,
    ) -> Result<Option<Entry>, StoreError> {
        if self.entered.load(Ordering::Acquire) {
            return Ok(None);
        }
        let mut record = AuditRecord { timestamp: tx.now(), ..self.so_far() };
        record.resources.extend(made.into_iter().map(|(name, id)| (name.to_owned(), id)));
        let (ticket, _) = self.log.records().enter(tx, vec![record])?;
        Ok(Some(Entry { call: self, ticket }))
    }

    fn so_far(&self) -> AuditRecord {
        let duration_micros = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        AuditRecord { duration_micros, ..self.record.clone() }
    }
}

/// The record of a call in a commit that is under way. Kept until that is over.
pub(crate) struct Entry {
    call: Arc<AuditedCall>,
    ticket: Ticket,
}

impl Entry {
    /// The commit was made.
    pub(crate) fn committed(self) {
        self.call.entered.store(true, Ordering::Release);
        self.call.log.entered(self.ticket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access_key::Role;
    use crate::audit::AuditFilter;
    use crate::clock::SystemClock;
    use crate::names::ThingName;
    use crate::provisioner::{Options, Provisioner};
    use crate::registry::CreateThing;
    use std::collections::BTreeMap;
    use std::path::Path;

    async fn open(directory: &Path) -> Provisioner {
        Provisioner::open(directory, Options::default(), Arc::new(SystemClock)).await.unwrap()
    }
    fn call(provisioner: &Provisioner, operation: &str) -> Arc<AuditedCall> {
        let record = AuditRecord {
            sequence: 0,
            timestamp: crate::Timestamp::default(),
            access_key_id: "AKIA".into(),
            operation: operation.into(),
            resources: BTreeMap::new(),
            source_ip: "127.0.0.1".into(),
            user_agent: None,
            request_id: "r".into(),
            error: None,
            duration_micros: 0,
        };
        AuditedCall::begin(provisioner.audit(), record, Instant::now())
    }
    /// Oldest first: what, on what, and with which exception.
    async fn log(provisioner: &Provisioner) -> Vec<(String, Vec<String>, Option<String>)> {
        let found = provisioner.audit().records().list_after(&AuditFilter::default(), 0, 100).await.unwrap();
        let shown = |record: AuditRecord| {
            let resources = record.resources.into_keys().collect();
            (record.operation, resources, record.error)
        };
        found.into_iter().map(shown).collect()
    }
    fn commits(provisioner: &Provisioner) -> u64 {
        provisioner.registry().store().visible().0
    }
    fn thing(name: &str) -> ThingName {
        name.parse().unwrap()
    }

    #[tokio::test]
    async fn a_call_that_changes_something_is_one_commit_with_its_record() {
        let directory = tempfile::tempdir().unwrap();
        let provisioner = open(directory.path()).await;
        let created = call(&provisioner, "CreateAccessKey");
        let before = commits(&provisioner);
        let registry = provisioner.on_behalf_of(&created).registry().clone();
        registry.create_access_key(Role::Viewer, "").await.unwrap();
        assert_eq!(log(&provisioner).await, [("CreateAccessKey".into(), vec!["accessKeyId".into()], None)]);
        created.end(None).await.unwrap();
        assert_eq!(commits(&provisioner), before + 1);
        assert_eq!(log(&provisioner).await.len(), 1);
    }

    #[tokio::test]
    async fn of_a_call_of_several_commits_the_first_has_the_record() {
        let directory = tempfile::tempdir().unwrap();
        let provisioner = open(directory.path()).await;
        let several = call(&provisioner, "DeleteThingGroup");
        let registry = provisioner.on_behalf_of(&several).registry().clone();
        for name in ["a", "b", "c"] {
            registry.create_thing(thing(name), CreateThing::default()).await.unwrap();
            assert_eq!(log(&provisioner).await.len(), 1);
        }
        several.end(Some("InternalFailureException")).await.unwrap();
        let found = log(&provisioner).await;
        assert_eq!(found[0].2, None);
        assert_eq!(found[1].2.as_deref(), Some("InternalFailureException"), "it failed after that");
    }

    #[tokio::test]
    async fn a_call_that_is_refused_or_changes_nothing_has_a_record_of_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let provisioner = open(directory.path()).await;
        let refused = call(&provisioner, "UpdateThing");
        let registry = provisioner.on_behalf_of(&refused).registry().clone();
        registry.update_thing(&thing("a"), crate::registry::UpdateThing::default()).await.unwrap_err();
        assert!(log(&provisioner).await.is_empty());
        refused.end(Some("ResourceNotFoundException")).await.unwrap();
        call(&provisioner, "DeleteThing").end(None).await.unwrap();
        let errors: Vec<Option<String>> = log(&provisioner).await.into_iter().map(|(_, _, e)| e).collect();
        assert_eq!(errors, [Some("ResourceNotFoundException".to_owned()), None]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_commit_that_was_in_conflict_leaves_no_record() {
        let directory = tempfile::tempdir().unwrap();
        let provisioner = open(directory.path()).await;
        let group: crate::names::ThingGroupName = "line".parse().unwrap();
        provisioner.registry().create_thing_group_with(group.clone(), Default::default()).await.unwrap();
        let version = |n: usize| crate::registry::UpdateThingGroup {
            description: Some(n.to_string()),
            ..Default::default()
        };
        // All of them read and write one record: many are done anew.
        let updates = (0..8).map(|n| {
            let (provisioner, group) = (provisioner.clone(), group.clone());
            tokio::spawn(async move {
                let update = call(&provisioner, "UpdateThingGroup");
                let registry = provisioner.on_behalf_of(&update).registry().clone();
                registry.update_thing_group(&group, version(n)).await.unwrap();
                update.end(None).await.unwrap();
            })
        });
        let updates: Vec<_> = updates.collect();
        for update in updates {
            update.await.unwrap();
        }
        assert_eq!(provisioner.registry().thing_group(&group).await.unwrap().version, 9);
        assert_eq!(log(&provisioner).await.len(), 8);
    }
}
