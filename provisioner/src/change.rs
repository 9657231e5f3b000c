//! The change log: the single source of what happened. Events, caches, live sessions and tails read it.
use crate::attempt::Attempt;
use crate::clock::{Clock, Timestamp};
use crate::error::RegistryError;
use crate::names::{CertificateId, PolicyName, TemplateName, ThingGroupName, ThingName, ThingTypeName};
use crate::records::{CertificateStatus, PolicyTarget, ThingGroupRecord, ThingRecord, ThingTypeRecord};
use crate::store::{Batch, Cursor, LoggedChanges, Revision, Store, StoreError, Table, Write};
use crate::stored::{decode, encode};
use std::sync::Arc;
use tokio::sync::watch;
use uuid::Uuid;

/// What was done to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs)]
pub enum Operation {
    Created,
    Updated,
    Deleted,
}

/// One thing that happened. Carries all that its event needs.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
#[allow(missing_docs)]
pub enum Change {
    Thing {
        operation: Operation,
        thing: ThingRecord,
    },
    ThingType {
        operation: Operation,
        thing_type: ThingTypeRecord,
    },
    ThingTypeAssociation {
        added: bool,
        thing_id: String,
        thing: ThingName,
        thing_type: ThingTypeName,
    },
    /// `parent_ids` runs beside `group.ancestors`.
    ThingGroup {
        operation: Operation,
        group: ThingGroupRecord,
        parent_ids: Vec<String>,
    },
    ThingGroupMembership {
        added: bool,
        group: ThingGroupName,
        group_id: String,
        thing: ThingName,
        thing_id: String,
    },
    ThingGroupHierarchy {
        added: bool,
        parent: ThingGroupName,
        parent_id: String,
        child: ThingGroupName,
        child_id: String,
    },
    /// Auto-registered, or presented again while pending (`spec/jitp.md` section 5).
    CertificateRegistered {
        certificate_id: CertificateId,
        ca_certificate_id: CertificateId,
        status: CertificateStatus,
        registered_at: Timestamp,
    },
    /// `to` is `None` when the record was deleted; `from` is `None` when it was created.
    Certificate {
        certificate_id: CertificateId,
        from: Option<CertificateStatus>,
        to: Option<CertificateStatus>,
    },
    CaCertificate {
        operation: Operation,
        certificate_id: CertificateId,
    },
    Policy {
        operation: Operation,
        policy: PolicyName,
    },
    PolicyAttachment {
        attached: bool,
        policy: PolicyName,
        target: PolicyTarget,
    },
    PrincipalAttachment {
        attached: bool,
        thing: ThingName,
        certificate_id: CertificateId,
    },
    Template {
        operation: Operation,
        template: TemplateName,
    },
    EventConfigurations,
    Attempted {
        attempt: Box<Attempt>,
    },
}

/// A change with its place in the log.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct ChangeEntry {
    /// The commit that made it.
    pub revision: Revision,
    /// UUID, stable across re-delivery: `eventId`.
    pub event_id: String,
    pub timestamp: Timestamp,
    pub change: Change,
}

/// What the permissions of a live connection were computed from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Dependency {
    Certificate(CertificateId),
    Thing(ThingName),
    Policy(PolicyName),
    ThingGroup(ThingGroupName),
}

impl Change {
    /// The dependencies whose connections must look again.
    pub fn touches(&self) -> Vec<Dependency> {
        match self {
            Self::Thing { thing, .. } => vec![Dependency::Thing(thing.name.clone())],
            Self::ThingTypeAssociation { thing, .. } => vec![Dependency::Thing(thing.clone())],
            Self::ThingGroup { group, .. } => vec![Dependency::ThingGroup(group.name.clone())],
            Self::ThingGroupMembership { group, thing, .. } => {
                vec![Dependency::Thing(thing.clone()), Dependency::ThingGroup(group.clone())]
            }
            Self::ThingGroupHierarchy { child, .. } => vec![Dependency::ThingGroup(child.clone())],
            Self::Certificate { certificate_id, .. } => vec![Dependency::Certificate(*certificate_id)],
            Self::Policy { policy, .. } => vec![Dependency::Policy(policy.clone())],
            Self::PolicyAttachment { target: PolicyTarget::Certificate(id), .. } => {
                vec![Dependency::Certificate(*id)]
            }
            Self::PolicyAttachment { target: PolicyTarget::ThingGroup(group), .. } => {
                vec![Dependency::ThingGroup(group.clone())]
            }
            Self::PrincipalAttachment { thing, certificate_id, .. } => {
                vec![Dependency::Certificate(*certificate_id), Dependency::Thing(thing.clone())]
            }
            Self::ThingType { .. }
            | Self::CertificateRegistered { .. }
            | Self::CaCertificate { .. }
            | Self::Template { .. }
            | Self::EventConfigurations
            | Self::Attempted { .. } => Vec::new(),
        }
    }
}

