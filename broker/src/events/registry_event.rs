//! A change of the registry as an event: topic, switch and JSON (`spec/events.md` sections 2 and 3,
//! `spec/jitp.md` section 5). Pure.
use jitp_provisioner::names::{CertificateId, ThingGroupName};
use jitp_provisioner::records::{EventConfigurations, ThingGroupRecord, ThingRecord, ThingTypeRecord};
use jitp_provisioner::{Arn, Change, ChangeEntry, Operation, Outcome, ResourceKind};
use serde_json::{Map, Value, json};

/// Whose registry it is.
#[derive(Debug, Clone)]
pub(super) struct Owner {
    pub account: String,
    pub region: String,
}

/// The topic of a change, if it has an event and the event is switched on.
pub(super) fn topic(change: &Change, switches: &EventConfigurations) -> Option<String> {
    if !switch(change).is_none_or(|switch| switches.is_enabled(switch)) {
        return None;
    }
    let topic = match change {
        Change::Thing { operation, thing } => format!("thing/{}/{}", thing.name, happened(*operation)),
        Change::ThingType { operation, thing_type } => {
            format!("thingType/{}/{}", thing_type.name, happened(*operation))
        }
        Change::ThingTypeAssociation { added, thing, thing_type, .. } => {
            format!("thingTypeAssociation/thing/{thing}/thingType/{thing_type}/{}", moved(*added))
        }
        Change::ThingGroup { operation, group, .. } => {
            format!("thingGroup/{}/{}", group.name, happened(*operation))
        }
        Change::ThingGroupMembership { added, group, thing, .. } => {
            format!("thingGroupMembership/thingGroup/{group}/thing/{thing}/{}", moved(*added))
        }
        Change::ThingGroupHierarchy { added, parent, child, .. } => {
            format!("thingGroupHierarchy/thingGroup/{parent}/childThingGroup/{child}/{}", moved(*added))
        }
        Change::CertificateRegistered { ca_certificate_id, .. } => {
            format!("certificates/registered/{ca_certificate_id}")
        }
        Change::Attempted { outcome, ca_certificate_id, .. } => {
            return Some(attempt_topic(*outcome, ca_certificate_id.as_ref()));
        }
        _ => return None,
    };
    Some(format!("$aws/events/{topic}"))
}

/// The key that switches the events of this kind on; `None`: they are always on, or there are none.
fn switch(change: &Change) -> Option<&'static str> {
    match change {
        Change::Thing { .. } => Some("THING"),
        Change::ThingType { .. } => Some("THING_TYPE"),
        Change::ThingTypeAssociation { .. } => Some("THING_TYPE_ASSOCIATION"),
        Change::ThingGroup { .. } => Some("THING_GROUP"),
        Change::ThingGroupMembership { .. } => Some("THING_GROUP_MEMBERSHIP"),
        Change::ThingGroupHierarchy { .. } => Some("THING_GROUP_HIERARCHY"),
        _ => None,
    }
}

/// The JSON of a change that has a [`topic`] and is not an attempt, whose event is the attempt.
pub(super) fn payload(entry: &ChangeEntry, owner: &Owner) -> Option<Value> {
    let timestamp = entry.timestamp.millis();
    let registry_event = |kind: &str, operation: &str, with_account: bool, members: Value| {
        let mut event = Map::new();
        event.insert("eventType".into(), kind.into());
        event.insert("eventId".into(), entry.event_id.to_string().into());
        event.insert("timestamp".into(), timestamp.into());
        event.insert("operation".into(), operation.into());
        if with_account {
            event.insert("accountId".into(), owner.account.as_str().into());
        }
        if let Value::Object(members) = members {
            event.extend(members);
        }
        Some(Value::Object(event))
    };
    match &entry.change {
        Change::Thing { operation, thing } => {
            registry_event("THING_EVENT", name(*operation), true, thing_members(thing))
        }
        Change::ThingType { operation, thing_type } => {
            registry_event("THING_TYPE_EVENT", name(*operation), true, thing_type_members(thing_type))
        }
        Change::ThingTypeAssociation { added, thing_id, thing, thing_type } => registry_event(
            "THING_TYPE_ASSOCIATION_EVENT",
            moved_name(*added),
            false,
            json!({ "thingId": thing_id, "thingName": thing, "thingTypeName": thing_type }),
        ),
        Change::ThingGroup { operation, group, parent_ids } => registry_event(
            "THING_GROUP_EVENT",
            name(*operation),
            true,
            group_members(group, parent_ids, owner),
        ),
        Change::ThingGroupMembership { added, group, group_id, thing, thing_id } => registry_event(
            "THING_GROUP_MEMBERSHIP_EVENT",
            moved_name(*added),
            true,
            json!({
                "groupArn": group_arn(group, owner),
                "groupId": group_id,
                "thingArn": owner.arn(ResourceKind::Thing, thing.as_str()),
                "thingId": thing_id,
                "membershipId": format!("{group_id}:{thing_id}"),
            }),
        ),
        Change::ThingGroupHierarchy { added, parent, parent_id, child, child_id } => registry_event(
            "THING_GROUP_HIERARCHY_EVENT",
            moved_name(*added),
            true,
            json!({
                "thingGroupId": parent_id,
                "thingGroupName": parent,
                "childGroupId": child_id,
                "childGroupName": child,
            }),
        ),
        Change::CertificateRegistered { certificate_id, ca_certificate_id, status, registered_at } => {
            Some(json!({
                "certificateId": certificate_id,
                "caCertificateId": ca_certificate_id,
                "timestamp": timestamp,
                "certificateStatus": status,
                "awsAccountId": owner.account,
                "certificateRegistrationTimestamp": registered_at.millis().to_string(),
            }))
        }
        _ => None,
    }
}

