//! Dynamic thing groups: their things are the answer to a query (`spec/control-plane.md` section 6).
//!
//! Nothing is stored of who is in one: it is asked whenever it matters, so that a thing is in the group from the commit
//! on that makes it match. A thing is in ten groups at most; those that it was added to come first, then dynamic ones by
//! their age.
use super::page::{Page, PageRequest, name_in_key, read_cursor};
use super::thing_groups::{self, CreateThingGroup, MOST_GROUPS_OF_THING, UpdateThingGroup};
use super::{Registry, Result, indexing};
use crate::cache::Cache;
use crate::clock::Timestamp;
use crate::error::RegistryError;
use crate::names::{ThingGroupName, ThingName};
use crate::records::{ThingGroupRecord, ThingRecord};
use crate::search::{Candidate, Query};
use crate::store::Table;
use crate::stored::{Stored, decode, encode};
use crate::transact::transact;
use crate::tx::Tx;
use std::sync::Arc;

/// AWS's limit.
const MOST: usize = 100;

/// A row of the table of dynamic groups.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    at: Timestamp,
    query: String,
}

/// Reads a query that is fit for a group.
fn read(query: &str) -> Result<Query> {
    let read = Query::parse(query).map_err(|error| RegistryError::InvalidQuery(error.to_string()))?;
    if read.asks_for_connectivity() {
        return Err(RegistryError::InvalidQuery(
            "the query of a dynamic group cannot ask for connectivity: what a device may do must not depend on whether \
             it is connected"
                .into(),
        ));
    }
    Ok(read)
}

async fn create(
    tx: &mut Tx,
    name: &ThingGroupName,
    group: &CreateThingGroup,
    query: &str,
) -> Result<ThingGroupRecord> {
    read(query)?;
    indexing::require_things(tx).await?;
    let known = tx.exists::<ThingGroupRecord>(name).await?;
    let record = thing_groups::create(tx, name, group, Some(query)).await?;
    if known {
        return Ok(record);
    }
    let present = tx.rows(Table::DynamicGroups, b"").await?.len();
    if present >= MOST {
        return Err(RegistryError::LimitExceeded(format!(
            "there are {present} dynamic thing groups, and {MOST} are allowed: delete one first"
        )));
    }
    put_row(tx, &record, query)?;
    Ok(record)
}

async fn update(
    tx: &mut Tx,
    name: &ThingGroupName,
    change: &UpdateThingGroup,
    query: Option<&str>,
) -> Result<u64> {
    if let Some(query) = query {
        read(query)?;
    }
    let before: ThingGroupRecord = tx.require(name).await?;
    if before.query.is_none() {
        return Err(RegistryError::InvalidRequest(format!(
            "thing group {name} is not a dynamic one: update it with UpdateThingGroup"
        )));
    }
    let version = thing_groups::update(tx, name, change, query).await?;
    if let Some(query) = query {
        put_row(tx, &before, query)?;
    }
    Ok(version)
}

/// A missing group is a success.
async fn delete(tx: &mut Tx, name: &ThingGroupName, expected_version: Option<u64>) -> Result<()> {
    let Some(group) = tx.get::<ThingGroupRecord>(name).await? else { return Ok(()) };
    if group.query.is_none() {
        return Err(RegistryError::InvalidRequest(format!(
            "thing group {name} is not a dynamic one: delete it with DeleteThingGroup"
        )));
    }
    thing_groups::delete_empty(tx, group, expected_version).await?;
    tx.delete_row(Table::DynamicGroups, ThingGroupRecord::key_of(name));
    Ok(())
}

fn put_row(tx: &mut Tx, group: &ThingGroupRecord, query: &str) -> Result<()> {
    let row = encode(&Row { at: group.created_at, query: query.into() })?;
    tx.put_row(Table::DynamicGroups, group.key(), row);
    Ok(())
}

/// The queries of dynamic groups, read once: every computation of permissions asks them all.
pub(crate) struct DynamicQueries {
    /// By the row that holds it.
    read: Cache<Vec<u8>, Arc<DynamicQuery>>,
}

/// Since when, and which things.
struct DynamicQuery {
    at: Timestamp,
    query: Query,
}

