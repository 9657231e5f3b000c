//! The change log: the single source of what happened. Events, caches, live sessions and tails read it.
mod feed;
pub(crate) mod logged;

pub use feed::ChangeFeed;

use crate::attempt::Outcome;
use crate::clock::Timestamp;
use crate::names::{CertificateId, PolicyName, TemplateName, ThingGroupName, ThingName, ThingTypeName};
use crate::records::{CertificateStatus, PolicyTarget, ThingGroupRecord, ThingRecord, ThingTypeRecord};
use crate::store::Revision;
use logged::{GroupState, ThingState, TypeState};
use uuid::Uuid;

/// What was done to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[allow(missing_docs)]
pub enum Operation {
    Created,
    Updated,
    Deleted,
}

/// One thing that happened. Carries all that its event needs, but for attempts: those are in the attempt log.
///
/// Stored by position (see `logged`): whoever adds a variant or a member raises the format version there.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[allow(missing_docs)]
pub enum Change {
    Thing {
        operation: Operation,
        #[serde(with = "ThingState")]
        thing: ThingRecord,
    },
    ThingType {
        operation: Operation,
        #[serde(with = "TypeState")]
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
        #[serde(with = "GroupState")]
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
    /// `sequence` is the attempt's in the attempt log, which may have dropped it since.
    Attempted {
        sequence: u64,
        outcome: Outcome,
        ca_certificate_id: Option<CertificateId>,
    },
    /// Everything may be different now: the registry was returned to where it began.
    Reset,
}

/// A change with its place in the log.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct ChangeEntry {
    /// The commit that made it.
    pub revision: Revision,
    /// Stable across re-delivery: `eventId`.
    pub event_id: Uuid,
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
    /// Which dynamic groups there are, and their queries.
    DynamicGroups,
}

impl Change {
    /// The dependencies whose connections must look again.
    pub fn touches(&self) -> Vec<Dependency> {
        match self {
            Self::Thing { thing, .. } => vec![Dependency::Thing(thing.name.clone())],
            Self::ThingTypeAssociation { thing, .. } => vec![Dependency::Thing(thing.clone())],
            Self::ThingGroup { group, .. } => {
                let dynamic = group.query.as_ref().map(|_| Dependency::DynamicGroups);
                [Dependency::ThingGroup(group.name.clone())].into_iter().chain(dynamic).collect()
            }
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
            | Self::Reset
            | Self::Attempted { .. } => Vec::new(),
        }
    }
}
