//! Thing types (`spec/control-plane.md` section 5).
use super::{Registry, Result, description};
use crate::arn::ResourceKind;
use crate::change::{Change, Operation};
use crate::error::RegistryError;
use crate::names::{AttributeName, ThingTypeName};
use crate::records::ThingTypeRecord;
use crate::store::Table;
use crate::stored::{Stored, key_prefix};
use crate::transact::transact;
use crate::tx::Tx;

const MOST_SEARCHABLE: usize = 3;

/// Creates a thing type.
pub(crate) async fn create(
    tx: &mut Tx,
    name: &ThingTypeName,
    text: Option<&str>,
    searchable: &[AttributeName],
) -> Result<ThingTypeRecord> {
    description::check("thing type", text, 2028)?;
    if searchable.len() > MOST_SEARCHABLE {
        return Err(RegistryError::InvalidRequest(format!(
            "the thing type has {} searchable attributes: {MOST_SEARCHABLE} are allowed",
            searchable.len()
        )));
    }
    if let Some(known) = tx.get::<ThingTypeRecord>(name).await? {
        return Err(RegistryError::AlreadyExists {
            kind: ThingTypeRecord::KIND,
            id: known.thing_type_id,
            arn: tx.arn(ResourceKind::ThingType, name.as_str()).to_string(),
            hint: format!(" under the name {name}"),
        });
    }
    let record = ThingTypeRecord {
        name: name.clone(),
        thing_type_id: uuid::Uuid::new_v4().to_string(),
        description: text.map(Into::into),
        searchable_attributes: searchable.to_vec(),
        deprecated_at: None,
        created_at: tx.now(),
    };
    tx.put(&record)?;
    tx.record(Change::ThingType { operation: Operation::Created, thing_type: record.clone() });
    Ok(record)
}

/// Deprecates a thing type, or undoes it. Things keep a deprecated type; no further thing gets it.
pub(crate) async fn deprecate(tx: &mut Tx, name: &ThingTypeName, undo: bool) -> Result<()> {
    let mut record: ThingTypeRecord = tx.require(name).await?;
    if record.deprecated_at.is_none() == undo {
        return Ok(());
    }
    record.deprecated_at = if undo { None } else { Some(tx.now()) };
    tx.put(&record)?;
    tx.record(Change::ThingType { operation: Operation::Updated, thing_type: record });
    Ok(())
}

/// Deletes a thing type that has been deprecated for long enough and that no thing has.
pub(crate) async fn delete(tx: &mut Tx, name: &ThingTypeName) -> Result<()> {
    let record: ThingTypeRecord = tx.require(name).await?;
    let Some(deprecated_at) = record.deprecated_at else {
        return Err(RegistryError::InvalidRequest(format!(
            "thing type {name} is not deprecated: deprecate it, and delete it after a while"
        )));
    };
    let delay = tx.options().thing_type_delete_delay;
    let waited = u128::from(tx.now().0.saturating_sub(deprecated_at.0));
    if waited < delay.as_millis() {
        return Err(RegistryError::InvalidRequest(format!(
            "thing type {name} was deprecated {} s ago: it can be deleted {} s after its deprecation",
            waited / 1000,
            delay.as_secs()
        )));
    }
    if !tx.is_empty(Table::ThingsByType, &key_prefix(name.as_str())).await? {
        return Err(RegistryError::InvalidRequest(format!(
            "thing type {name} still has things: give them another type, or delete them, before deleting it"
        )));
    }
    tx.delete::<ThingTypeRecord>(name);
    tx.record(Change::ThingType { operation: Operation::Deleted, thing_type: record });
    Ok(())
}

impl Registry {
    /// CreateThingType.
    pub async fn create_thing_type(
        &self,
        name: ThingTypeName,
        description: Option<String>,
        searchable: Vec<AttributeName>,
    ) -> Result<ThingTypeRecord> {
        transact!(self, |tx| create(tx, &name, description.as_deref(), &searchable))
    }
    /// DescribeThingType.
    pub async fn thing_type(&self, name: &ThingTypeName) -> Result<ThingTypeRecord> {
        self.begin().require(name).await
    }
    /// DeprecateThingType.
    pub async fn deprecate_thing_type(&self, name: &ThingTypeName, undo: bool) -> Result<()> {
        transact!(self, |tx| deprecate(tx, name, undo))
    }
    /// DeleteThingType.
    pub async fn delete_thing_type(&self, name: &ThingTypeName) -> Result<()> {
        transact!(self, |tx| delete(tx, name))
    }
}