impl DynamicQueries {
    pub(crate) fn new() -> Self {
        Self { read: Cache::new(2 * MOST) }
    }

    fn of_row(&self, key: &[u8], value: Vec<u8>) -> Result<Arc<DynamicQuery>> {
        if let Some(known) = self.read.get(value.as_slice()) {
            return Ok(known);
        }
        let row: Row = decode(Table::DynamicGroups, key, &value)?;
        let query = Query::parse(&row.query).map_err(|error| {
            RegistryError::Internal(format!("the query of a dynamic thing group cannot be read: {error}"))
        })?;
        let query = Arc::new(DynamicQuery { at: row.at, query });
        self.read.put(value, Arc::clone(&query));
        Ok(query)
    }
}

/// The dynamic groups that a thing is in, oldest first, when it was added to these others.
pub(crate) async fn of_thing(
    tx: &mut Tx,
    thing: &ThingRecord,
    others: &[ThingGroupName],
) -> Result<Vec<ThingGroupName>> {
    let mut found = Vec::new();
    let queries = tx.dynamic_queries();
    for (key, value) in tx.rows(Table::DynamicGroups, b"").await? {
        let dynamic = queries.of_row(&key, value)?;
        if dynamic.query.matches(&Candidate { thing, groups: others, connection: None }) {
            found.push((dynamic.at, name_in_key::<ThingGroupName>(Table::DynamicGroups, &key)?));
        }
    }
    found.sort();
    found.truncate(MOST_GROUPS_OF_THING.saturating_sub(others.len()));
    Ok(found.into_iter().map(|(_, name)| name).collect())
}

/// All groups of a thing, by name.
pub(crate) async fn all_groups_of(tx: &mut Tx, thing: &ThingRecord) -> Result<Vec<ThingGroupName>> {
    let mut groups = thing_groups::groups_of(tx, &thing.name).await?;
    let dynamic = of_thing(tx, thing, &groups).await?;
    groups.extend(dynamic);
    groups.sort();
    Ok(groups)
}

impl Registry {
    /// CreateDynamicThingGroup.
    pub async fn create_dynamic_thing_group(
        &self,
        name: ThingGroupName,
        group: CreateThingGroup,
        query: &str,
    ) -> Result<ThingGroupRecord> {
        transact!(self, |tx| create(tx, &name, &group, query))
    }
    /// UpdateDynamicThingGroup; the new version.
    pub async fn update_dynamic_thing_group(
        &self,
        name: &ThingGroupName,
        change: UpdateThingGroup,
        query: Option<&str>,
    ) -> Result<u64> {
        transact!(self, |tx| update(tx, name, &change, query))
    }
    /// DeleteDynamicThingGroup.
    pub async fn delete_dynamic_thing_group(
        &self,
        name: &ThingGroupName,
        expected_version: Option<u64>,
    ) -> Result<()> {
        transact!(self, |tx| delete(tx, name, expected_version))
    }
    /// ListThingGroupsForThing, by name. A thing is in ten groups at most.
    pub async fn list_groups_of_thing(
        &self,
        thing: &ThingName,
        request: &PageRequest,
    ) -> Result<Page<ThingGroupName>> {
        let mut tx = self.begin();
        let thing: ThingRecord = tx.require(thing).await?;
        let mut items = all_groups_of(&mut tx, &thing).await?;
        if let Some(cursor) = &request.after {
            let after = read_cursor(cursor)?;
            items.retain(|name| name.as_str().as_bytes() > after.as_slice());
        }
        let more = items.len() > request.limit;
        items.truncate(request.limit);
        let next = items.last().filter(|_| more).map(|name| hex::encode(name.as_str()));
        Ok(Page { items, next })
    }
    /// The things of a dynamic group, by name.
    pub(super) async fn things_of_dynamic_group(
        &self,
        name: &ThingGroupName,
        query: &str,
        request: &PageRequest,
    ) -> Result<Page<ThingName>> {
        let query = read(query)?;
        let configuration = self.indexing_configuration().await?;
        let found = self.matching(&query, &configuration, request).await?;
        // A thing that is in ten groups without it is not in this one.
        let members = found.items.into_iter().filter(|found| found.groups.contains(name));
        Ok(Page { items: members.map(|found| found.thing.name).collect(), next: found.next })
    }
}
