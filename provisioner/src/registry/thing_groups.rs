//! Thing groups that things are added to (`spec/control-plane.md` section 6).
use super::page::{Page, PageRequest, name_in_key, page, strange_key};
use super::tags::{self, Tags};
use super::things::check_version;
use super::{
    Registry, Result, attributes, description, dynamic_groups, policy_attachments, thing_group_tree,
};
use crate::arn::ResourceKind;
use crate::change::{Change, Operation};
use crate::error::RegistryError;
use crate::names::{AttributeName, AttributeValue, ThingGroupName, ThingName};
use crate::records::{PolicyTarget, ThingGroupRecord, ThingRecord};
use crate::store::{Key, Store, Table};
use crate::stored::{Stored, composed_key, decode, key_prefix};
use crate::transact::transact;
use crate::tx::Tx;
use std::collections::BTreeMap;

const MOST_LEVELS: usize = 7;
const MOST_CHILDREN: usize = 100;
pub(super) const MOST_GROUPS_OF_THING: usize = 10;
/// Memberships that one commit removes when a group is deleted: a group may have millions.
const REMOVED_AT_ONCE: usize = 200;

/// What a new group is.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs)]
pub struct CreateThingGroup {
    pub parent: Option<ThingGroupName>,
    pub description: Option<String>,
    pub attributes: BTreeMap<AttributeName, AttributeValue>,
    pub tags: Tags,
}
/// UpdateThingGroup; absent members leave the attribute unchanged.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs)]
pub struct UpdateThingGroup {
    pub description: Option<String>,
    pub attributes: Option<BTreeMap<AttributeName, AttributeValue>>,
    /// `attributes` are added to those that there are, instead of replacing them.
    pub merge: bool,
    pub expected_version: Option<u64>,
}
/// Which groups ListThingGroups lists.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs)]
pub struct ThingGroupFilter {
    /// Groups below this one.
    pub parent: Option<ThingGroupName>,
    /// Groups whose names start with this.
    pub name_prefix: Option<ThingGroupName>,
    /// All levels (default, as AWS does), or the first: below the parent, or, without one, the topmost.
    pub recursive: Option<bool>,
}

/// Creates a group, under its parent if it names one; with a query a dynamic one. One that is as wanted already is left as
/// it is, as AWS does.
pub(crate) async fn create(
    tx: &mut Tx,
    name: &ThingGroupName,
    group: &CreateThingGroup,
    query: Option<&str>,
) -> Result<ThingGroupRecord> {
    description::check("thing group", group.description.as_deref(), 2028)?;
    attributes::check_of_group(&group.attributes)?;
    tags::check(&group.tags)?;
    if let Some(known) = tx.get::<ThingGroupRecord>(name).await? {
        let same = known.parent == group.parent
            && known.description == group.description
            && known.attributes == group.attributes
            && known.query.as_deref() == query;
        if same {
            return Ok(known);
        }
        return Err(RegistryError::AlreadyExists {
            kind: ThingGroupRecord::KIND,
            id: known.thing_group_id,
            arn: tx.arn(ResourceKind::ThingGroup, name.as_str()).to_string(),
            hint: format!(
                " under the name {name} with another parent or other properties: update it instead"
            ),
        });
    }
    let parent = match &group.parent {
        Some(parent) => Some(check_parent(tx, parent).await?),
        None => None,
    };
    let mut ancestors = Vec::new();
    if let Some(parent) = &parent {
        ancestors.clone_from(&parent.ancestors);
        ancestors.push(parent.name.clone());
    }
    let record = ThingGroupRecord {
        name: name.clone(),
        thing_group_id: uuid::Uuid::new_v4().to_string(),
        parent: group.parent.clone(),
        ancestors,
        description: group.description.clone(),
        attributes: group.attributes.clone(),
        query: query.map(Into::into),
        version: 1,
        created_at: tx.now(),
        tags: group.tags.clone(),
    };
    tx.put(&record)?;
    let parent_ids = ids_of_ancestors(tx, &record).await?;
    tx.record(Change::ThingGroup { operation: Operation::Created, group: record.clone(), parent_ids });
    if let Some(parent) = &parent {
        tx.put_row(Table::ChildGroups, composed_key([parent.name.as_str(), name.as_str()]), Vec::new());
        tx.record(hierarchy(true, parent, &record));
    }
    Ok(record)
}

