//! How changes lie in the log: a format version, then the changes of a commit in postcard's encoding, which has neither
//! names nor types. A tenth of what JSON takes, and the log is most of what a provisioned device takes.
use super::{Change, ChangeEntry};
use crate::clock::Timestamp;
use crate::names::{
    AttributeName, AttributeValue, BillingGroupName, ThingGroupName, ThingName, ThingTypeName,
};
use crate::records::{PropagatingAttribute, ThingGroupRecord, ThingRecord, ThingTypeRecord};
use crate::store::{LoggedChanges, StoreError};
use std::collections::BTreeMap;
use uuid::Uuid;

/// The version of the format that this program writes and reads. It rises with every change to what [`Commit`] contains.
const FORMAT_VERSION: u8 = 3;

/// The changes of one commit.
#[derive(serde::Serialize, serde::Deserialize)]
struct Commit<C> {
    at: Timestamp,
    /// The event ids count up from this one.
    first_id: u128,
    changes: C,
}

/// The log entry of a commit; `None` if nothing happened.
pub(crate) fn encode_changes(at: Timestamp, changes: &[Change]) -> Result<Option<Vec<u8>>, StoreError> {
    if changes.is_empty() {
        return Ok(None);
    }
    let mut bytes = Vec::with_capacity(64 + 64 * changes.len());
    bytes.push(FORMAT_VERSION);
    let commit = Commit { at, first_id: Uuid::new_v4().as_u128(), changes };
    let encoded = postcard::to_extend(&commit, bytes)
        .map_err(|e| StoreError::Corrupt(format!("changes could not be encoded: {e}")))?;
    Ok(Some(encoded))
}

/// Reads what [`encode_changes`] wrote. Another version, or bytes that are left over, are an error that names the commit.
pub(crate) fn decode_changes(
    logged: &LoggedChanges,
) -> Result<impl Iterator<Item = ChangeEntry> + use<>, StoreError> {
    let revision = logged.revision;
    let damaged = |why: &str| {
        StoreError::Corrupt(format!(
            "the changes of commit {revision} in the registry's change log cannot be read: {why}"
        ))
    };
    let encoded = match logged.changes.split_first() {
        Some((&FORMAT_VERSION, encoded)) => encoded,
        Some((version, _)) => {
            return Err(damaged(&format!(
                "they have format version {version}, this program reads version {FORMAT_VERSION}: they were written \
                 by another version of the program; use that one"
            )));
        }
        None => return Err(damaged("they are empty; restore a backup")),
    };
    let (commit, rest): (Commit<Vec<Change>>, &[u8]) = postcard::take_from_bytes(encoded)
        .map_err(|e| damaged(&format!("{e}; they are damaged: restore a backup")))?;
    if !rest.is_empty() {
        return Err(damaged("something follows them; they are damaged: restore a backup"));
    }
    let ids = (0..).map(move |n| event_id(commit.first_id, n));
    Ok(ids.zip(commit.changes).map(move |(event_id, change)| ChangeEntry {
        revision,
        event_id,
        timestamp: commit.at,
        change,
    }))
}

/// The UUID of a commit's n-th change: the lowest 32 bits count, the others are as random as a UUID's are.
fn event_id(first: u128, n: u32) -> Uuid {
    const COUNTED: u128 = u32::MAX as u128;
    let low = (first as u32).wrapping_add(n);
    Uuid::from_u128((first & !COUNTED) | u128::from(low))
}

/// [`ThingRecord`] by position.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(remote = "ThingRecord")]
pub(super) struct ThingState {
    name: ThingName,
    thing_id: String,
    thing_type: Option<ThingTypeName>,
    attributes: BTreeMap<AttributeName, AttributeValue>,
    billing_group: Option<BillingGroupName>,
    version: u64,
    created_at: Timestamp,
}

/// [`ThingTypeRecord`] by position, without tags, which no event has.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(remote = "ThingTypeRecord")]
pub(super) struct TypeState {
    name: ThingTypeName,
    thing_type_id: String,
    description: Option<String>,
    searchable_attributes: Vec<AttributeName>,
    #[serde(with = "propagating_attributes")]
    propagating_attributes: Vec<PropagatingAttribute>,
    deprecated_at: Option<Timestamp>,
    created_at: Timestamp,
    #[serde(skip)]
    tags: BTreeMap<String, String>,
}

/// [`PropagatingAttribute`]s by position.
mod propagating_attributes {
    use super::{AttributeName, PropagatingAttribute};
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(all: &[PropagatingAttribute], s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(all.iter().map(|attribute| {
            (&attribute.user_property_key, &attribute.thing_attribute, &attribute.connection_attribute)
        }))
    }
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        d: D,
    ) -> Result<Vec<PropagatingAttribute>, D::Error> {
        let all = Vec::<(String, Option<AttributeName>, Option<String>)>::deserialize(d)?;
        let attribute = |(user_property_key, thing_attribute, connection_attribute)| PropagatingAttribute {
            user_property_key,
            thing_attribute,
            connection_attribute,
        };
        Ok(all.into_iter().map(attribute).collect())
    }
}

/// [`ThingGroupRecord`] by position, without tags.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(remote = "ThingGroupRecord")]
pub(super) struct GroupState {
    name: ThingGroupName,
    thing_group_id: String,
    parent: Option<ThingGroupName>,
    ancestors: Vec<ThingGroupName>,
    description: Option<String>,
    attributes: BTreeMap<AttributeName, AttributeValue>,
    query: Option<String>,
    version: u64,
    created_at: Timestamp,
    #[serde(skip)]
    tags: BTreeMap<String, String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attempt::Outcome;
    use crate::change::Operation;
    use crate::names::CertificateId;
    use crate::records::{CertificateStatus, PolicyTarget};
    use crate::store::Revision;

