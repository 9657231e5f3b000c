//! The change log: the single source of what happened. Events, caches, live sessions and tails read it.
use crate::attempt::Attempt;
use crate::clock::Timestamp;
use crate::error::RegistryError;
use crate::names::{CertificateId, PolicyName, TemplateName, ThingGroupName, ThingName, ThingTypeName};
use crate::records::{CertificateStatus, PolicyTarget, ThingGroupRecord, ThingRecord, ThingTypeRecord};
use crate::store::Revision;

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
        unimplemented!()
    }
}

/// Reads the change log in order and waits for its growth.
pub struct ChangeFeed {}

impl ChangeFeed {
    /// Changes after `after` in commit order: all changes of a commit or none, at least one commit if there is one,
    /// about `limit` at most.
    pub async fn since(&self, _after: Revision, _limit: usize) -> Result<Vec<ChangeEntry>, RegistryError> {
        unimplemented!()
    }
    /// The newest committed revision.
    pub fn latest(&self) -> Revision {
        unimplemented!()
    }
    /// Returns when a revision beyond `after` is committed. Cancel-safe.
    pub async fn beyond(&self, _after: Revision) {
        unimplemented!()
    }
    /// The stored cursor of a consumer, revision 0 if it has none.
    pub async fn cursor(&self, _consumer: &str) -> Result<Revision, RegistryError> {
        unimplemented!()
    }
    /// Stores the cursor of a consumer: everything up to it is done. Need not be durable on return.
    pub async fn advance(&self, _consumer: &str, _done: Revision) -> Result<(), RegistryError> {
        unimplemented!()
    }
}
