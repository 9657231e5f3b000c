//! Things (`spec/control-plane.md` section 4).
use super::page::{Page, PageRequest, name_in_key, page};
use super::{Registry, Result, attributes, thing_groups};
use crate::arn::ResourceKind;
use crate::change::{Change, Operation};
use crate::error::RegistryError;
use crate::names::{AttributeName, AttributeValue, BillingGroupName, ThingName, ThingTypeName};
use crate::records::{BillingGroupRecord, ThingRecord, ThingTypeRecord};
use crate::store::Table;
use crate::stored::{Stored, composed_key, decode, key_prefix};
use crate::transact::transact;
use crate::tx::Tx;
use std::collections::BTreeMap;

/// CreateThing.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs)]
pub struct CreateThing {
    pub thing_type: Option<ThingTypeName>,
    pub attributes: BTreeMap<AttributeName, AttributeValue>,
    pub billing_group: Option<BillingGroupName>,
}
/// UpdateThing.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs)]
pub struct UpdateThing {
    pub thing_type: Option<ThingTypeName>,
    pub remove_thing_type: bool,
    pub attributes: Option<BTreeMap<AttributeName, AttributeValue>>,
    pub merge: bool,
    pub expected_version: Option<u64>,
}
/// Which things ListThings lists.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs)]
pub struct ThingFilter {
    pub thing_type: Option<ThingTypeName>,
    pub attribute: Option<(AttributeName, String)>,
    /// The attribute's value is a prefix.
    pub prefix: bool,
}

/// Creates a thing; finding the very same one is a success, another one of that name an error.
pub(crate) async fn create(tx: &mut Tx, name: &ThingName, thing: &CreateThing) -> Result<ThingRecord> {
    if let Some(known) = tx.get::<ThingRecord>(name).await? {
        let same = known.thing_type == thing.thing_type
            && known.attributes == thing.attributes
            && known.billing_group == thing.billing_group;
        if same {
            return Ok(known);
        }
        return Err(RegistryError::AlreadyExists {
            kind: ThingRecord::KIND,
            id: known.thing_id,
            arn: tx.arn(ResourceKind::Thing, name.as_str()).to_string(),
            hint: format!(
                " under the name {name} with another type, billing group or attributes: update it instead"
            ),
        });
    }
    attributes::check_of_thing(&thing.attributes, thing.thing_type.is_some())?;
    if let Some(thing_type) = &thing.thing_type {
        check_type(tx, thing_type).await?;
    }
    if let Some(group) = &thing.billing_group {
        tx.require::<BillingGroupRecord>(group).await?;
        tx.put_row(Table::ThingsOfBillingGroup, composed_key([group.as_str(), name.as_str()]), Vec::new());
    }
    let record = ThingRecord {
        name: name.clone(),
        thing_id: uuid::Uuid::new_v4().to_string(),
        thing_type: thing.thing_type.clone(),
        attributes: thing.attributes.clone(),
        billing_group: thing.billing_group.clone(),
        version: 1,
        created_at: tx.now(),
    };
    tx.put(&record)?;
    tx.record(Change::Thing { operation: Operation::Created, thing: record.clone() });
    if let Some(thing_type) = &record.thing_type {
        associate(tx, &record, thing_type, true);
    }
    Ok(record)
}

/// Changes type and attributes. What changes nothing is no update.
pub(crate) async fn update(tx: &mut Tx, name: &ThingName, update: &UpdateThing) -> Result<ThingRecord> {
    if update.remove_thing_type && update.thing_type.is_some() {
        return Err(RegistryError::InvalidRequest(
            "thingTypeName and removeThingType contradict each other: give one of them".into(),
        ));
    }
    let before: ThingRecord = tx.require(name).await?;
    check_version("thing", name.as_str(), before.version, update.expected_version)?;
    let mut after = before.clone();
    if update.remove_thing_type {
        after.thing_type = None;
    }
    if let Some(thing_type) = &update.thing_type {
        if before.thing_type.as_ref() != Some(thing_type) {
            check_type(tx, thing_type).await?;
        }
        after.thing_type = Some(thing_type.clone());
    }
    if let Some(new) = &update.attributes {
        after.attributes = attributes::updated(&before.attributes, new, update.merge);
    }
    if after == before {
        return Ok(before);
    }
    attributes::check_of_thing(&after.attributes, after.thing_type.is_some())?;
    after.version += 1;
    tx.put(&after)?;
    tx.record(Change::Thing { operation: Operation::Updated, thing: after.clone() });
    if before.thing_type != after.thing_type {
        if let Some(old) = &before.thing_type {
            associate(tx, &after, old, false);
        }
        if let Some(new) = &after.thing_type {
            associate(tx, &after, new, true);
        }
    }
    Ok(after)
}