impl Owner {
    fn arn(&self, kind: ResourceKind, name: &str) -> String {
        let (region, account) = (self.region.clone(), self.account.clone());
        Arn { region, account, kind, name: name.to_owned() }.to_string()
    }
}

fn thing_members(thing: &ThingRecord) -> Value {
    json!({
        "thingId": thing.thing_id,
        "thingName": thing.name,
        "versionNumber": thing.version,
        "thingTypeName": thing.thing_type,
        "attributes": thing.attributes,
    })
}

fn thing_type_members(thing_type: &ThingTypeRecord) -> Value {
    json!({
        "thingTypeId": thing_type.thing_type_id,
        "thingTypeName": thing_type.name,
        "isDeprecated": thing_type.deprecated_at.is_some(),
        "deprecationDate": thing_type.deprecated_at,
        "searchableAttributes": thing_type.searchable_attributes,
        "propagatingAttributes": [],
        "description": thing_type.description.as_deref().unwrap_or_default(),
    })
}

fn group_members(group: &ThingGroupRecord, parent_ids: &[String], owner: &Owner) -> Value {
    let chain = group.ancestors.iter().zip(parent_ids);
    let root_to_parent: Vec<Value> =
        chain.map(|(name, id)| json!({ "groupArn": group_arn(name, owner), "groupId": id })).collect();
    json!({
        "thingGroupId": group.thing_group_id,
        "thingGroupName": group.name,
        "versionNumber": group.version,
        "parentGroupName": group.parent,
        "parentGroupId": group.parent.as_ref().and(parent_ids.last()),
        "description": group.description.as_deref().unwrap_or_default(),
        "rootToParentThingGroups": root_to_parent,
        "attributes": group.attributes,
        "dynamicGroupMappingId": null,
    })
}

fn group_arn(name: &ThingGroupName, owner: &Owner) -> String {
    owner.arn(ResourceKind::ThingGroup, name.as_str())
}

/// Ours: every attempt, so that a failing device is visible (`spec/jitp.md` section 7).
fn attempt_topic(outcome: Outcome, ca: Option<&CertificateId>) -> String {
    let outcome = match outcome {
        Outcome::Provisioned => "provisioned",
        Outcome::Refused => "refused",
    };
    match ca {
        Some(ca) => format!("$jitp/events/attempts/{outcome}/{ca}"),
        None => format!("$jitp/events/attempts/{outcome}/unknown"),
    }
}