/// Reads the change log in order and waits for its growth. Cheap to clone.
///
/// The log is trimmed: at least the newest 100,000 commits stay, and what a consumer with a stored cursor has not read
/// yet, up to 500,000 commits, unless its cursor has not moved for 7 days.
#[derive(Clone)]
pub struct ChangeFeed {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    latest: watch::Receiver<Revision>,
}

impl ChangeFeed {
    pub(crate) fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        let latest = store.latest();
        Self { store, clock, latest }
    }
    /// Changes after `after` in commit order: all changes of a commit or none, at least one commit if there is one,
    /// about `limit` at most.
    ///
    /// What has been trimmed is skipped; who cannot bear that asks [`ChangeFeed::is_trimmed_after`].
    pub async fn since(&self, after: Revision, limit: usize) -> Result<Vec<ChangeEntry>, RegistryError> {
        let mut entries = Vec::new();
        // A commit has at least one change, so `limit` commits are enough.
        for logged in self.store.changes_since(after, limit.max(1)).await? {
            if !entries.is_empty() && entries.len() >= limit {
                break;
            }
            entries.extend(decode_changes(&logged)?);
        }
        Ok(entries)
    }
    /// Have changes after this revision been trimmed? A reader that kept up only in memory must then start anew.
    pub fn is_trimmed_after(&self, after: Revision) -> bool {
        after < self.store.trimmed()
    }
    /// The newest committed revision that has changes.
    pub fn latest(&self) -> Revision {
        *self.latest.borrow()
    }
    /// Returns when changes beyond `after` are committed. Cancel-safe. Never returns once the registry is closed.
    pub async fn beyond(&self, after: Revision) {
        if self.latest.clone().wait_for(|latest| *latest > after).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
    /// The stored cursor of a consumer, revision 0 if it has none.
    pub async fn cursor(&self, consumer: &str) -> Result<Revision, RegistryError> {
        match self.store.get(Table::Cursors, consumer.as_bytes()).await? {
            Some(row) => Ok(Cursor::decode(consumer.as_bytes(), &row.value)?.done),
            None => Ok(Revision(0)),
        }
    }
    /// Stores the cursor of a consumer: everything up to it is done. Not durable on return, but soon after: after a
    /// crash a consumer may see again what it has done.
    pub async fn advance(&self, consumer: &str, done: Revision) -> Result<(), RegistryError> {
        let cursor = Cursor { done, at: self.clock.now() };
        let write =
            Write { table: Table::Cursors, key: consumer.as_bytes().to_vec(), value: Some(cursor.encode()) };
        self.store.commit_later(Batch { writes: vec![write], ..Batch::default() })?;
        Ok(())
    }
}

/// The changes of one commit, as they lie in the log.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Logged<C> {
    at: Timestamp,
    changes: Vec<LoggedChange<C>>,
}
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct LoggedChange<C> {
    id: String,
    change: C,
}

/// The log entry of a commit; `None` if nothing happened.
pub(crate) fn encode_changes(at: Timestamp, changes: &[Change]) -> Result<Option<Vec<u8>>, StoreError> {
    if changes.is_empty() {
        return Ok(None);
    }
    let changes =
        changes.iter().map(|change| LoggedChange { id: Uuid::new_v4().to_string(), change }).collect();
    encode(&Logged { at, changes }).map(Some)
}

fn decode_changes(logged: &LoggedChanges) -> Result<impl Iterator<Item = ChangeEntry>, StoreError> {
    let revision = logged.revision;
    let commit: Logged<Change> = decode(Table::Changes, &revision.0.to_be_bytes(), &logged.changes)?;
    Ok(commit.changes.into_iter().map(move |c| ChangeEntry {
        revision,
        event_id: c.id,
        timestamp: commit.at,
        change: c.change,
    }))
}