/// Deletes a thing without principals, and its memberships with it. A missing thing is a success.
pub(crate) async fn delete(tx: &mut Tx, name: &ThingName, expected_version: Option<u64>) -> Result<()> {
    let Some(thing) = tx.get::<ThingRecord>(name).await? else { return Ok(()) };
    check_version("thing", name.as_str(), thing.version, expected_version)?;
    if !tx.is_empty(Table::PrincipalsOfThing, &key_prefix(name.as_str())).await? {
        return Err(RegistryError::InvalidRequest(format!(
            "thing {name} still has principals attached: detach them before deleting it"
        )));
    }
    if let Some(thing_type) = &thing.thing_type {
        associate(tx, &thing, thing_type, false);
    }
    for group in thing_groups::groups_of(tx, name).await? {
        thing_groups::remove(tx, name, &group).await?;
    }
    if let Some(group) = &thing.billing_group {
        tx.delete_row(Table::ThingsOfBillingGroup, composed_key([group.as_str(), name.as_str()]));
    }
    tx.delete::<ThingRecord>(name);
    tx.record(Change::Thing { operation: Operation::Deleted, thing });
    Ok(())
}

/// May things be associated with this type from now on?
async fn check_type(tx: &mut Tx, name: &ThingTypeName) -> Result<()> {
    let thing_type: ThingTypeRecord = tx.require(name).await?;
    if thing_type.deprecated_at.is_some() {
        return Err(RegistryError::InvalidRequest(format!(
            "thing type {name} is deprecated: use another one, or undo the deprecation"
        )));
    }
    Ok(())
}

fn associate(tx: &mut Tx, thing: &ThingRecord, thing_type: &ThingTypeName, added: bool) {
    let key = composed_key([thing_type.as_str(), thing.name.as_str()]);
    if added {
        tx.put_row(Table::ThingsByType, key, Vec::new());
    } else {
        tx.delete_row(Table::ThingsByType, key);
    }
    tx.record(Change::ThingTypeAssociation {
        added,
        thing_id: thing.thing_id.clone(),
        thing: thing.name.clone(),
        thing_type: thing_type.clone(),
    });
}

/// Is this still the version that the caller has seen?
pub(super) fn check_version(kind: &str, name: &str, version: u64, expected: Option<u64>) -> Result<()> {
    match expected {
        Some(expected) if expected != version => Err(RegistryError::VersionConflict(format!(
            "{kind} {name} has version {version}, not {expected}: read it again, and decide again"
        ))),
        _ => Ok(()),
    }
}

impl ThingFilter {
    fn admits(&self, thing: &ThingRecord) -> bool {
        let of_type = self.thing_type.is_none() || self.thing_type == thing.thing_type;
        let with_attribute = self.attribute.as_ref().is_none_or(|(name, wanted)| {
            thing.attributes.get(name).is_some_and(|found| {
                if self.prefix { found.as_str().starts_with(wanted) } else { found.as_str() == wanted }
            })
        });
        of_type && with_attribute
    }
}

impl Registry {
    /// CreateThing.
    pub async fn create_thing(&self, name: ThingName, t: CreateThing) -> Result<ThingRecord> {
        transact!(self, |tx| create(tx, &name, &t))
    }
    /// DescribeThing.
    pub async fn thing(&self, name: &ThingName) -> Result<ThingRecord> {
        self.begin().require(name).await
    }
    /// UpdateThing.
    pub async fn update_thing(&self, name: &ThingName, u: UpdateThing) -> Result<()> {
        transact!(self, |tx| update(tx, name, &u)).map(|_| ())
    }
    /// DeleteThing.
    pub async fn delete_thing(&self, name: &ThingName, expected_version: Option<u64>) -> Result<()> {
        transact!(self, |tx| delete(tx, name, expected_version))
    }
    /// ListThings, by name.
    pub async fn list_things(
        &self,
        filter: &ThingFilter,
        request: &PageRequest,
    ) -> Result<Page<ThingRecord>> {
        let Some(thing_type) = &filter.thing_type else {
            return page(self.store(), Table::Things, b"", request, |key, value| {
                let thing: ThingRecord = decode(Table::Things, key, value)?;
                Ok(filter.admits(&thing).then_some(thing))
            })
            .await;
        };
        let table = Table::ThingsByType;
        let prefix = key_prefix(thing_type.as_str());
        let names = page(self.store(), table, &prefix, request, |key, _| {
            name_in_key::<ThingName>(table, key).map(Some)
        })
        .await?;
        let mut things = self.records_of::<ThingRecord>(names).await?;
        things.items.retain(|thing| filter.admits(thing));
        Ok(things)
    }
}