    /// One of each kind.
    fn changes() -> Vec<Change> {
        let id = CertificateId::from_bytes([7; 32]);
        let at = Timestamp(1_767_225_600_456);
        let thing = ThingRecord {
            name: "pump-1".parse().unwrap(),
            thing_id: "a1d4".into(),
            thing_type: Some("pump".parse().unwrap()),
            attributes: [("line".parse().unwrap(), "7".parse().unwrap())].into(),
            billing_group: None,
            version: 3,
            created_at: at,
        };
        let thing_type = ThingTypeRecord {
            name: "pump".parse().unwrap(),
            thing_type_id: "b".into(),
            description: None,
            searchable_attributes: vec!["line".parse().unwrap()],
            propagating_attributes: vec![PropagatingAttribute {
                user_property_key: "key".into(),
                thing_attribute: None,
                connection_attribute: Some("iot:ClientId".into()),
            }],
            deprecated_at: Some(at),
            created_at: at,
            tags: BTreeMap::new(),
        };
        let group = ThingGroupRecord {
            name: "pumps".parse().unwrap(),
            thing_group_id: "c".into(),
            parent: Some("all".parse().unwrap()),
            ancestors: vec!["all".parse().unwrap()],
            description: Some("all pumps".into()),
            attributes: BTreeMap::new(),
            query: Some("thingName:pump*".into()),
            version: 1,
            created_at: at,
            tags: BTreeMap::new(),
        };
        let (name, parent) = (group.name.clone(), group.ancestors[0].clone());
        let operation = Operation::Updated;
        vec![
            Change::ThingType { operation, thing_type },
            Change::ThingTypeAssociation {
                added: true,
                thing_id: "a1d4".into(),
                thing: thing.name.clone(),
                thing_type: "pump".parse().unwrap(),
            },
            Change::ThingGroup { operation, group, parent_ids: vec!["d".into()] },
            Change::ThingGroupMembership {
                added: false,
                group: name.clone(),
                group_id: "c".into(),
                thing: thing.name.clone(),
                thing_id: "a1d4".into(),
            },
            Change::ThingGroupHierarchy {
                added: true,
                parent,
                parent_id: "d".into(),
                child: name.clone(),
                child_id: "c".into(),
            },
            Change::CertificateRegistered {
                certificate_id: id,
                ca_certificate_id: id,
                status: CertificateStatus::PendingActivation,
                registered_at: at,
            },
            Change::Certificate { certificate_id: id, from: None, to: Some(CertificateStatus::Active) },
            Change::CaCertificate { operation, certificate_id: id },
            Change::Policy { operation, policy: "p".parse().unwrap() },
            Change::PolicyAttachment {
                attached: true,
                policy: "p".parse().unwrap(),
                target: PolicyTarget::ThingGroup(name),
            },
            Change::PrincipalAttachment { attached: true, thing: thing.name.clone(), certificate_id: id },
            Change::Thing { operation, thing },
            Change::Template { operation, template: "t".parse().unwrap() },
            Change::EventConfigurations,
            Change::Attempted { sequence: 9, outcome: Outcome::Refused, ca_certificate_id: None },
            Change::Reset,
        ]
    }

    fn read(changes: Vec<u8>) -> Result<Vec<ChangeEntry>, String> {
        let logged = LoggedChanges { revision: Revision(5), changes };
        decode_changes(&logged).map(Iterator::collect).map_err(|e| e.to_string())
    }

    #[test]
    fn every_change_reads_back_with_an_id_of_its_own() {
        let written = encode_changes(Timestamp(3), &changes()).unwrap().unwrap();
        let entries = read(written.clone()).unwrap();
        let ids: std::collections::BTreeSet<Uuid> = entries.iter().map(|entry| entry.event_id).collect();
        assert_eq!(ids.len(), entries.len());
        assert!(ids.iter().all(|id| id.get_version_num() == 4));
        assert!(entries.iter().all(|e| (e.revision, e.timestamp) == (Revision(5), Timestamp(3))));
        assert_eq!(entries.iter().map(|entry| entry.change.clone()).collect::<Vec<_>>(), changes());
        assert_eq!(read(written).unwrap(), entries, "ids are the same when it is read again");
        assert_eq!(encode_changes(Timestamp(3), &[]).unwrap(), None);
    }

    #[test]
    fn ids_are_different_where_the_counter_runs_over() {
        assert_ne!(event_id(u128::MAX, 0), event_id(u128::MAX, 1));
        assert_eq!(event_id(u128::MAX, 1).as_u128() >> 32, u128::MAX >> 32);
    }

    #[test]
    fn what_another_version_wrote_or_something_damaged_is_an_error_that_names_the_commit() {
        let mut newer = encode_changes(Timestamp(3), &changes()).unwrap().unwrap();
        let whole = newer.clone();
        newer[0] = FORMAT_VERSION + 1;
        let text = read(newer).unwrap_err();
        assert!(text.contains("commit 5") && text.contains("format version 4"), "{text}");
        for length in 0..whole.len() {
            assert!(read(whole[..length].to_vec()).is_err(), "{length} bytes");
        }
        let longer = [&whole[..], b"x"].concat();
        assert!(read(longer).unwrap_err().contains("something follows"));
    }
}