/// Changes description, attributes and, of a dynamic group, the query; the version that the group has now.
pub(crate) async fn update(
    tx: &mut Tx,
    name: &ThingGroupName,
    update: &UpdateThingGroup,
    query: Option<&str>,
) -> Result<u64> {
    description::check("thing group", update.description.as_deref(), 2028)?;
    let before: ThingGroupRecord = tx.require(name).await?;
    check_version("thing group", name.as_str(), before.version, update.expected_version)?;
    let mut after = before.clone();
    if let Some(text) = &update.description {
        after.description = Some(text.clone());
    }
    if let Some(new) = &update.attributes {
        after.attributes = attributes::updated(&before.attributes, new, update.merge);
        attributes::check_of_group(&after.attributes)?;
    }
    if let Some(query) = query {
        after.query = Some(query.into());
    }
    if after == before {
        return Ok(before.version);
    }
    after.version += 1;
    tx.put(&after)?;
    let parent_ids = ids_of_ancestors(tx, &after).await?;
    let version = after.version;
    tx.record(Change::ThingGroup { operation: Operation::Updated, group: after, parent_ids });
    Ok(version)
}

async fn update_static(tx: &mut Tx, name: &ThingGroupName, change: &UpdateThingGroup) -> Result<u64> {
    check_static(&tx.require(name).await?)?;
    update(tx, name, change, None).await
}

/// Deletes a group without children, its policy attachments and memberships with it; memberships some at a time.
/// `false`: there are more, do it again. A missing group is a success.
pub(crate) async fn delete_some(
    tx: &mut Tx,
    name: &ThingGroupName,
    expected_version: Option<u64>,
) -> Result<bool> {
    let Some(group) = tx.get::<ThingGroupRecord>(name).await? else { return Ok(true) };
    check_static(&group)?;
    check_version("thing group", name.as_str(), group.version, expected_version)?;
    if !tx.is_empty(Table::ChildGroups, &key_prefix(name.as_str())).await? {
        return Err(RegistryError::InvalidRequest(format!(
            "thing group {name} has child groups: delete them before deleting it"
        )));
    }
    let prefix = key_prefix(name.as_str());
    let (members, all) = tx.first_rows(Table::ThingsOfGroup, &prefix, REMOVED_AT_ONCE).await?;
    for (key, _) in members {
        let table = Table::ThingsOfGroup;
        let thing: ThingName = name_in_key(table, key.strip_prefix(prefix.as_slice()).unwrap_or(&key))?;
        let thing: ThingRecord = tx.get(&thing).await?.ok_or_else(|| strange_key(table, &key))?;
        set_membership(tx, &thing, &group, false);
    }
    if all {
        delete_empty(tx, group, expected_version).await?;
    }
    Ok(all)
}

/// Deletes a group without children and things, its policy attachments with it.
pub(super) async fn delete_empty(
    tx: &mut Tx,
    group: ThingGroupRecord,
    expected_version: Option<u64>,
) -> Result<()> {
    let name = &group.name;
    check_version("thing group", name.as_str(), group.version, expected_version)?;
    let target = PolicyTarget::ThingGroup(name.clone());
    for policy in policy_attachments::policies_of(tx, &target).await? {
        policy_attachments::detach(tx, &policy, &target).await?;
    }
    if let Some(parent) = &group.parent {
        let parent: ThingGroupRecord = tx.require(parent).await?;
        tx.delete_row(Table::ChildGroups, composed_key([parent.name.as_str(), name.as_str()]));
        tx.record(hierarchy(false, &parent, &group));
    }
    let parent_ids = ids_of_ancestors(tx, &group).await?;
    tx.delete::<ThingGroupRecord>(name);
    tx.record(Change::ThingGroup { operation: Operation::Deleted, group, parent_ids });
    Ok(())
}

