//! Billing groups (`spec/control-plane.md` section 6).
use super::page::{Page, PageRequest, name_in_key, page, strange_key};
use super::tags::{self, Tags};
use super::things::check_version;
use super::{Registry, Result, description};
use crate::arn::ResourceKind;
use crate::error::RegistryError;
use crate::names::{BillingGroupName, ThingName};
use crate::records::{BillingGroupRecord, ThingRecord};
use crate::store::Table;
use crate::stored::{Stored, composed_key, decode, key_prefix};
use crate::transact::transact;
use crate::tx::Tx;

/// Things that one commit removes when a group is deleted: a group may have millions.
const REMOVED_AT_ONCE: usize = 200;

/// Creates a billing group.
pub(crate) async fn create(
    tx: &mut Tx,
    name: &BillingGroupName,
    text: Option<&str>,
    tags: &Tags,
) -> Result<BillingGroupRecord> {
    description::check("billing group", text, 2028)?;
    tags::check(tags)?;
    if let Some(known) = tx.get::<BillingGroupRecord>(name).await? {
        return Err(RegistryError::AlreadyExists {
            kind: BillingGroupRecord::KIND,
            id: known.billing_group_id,
            arn: tx.arn(ResourceKind::BillingGroup, name.as_str()).to_string(),
            hint: format!(" under the name {name}"),
        });
    }
    let record = BillingGroupRecord {
        name: name.clone(),
        billing_group_id: uuid::Uuid::new_v4().to_string(),
        description: text.map(Into::into),
        version: 1,
        created_at: tx.now(),
        tags: tags.clone(),
    };
    tx.put(&record)?;
    Ok(record)
}

/// Changes the description; the version that it has now.
pub(crate) async fn update(
    tx: &mut Tx,
    name: &BillingGroupName,
    text: Option<&str>,
    expected_version: Option<u64>,
) -> Result<u64> {
    description::check("billing group", text, 2028)?;
    let mut record: BillingGroupRecord = tx.require(name).await?;
    check_version("billing group", name.as_str(), record.version, expected_version)?;
    if let Some(text) = text.filter(|text| record.description.as_deref() != Some(text)) {
        record.description = Some(text.into());
        record.version += 1;
        tx.put(&record)?;
    }
    Ok(record.version)
}

/// Deletes a group; its things leave it some at a time. `false`: there are more, do it again. A missing group is a
/// success.
pub(crate) async fn delete_some(
    tx: &mut Tx,
    name: &BillingGroupName,
    expected_version: Option<u64>,
) -> Result<bool> {
    let Some(group) = tx.get::<BillingGroupRecord>(name).await? else { return Ok(true) };
    check_version("billing group", name.as_str(), group.version, expected_version)?;
    let (table, prefix) = (Table::ThingsOfBillingGroup, key_prefix(name.as_str()));
    let (members, all) = tx.first_rows(table, &prefix, REMOVED_AT_ONCE).await?;
    for (key, _) in members {
        let thing: ThingName = name_in_key(table, key.strip_prefix(prefix.as_slice()).unwrap_or(&key))?;
        let mut thing: ThingRecord = tx.get(&thing).await?.ok_or_else(|| strange_key(table, &key))?;
        thing.billing_group = None;
        tx.put(&thing)?;
        tx.delete_row(table, key);
    }
    if all {
        tx.delete::<BillingGroupRecord>(name);
    }
    Ok(all)
}

/// Puts a thing into a group, out of the one that it was in.
pub(crate) async fn add(tx: &mut Tx, thing: &ThingName, group: &BillingGroupName) -> Result<()> {
    let thing: ThingRecord = tx.require(thing).await?;
    tx.require::<BillingGroupRecord>(group).await?;
    set(tx, thing, Some(group))
}