const fn happened(operation: Operation) -> &'static str {
    match operation {
        Operation::Created => "created",
        Operation::Updated => "updated",
        Operation::Deleted => "deleted",
    }
}
const fn name(operation: Operation) -> &'static str {
    match operation {
        Operation::Created => "CREATED",
        Operation::Updated => "UPDATED",
        Operation::Deleted => "DELETED",
    }
}
const fn moved(added: bool) -> &'static str {
    if added { "added" } else { "removed" }
}
const fn moved_name(added: bool) -> &'static str {
    if added { "ADDED" } else { "REMOVED" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jitp_provisioner::Timestamp;
    use jitp_provisioner::names::ThingName;
    use jitp_provisioner::records::CertificateStatus;
    use jitp_provisioner::store::Revision;

    fn entry(change: Change) -> ChangeEntry {
        ChangeEntry {
            revision: Revision(7),
            event_id: uuid::Uuid::nil(),
            timestamp: Timestamp(1_767_225_600_456),
            change,
        }
    }
    fn owner() -> Owner {
        Owner { account: "000000000000".into(), region: "local-1".into() }
    }
    fn on(key: &str) -> EventConfigurations {
        EventConfigurations { enabled: [(key.to_owned(), true)].into(), ..EventConfigurations::default() }
    }
    fn thing() -> ThingRecord {
        ThingRecord {
            name: ThingName::new("pump-K-0042").unwrap(),
            thing_id: "a1d4".into(),
            thing_type: None,
            attributes: [("line".parse().unwrap(), "7".parse().unwrap())].into(),
            billing_group: None,
            version: 1,
            created_at: Timestamp(1),
        }
    }

    #[test]
    fn a_thing_event_is_the_example_of_the_specification() {
        let entry = entry(Change::Thing { operation: Operation::Created, thing: thing() });
        assert_eq!(topic(&entry.change, &EventConfigurations::default()), None, "off by default");
        let topic = topic(&entry.change, &on("THING")).unwrap();
        assert_eq!(topic, "$aws/events/thing/pump-K-0042/created");
        let expected = json!({
            "eventType": "THING_EVENT", "eventId": "00000000-0000-0000-0000-000000000000", "timestamp": 1_767_225_600_456u64,
            "operation": "CREATED", "accountId": "000000000000", "thingId": "a1d4", "thingName": "pump-K-0042",
            "versionNumber": 1, "thingTypeName": null, "attributes": { "line": "7" }
        });
        assert_eq!(payload(&entry, &owner()), Some(expected));
    }

    #[test]
    fn an_association_event_has_no_account() {
        let change = Change::ThingTypeAssociation {
            added: false,
            thing_id: "1".into(),
            thing: ThingName::new("a").unwrap(),
            thing_type: "pump".parse().unwrap(),
        };
        let topic = topic(&change, &on("THING_TYPE_ASSOCIATION"));
        assert_eq!(topic.as_deref(), Some("$aws/events/thingTypeAssociation/thing/a/thingType/pump/removed"));
        let payload = payload(&entry(change), &owner()).unwrap();
        assert_eq!(payload.get("accountId"), None);
        assert_eq!(payload["operation"], "REMOVED");
    }

    #[test]
    fn a_registration_is_always_announced() {
        let change = Change::CertificateRegistered {
            certificate_id: CertificateId::from_bytes([1; 32]),
            ca_certificate_id: CertificateId::from_bytes([2; 32]),
            status: CertificateStatus::PendingActivation,
            registered_at: Timestamp(1_767_225_600_098),
        };
        let topic = topic(&change, &EventConfigurations::default()).unwrap();
        assert_eq!(topic, format!("$aws/events/certificates/registered/{}", "02".repeat(32)));
        let expected = json!({
            "certificateId": "01".repeat(32), "caCertificateId": "02".repeat(32),
            "timestamp": 1_767_225_600_456u64, "certificateStatus": "PENDING_ACTIVATION",
            "awsAccountId": "000000000000", "certificateRegistrationTimestamp": "1767225600098"
        });
        assert_eq!(payload(&entry(change), &owner()), Some(expected));
    }

    #[test]
    fn membership_and_hierarchy_name_both_sides() {
        let change = Change::ThingGroupMembership {
            added: true,
            group: "pumps".parse().unwrap(),
            group_id: "g".into(),
            thing: ThingName::new("a").unwrap(),
            thing_id: "t".into(),
        };
        let topic = topic(&change, &on("THING_GROUP_MEMBERSHIP")).unwrap();
        assert_eq!(topic, "$aws/events/thingGroupMembership/thingGroup/pumps/thing/a/added");
        let payload = payload(&entry(change), &owner()).unwrap();
        assert_eq!(payload["groupArn"], "arn:aws:iot:local-1:000000000000:thinggroup/pumps");
        assert_eq!(payload["membershipId"], "g:t");
    }

    #[test]
    fn changes_of_policies_and_attachments_have_no_event() {
        let everything = EventConfigurations {
            enabled: EventConfigurations::KEYS.iter().map(|k| ((*k).to_owned(), true)).collect(),
            ..EventConfigurations::default()
        };
        let change = Change::Policy { operation: Operation::Updated, policy: "p".parse().unwrap() };
        assert_eq!(topic(&change, &everything), None);
        assert_eq!(topic(&Change::EventConfigurations, &everything), None);
    }
}