/// Adds a thing to a group; again is no change. `over_dynamic`: where it is in as many groups as are allowed, it leaves
/// a dynamic one for this one.
pub(crate) async fn add(
    tx: &mut Tx,
    thing: &ThingName,
    group: &ThingGroupName,
    over_dynamic: bool,
) -> Result<()> {
    let thing: ThingRecord = tx.require(thing).await?;
    let group: ThingGroupRecord = tx.require(group).await?;
    check_static(&group)?;
    let present = groups_of(tx, &thing.name).await?;
    if present.contains(&group.name) {
        return Ok(());
    }
    if present.len() >= MOST_GROUPS_OF_THING {
        return Err(RegistryError::InvalidRequest(format!(
            "thing {} is in {} thing groups, and {MOST_GROUPS_OF_THING} are allowed: remove it from one first",
            thing.name,
            present.len()
        )));
    }
    if !over_dynamic {
        let dynamic = dynamic_groups::of_thing(tx, &thing, &present).await?.len();
        if present.len() + dynamic >= MOST_GROUPS_OF_THING {
            return Err(RegistryError::InvalidRequest(format!(
                "thing {} is in {} thing groups, {dynamic} of them dynamic, and {MOST_GROUPS_OF_THING} are allowed: with \
                 overrideDynamicGroups=true it leaves a dynamic one",
                thing.name,
                present.len() + dynamic
            )));
        }
    }
    for other in present {
        let other: ThingGroupRecord = tx.require(&other).await?;
        if root(&other) == root(&group) {
            return Err(RegistryError::InvalidRequest(format!(
                "thing {} is in thing group {}, which is in the same hierarchy as {} (under {}): remove it from there \
                 first",
                thing.name,
                other.name,
                group.name,
                root(&group)
            )));
        }
    }
    set_membership(tx, &thing, &group, true);
    Ok(())
}

/// Moves a thing out of some groups and into others, all or nothing.
pub(crate) async fn change_groups(
    tx: &mut Tx,
    thing: &ThingName,
    add_to: &[ThingGroupName],
    remove_from: &[ThingGroupName],
    over_dynamic: bool,
) -> Result<()> {
    for group in remove_from {
        remove(tx, thing, group).await?;
    }
    for group in add_to {
        add(tx, thing, group, over_dynamic).await?;
    }
    tx.require::<ThingRecord>(thing).await.map(|_| ())
}

/// Removes a thing from a group; it need not be in it.
pub(crate) async fn remove(tx: &mut Tx, thing: &ThingName, group: &ThingGroupName) -> Result<()> {
    let thing: ThingRecord = tx.require(thing).await?;
    let group: ThingGroupRecord = tx.require(group).await?;
    check_static(&group)?;
    if groups_of(tx, &thing.name).await?.contains(&group.name) {
        set_membership(tx, &thing, &group, false);
    }
    Ok(())
}

/// The groups that a thing was added to, by name; at most 10. Dynamic ones are none of them.
pub(crate) async fn groups_of(tx: &mut Tx, thing: &ThingName) -> Result<Vec<ThingGroupName>> {
    let prefix = key_prefix(thing.as_str());
    let rows = tx.rows_of::<ThingRecord>(thing, Table::GroupsOfThing, &prefix).await?;
    rows.iter()
        .map(|(key, _)| name_in_key(Table::GroupsOfThing, key.strip_prefix(prefix.as_slice()).unwrap_or(key)))
        .collect()
}