/// Takes a thing out of a group; it need not be in it.
pub(crate) async fn remove(tx: &mut Tx, thing: &ThingName, group: &BillingGroupName) -> Result<()> {
    let thing: ThingRecord = tx.require(thing).await?;
    tx.require::<BillingGroupRecord>(group).await?;
    if thing.billing_group.as_ref() == Some(group) { set(tx, thing, None) } else { Ok(()) }
}

/// A thing's billing group is no part of what its version counts: nothing that a device can see has changed.
fn set(tx: &mut Tx, mut thing: ThingRecord, group: Option<&BillingGroupName>) -> Result<()> {
    if thing.billing_group.as_ref() == group {
        return Ok(());
    }
    let key = |group: &BillingGroupName| composed_key([group.as_str(), thing.name.as_str()]);
    if let Some(old) = &thing.billing_group {
        tx.delete_row(Table::ThingsOfBillingGroup, key(old));
    }
    if let Some(new) = group {
        tx.put_row(Table::ThingsOfBillingGroup, key(new), Vec::new());
    }
    thing.billing_group = group.cloned();
    tx.put(&thing)
}

impl Registry {
    /// CreateBillingGroup without tags.
    pub async fn create_billing_group(
        &self,
        name: BillingGroupName,
        description: Option<String>,
    ) -> Result<BillingGroupRecord> {
        self.create_tagged_billing_group(name, description, Tags::new()).await
    }
    /// CreateBillingGroup.
    pub async fn create_tagged_billing_group(
        &self,
        name: BillingGroupName,
        description: Option<String>,
        tags: Tags,
    ) -> Result<BillingGroupRecord> {
        transact!(self, |tx| create(tx, &name, description.as_deref(), &tags))
    }
    /// DescribeBillingGroup.
    pub async fn billing_group(&self, name: &BillingGroupName) -> Result<BillingGroupRecord> {
        self.begin().require(name).await
    }
    /// UpdateBillingGroup; the new version.
    pub async fn update_billing_group(
        &self,
        name: &BillingGroupName,
        description: Option<String>,
        expected_version: Option<u64>,
    ) -> Result<u64> {
        transact!(self, |tx| update(tx, name, description.as_deref(), expected_version))
    }
    /// DeleteBillingGroup. A large group loses its things over several commits; the last one deletes it.
    pub async fn delete_billing_group(
        &self,
        name: &BillingGroupName,
        expected_version: Option<u64>,
    ) -> Result<()> {
        while !transact!(self, |tx| delete_some(tx, name, expected_version))? {}
        Ok(())
    }
    /// AddThingToBillingGroup.
    pub async fn add_thing_to_billing_group(
        &self,
        thing: &ThingName,
        group: &BillingGroupName,
    ) -> Result<()> {
        transact!(self, |tx| add(tx, thing, group))
    }
    /// RemoveThingFromBillingGroup.
    pub async fn remove_thing_from_billing_group(
        &self,
        thing: &ThingName,
        group: &BillingGroupName,
    ) -> Result<()> {
        transact!(self, |tx| remove(tx, thing, group))
    }
    /// ListBillingGroups whose names start with `prefix`, by name.
    pub async fn list_billing_groups(
        &self,
        prefix: Option<&BillingGroupName>,
        request: &PageRequest,
    ) -> Result<Page<BillingGroupRecord>> {
        let prefix = prefix.map(BillingGroupName::as_str).unwrap_or_default();
        page(self.store(), Table::BillingGroups, prefix.as_bytes(), request, |key, value| {
            Ok(Some(decode(Table::BillingGroups, key, value)?))
        })
        .await
    }
    /// ListThingsInBillingGroup, by name.
    pub async fn list_things_in_billing_group(
        &self,
        name: &BillingGroupName,
        request: &PageRequest,
    ) -> Result<Page<ThingName>> {
        self.begin().require::<BillingGroupRecord>(name).await?;
        let table = Table::ThingsOfBillingGroup;
        page(self.store(), table, &key_prefix(name.as_str()), request, |key, _| {
            name_in_key(table, key).map(Some)
        })
        .await
    }
}
