//! Thing types (`spec/control-plane.md` section 5).
use super::page::{Page, PageRequest, record_page};
use super::tags::{self, Tags};
use super::{Registry, Result, description};
use crate::arn::ResourceKind;
use crate::change::{Change, Operation};
use crate::error::RegistryError;
use crate::names::{AttributeName, ThingTypeName};
use crate::records::{PropagatingAttribute, ThingTypeRecord};
use crate::store::Table;
use crate::stored::{Stored, key_prefix};
use crate::transact::transact;
use crate::tx::Tx;

const MOST_SEARCHABLE: usize = 3;
const MOST_PROPAGATING: usize = 20;

/// What a thing type says of its things. Absent members are left as they are by an update, and empty at creation.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs)]
pub struct ThingTypeProperties {
    pub description: Option<String>,
    pub searchable_attributes: Option<Vec<AttributeName>>,
    pub propagating_attributes: Option<Vec<PropagatingAttribute>>,
}

impl ThingTypeProperties {
    fn check(&self) -> Result<()> {
        description::check("thing type", self.description.as_deref(), 2028)?;
        let searchable = self.searchable_attributes.as_ref().map_or(0, Vec::len);
        if searchable > MOST_SEARCHABLE {
            return Err(RegistryError::InvalidRequest(format!(
                "the thing type has {searchable} searchable attributes: {MOST_SEARCHABLE} are allowed"
            )));
        }
        let propagating = self.propagating_attributes.as_deref().unwrap_or_default();
        if propagating.len() > MOST_PROPAGATING {
            return Err(RegistryError::InvalidRequest(format!(
                "the thing type has {} propagating attributes: {MOST_PROPAGATING} are allowed",
                propagating.len()
            )));
        }
        if let Some(vague) =
            propagating.iter().find(|a| a.thing_attribute.is_some() == a.connection_attribute.is_some())
        {
            return Err(RegistryError::InvalidRequest(format!(
                "the propagating attribute {:?} must have exactly one of thingAttribute and connectionAttribute",
                vague.user_property_key
            )));
        }
        Ok(())
    }
    fn apply(&self, record: &mut ThingTypeRecord) {
        if let Some(text) = &self.description {
            record.description = Some(text.clone());
        }
        if let Some(names) = &self.searchable_attributes {
            record.searchable_attributes.clone_from(names);
        }
        if let Some(attributes) = &self.propagating_attributes {
            record.propagating_attributes.clone_from(attributes);
        }
    }
}

/// Creates a thing type; one that is as wanted already is left as it is, as AWS does.
pub(crate) async fn create(
    tx: &mut Tx,
    name: &ThingTypeName,
    properties: &ThingTypeProperties,
    tags: &Tags,
) -> Result<ThingTypeRecord> {
    properties.check()?;
    tags::check(tags)?;
    let known: Option<ThingTypeRecord> = tx.get(name).await?;
    let mut record = ThingTypeRecord {
        name: name.clone(),
        thing_type_id: uuid::Uuid::new_v4().to_string(),
        description: None,
        searchable_attributes: Vec::new(),
        propagating_attributes: Vec::new(),
        deprecated_at: None,
        created_at: tx.now(),
        tags: tags.clone(),
    };
    properties.apply(&mut record);
    if let Some(known) = known {
        if says(&known) == says(&record) {
            return Ok(known);
        }
        return Err(RegistryError::AlreadyExists {
            kind: ThingTypeRecord::KIND,
            id: known.thing_type_id,
            arn: tx.arn(ResourceKind::ThingType, name.as_str()).to_string(),
            hint: format!(" under the name {name} with other properties: update it instead"),
        });
    }
    tx.put(&record)?;
    tx.record(Change::ThingType { operation: Operation::Created, thing_type: record.clone() });
    Ok(record)
}

/// What a thing type says of its things. The order of searchable attributes means nothing.
fn says(record: &ThingTypeRecord) -> impl PartialEq {
    let mut searchable = record.searchable_attributes.clone();
    searchable.sort_unstable();
    (record.description.clone(), searchable, record.propagating_attributes.clone())
}

/// Changes what a thing type says.
pub(crate) async fn update(
    tx: &mut Tx,
    name: &ThingTypeName,
    properties: &ThingTypeProperties,
) -> Result<()> {
    properties.check()?;
    let before: ThingTypeRecord = tx.require(name).await?;
    let mut after = before.clone();
    properties.apply(&mut after);
    if after != before {
        tx.put(&after)?;
        tx.record(Change::ThingType { operation: Operation::Updated, thing_type: after });
    }
    Ok(())
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
    /// CreateThingType with the least.
    pub async fn create_thing_type(
        &self,
        name: ThingTypeName,
        description: Option<String>,
        searchable: Vec<AttributeName>,
    ) -> Result<ThingTypeRecord> {
        let properties = ThingTypeProperties {
            description,
            searchable_attributes: Some(searchable),
            propagating_attributes: None,
        };
        self.create_thing_type_with(name, properties, Tags::new()).await
    }
    /// CreateThingType.
    pub async fn create_thing_type_with(
        &self,
        name: ThingTypeName,
        properties: ThingTypeProperties,
        tags: Tags,
    ) -> Result<ThingTypeRecord> {
        transact!(self, |tx| create(tx, &name, &properties, &tags))
    }
    /// UpdateThingType.
    pub async fn update_thing_type(
        &self,
        name: &ThingTypeName,
        properties: ThingTypeProperties,
    ) -> Result<()> {
        transact!(self, |tx| update(tx, name, &properties))
    }
    /// ListThingTypes, by name; with a name only that one.
    pub async fn list_thing_types(
        &self,
        name: Option<&ThingTypeName>,
        request: &PageRequest,
    ) -> Result<Page<ThingTypeRecord>> {
        match name {
            Some(name) => {
                let items = self.begin().get(name).await?.into_iter().collect();
                Ok(Page { items, next: None })
            }
            None => record_page(self.store(), request).await,
        }
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