async fn check_parent(tx: &mut Tx, name: &ThingGroupName) -> Result<ThingGroupRecord> {
    let Some(parent) = tx.get::<ThingGroupRecord>(name).await? else {
        return Err(RegistryError::InvalidRequest(format!(
            "the parent thing group {name} does not exist: create it first"
        )));
    };
    check_static(&parent)?;
    if parent.ancestors.len() + 2 > MOST_LEVELS {
        return Err(RegistryError::InvalidRequest(format!(
            "thing group {name} is on level {}, and {MOST_LEVELS} levels are allowed: choose a parent higher up",
            parent.ancestors.len() + 1
        )));
    }
    let children = tx.rows(Table::ChildGroups, &key_prefix(name.as_str())).await?.len();
    if children >= MOST_CHILDREN {
        return Err(RegistryError::InvalidRequest(format!(
            "thing group {name} has {children} child groups, and {MOST_CHILDREN} are allowed: choose another parent"
        )));
    }
    Ok(parent)
}

/// What is done to the things of a group is not done to a dynamic one.
fn check_static(group: &ThingGroupRecord) -> Result<()> {
    match group.query {
        None => Ok(()),
        Some(_) => Err(RegistryError::InvalidRequest(format!(
            "thing group {} is a dynamic one: its query says which things are in it, it has no groups below, and it is \
             changed with UpdateDynamicThingGroup and DeleteDynamicThingGroup",
            group.name
        ))),
    }
}

async fn ids_of_ancestors(tx: &mut Tx, group: &ThingGroupRecord) -> Result<Vec<String>> {
    let mut ids = Vec::with_capacity(group.ancestors.len());
    for ancestor in &group.ancestors {
        ids.push(tx.require::<ThingGroupRecord>(ancestor).await?.thing_group_id);
    }
    Ok(ids)
}

fn set_membership(tx: &mut Tx, thing: &ThingRecord, group: &ThingGroupRecord, added: bool) {
    let (thing_name, group_name) = (thing.name.as_str(), group.name.as_str());
    let rows: [(Table, Key); 2] = [
        (Table::ThingsOfGroup, composed_key([group_name, thing_name])),
        (Table::GroupsOfThing, composed_key([thing_name, group_name])),
    ];
    for (table, key) in rows {
        if added {
            tx.put_row(table, key, Vec::new());
        } else {
            tx.delete_row(table, key);
        }
    }
    tx.record(Change::ThingGroupMembership {
        added,
        group: group.name.clone(),
        group_id: group.thing_group_id.clone(),
        thing: thing.name.clone(),
        thing_id: thing.thing_id.clone(),
    });
}

fn hierarchy(added: bool, parent: &ThingGroupRecord, child: &ThingGroupRecord) -> Change {
    Change::ThingGroupHierarchy {
        added,
        parent: parent.name.clone(),
        parent_id: parent.thing_group_id.clone(),
        child: child.name.clone(),
        child_id: child.thing_group_id.clone(),
    }
}

/// The names of groups with a prefix, of those that fit.
async fn group_page(
    store: &dyn Store,
    name_prefix: &str,
    request: &PageRequest,
    fits: impl Fn(&ThingGroupRecord) -> bool,
) -> Result<Page<ThingGroupName>> {
    page(store, Table::ThingGroups, name_prefix.as_bytes(), request, |key, value| {
        let group: ThingGroupRecord = decode(Table::ThingGroups, key, value)?;
        Ok(fits(&group).then_some(group.name))
    })
    .await
}

/// The top of a group's hierarchy.
fn root(group: &ThingGroupRecord) -> &ThingGroupName {
    group.ancestors.first().unwrap_or(&group.name)
}

impl Registry {
    /// CreateThingGroup without tags.
    pub async fn create_thing_group(
        &self,
        name: ThingGroupName,
        parent: Option<ThingGroupName>,
        description: Option<String>,
        attributes: BTreeMap<AttributeName, AttributeValue>,
    ) -> Result<ThingGroupRecord> {
        let tags = Tags::new();
        self.create_thing_group_with(name, CreateThingGroup { parent, description, attributes, tags }).await
    }
    /// CreateThingGroup.
    pub async fn create_thing_group_with(
        &self,
        name: ThingGroupName,
        group: CreateThingGroup,
    ) -> Result<ThingGroupRecord> {
        transact!(self, |tx| create(tx, &name, &group, None))
    }
    /// UpdateThingGroup; the new version.
    pub async fn update_thing_group(&self, name: &ThingGroupName, u: UpdateThingGroup) -> Result<u64> {
        transact!(self, |tx| update_static(tx, name, &u))
    }
    /// ListThingGroups, by name.
    pub async fn list_thing_groups(
        &self,
        filter: &ThingGroupFilter,
        request: &PageRequest,
    ) -> Result<Page<ThingGroupName>> {
        let name_prefix = filter.name_prefix.as_ref().map(ThingGroupName::as_str).unwrap_or_default();
        let all = filter.recursive.unwrap_or(true);
        let Some(parent) = &filter.parent else {
            return group_page(self.store(), name_prefix, request, |group| all || group.parent.is_none())
                .await;
        };
        self.begin().require::<ThingGroupRecord>(parent).await?;
        if all {
            return group_page(self.store(), name_prefix, request, |group| group.ancestors.contains(parent))
                .await;
        }
        let (table, below) = (Table::ChildGroups, key_prefix(parent.as_str()));
        let prefix = [below.as_slice(), name_prefix.as_bytes()].concat();
        page(self.store(), table, &prefix, request, |key, _| {
            name_in_key(table, &[name_prefix.as_bytes(), key].concat()).map(Some)
        })
        .await
    }
    /// ListThingsInThingGroup, by name; `recursive` goes on with the groups below, each before the next beside it.
    pub async fn list_things_in_thing_group(
        &self,
        name: &ThingGroupName,
        recursive: bool,
        request: &PageRequest,
    ) -> Result<Page<ThingName>> {
        let group: ThingGroupRecord = self.begin().require(name).await?;
        if let Some(query) = &group.query {
            return self.things_of_dynamic_group(name, query, request).await;
        }
        if recursive {
            return thing_group_tree::list_things(self.store(), name, request).await;
        }
        let table = Table::ThingsOfGroup;
        page(self.store(), table, &key_prefix(name.as_str()), request, |key, _| {
            name_in_key(table, key).map(Some)
        })
        .await
    }
    /// UpdateThingGroupsForThing.
    pub async fn update_groups_of_thing(
        &self,
        thing: &ThingName,
        add_to: &[ThingGroupName],
        remove_from: &[ThingGroupName],
        over_dynamic: bool,
    ) -> Result<()> {
        transact!(self, |tx| change_groups(tx, thing, add_to, remove_from, over_dynamic))
    }
    /// DescribeThingGroup.
    pub async fn thing_group(&self, name: &ThingGroupName) -> Result<ThingGroupRecord> {
        self.begin().require(name).await
    }
    /// DeleteThingGroup. A large group loses its members over several commits; the last one deletes it.
    pub async fn delete_thing_group(
        &self,
        name: &ThingGroupName,
        expected_version: Option<u64>,
    ) -> Result<()> {
        while !transact!(self, |tx| delete_some(tx, name, expected_version))? {}
        Ok(())
    }
    /// AddThingToThingGroup without `overrideDynamicGroups`.
    pub async fn add_thing_to_group(&self, thing: &ThingName, group: &ThingGroupName) -> Result<()> {
        self.add_thing_to_group_over(thing, group, false).await
    }
    /// AddThingToThingGroup.
    pub async fn add_thing_to_group_over(
        &self,
        thing: &ThingName,
        group: &ThingGroupName,
        over_dynamic: bool,
    ) -> Result<()> {
        transact!(self, |tx| add(tx, thing, group, over_dynamic))
    }
    /// RemoveThingFromThingGroup.
    pub async fn remove_thing_from_group(&self, thing: &ThingName, group: &ThingGroupName) -> Result<()> {
        transact!(self, |tx| remove(tx, thing, group))
    }
}
