//! Thing groups (`spec/control-plane.md` section 6).
use std::collections::BTreeMap;

use jitp_provisioner::ResourceKind;
use jitp_provisioner::names::{AttributeName, AttributeValue, ThingGroupName};
use jitp_provisioner::registry::{CreateThingGroup, ThingGroupFilter, UpdateThingGroup};
use serde::Deserialize;
use serde_json::{Value, json};

use super::search::{INDEX, QUERY_VERSION};
use super::tags;
use super::things::AttributePayload;
use crate::call::Call;
use crate::error::ApiError;
use crate::object::Object;
use crate::reply::Reply;
use crate::text::Bounded;

pub(super) async fn create(call: &Call) -> Result<Reply, ApiError> {
    let name = call.label("thingGroupName").required()?;
    let Object(properties): Object<Properties> = call.member("thingGroupProperties").or_default()?;
    let group = CreateThingGroup {
        parent: call.member("parentGroupName").optional()?,
        description: properties.description(),
        attributes: properties.attributes().0.unwrap_or_default(),
        tags: tags::of_new(call)?,
    };
    let record = call.registry().create_thing_group_with(name, group).await?;
    Ok(Reply::members(json!({
        "thingGroupName": record.name,
        "thingGroupArn": call.arn(ResourceKind::ThingGroup, &record.name),
        "thingGroupId": record.thing_group_id,
    })))
}

pub(super) async fn describe(call: &Call) -> Result<Reply, ApiError> {
    let record = call.registry().thing_group(&call.label("thingGroupName").required()?).await?;
    let ancestors = match record.ancestors.as_slice() {
        [] => None,
        names => Some(names.iter().map(|name| named(call, name)).collect::<Vec<_>>()),
    };
    Ok(Reply::members(json!({
        "thingGroupName": record.name,
        "thingGroupId": record.thing_group_id,
        "thingGroupArn": call.arn(ResourceKind::ThingGroup, &record.name),
        "version": record.version,
        "thingGroupProperties": {
            "thingGroupDescription": record.description,
            "attributePayload": {"attributes": record.attributes},
        },
        "thingGroupMetadata": {
            "parentGroupName": record.parent,
            "rootToParentThingGroups": ancestors,
            "creationDate": record.created_at.epoch_seconds(),
        },
        "indexName": record.query.as_ref().map(|_| INDEX),
        "queryString": record.query,
        "queryVersion": record.query.as_ref().map(|_| QUERY_VERSION),
        "status": record.query.as_ref().map(|_| "ACTIVE"),
    })))
}

pub(super) async fn update(call: &Call) -> Result<Reply, ApiError> {
    let name = call.label("thingGroupName").required()?;
    let Object(properties): Object<Properties> = call.member("thingGroupProperties").required()?;
    let (attributes, merge) = properties.attributes();
    let update = UpdateThingGroup {
        description: properties.description(),
        attributes,
        merge,
        expected_version: call.member("expectedVersion").optional()?,
    };
    let version = call.registry().update_thing_group(&name, update).await?;
    Ok(Reply::members(json!({"version": version})))
}

pub(super) async fn delete(call: &Call) -> Result<Reply, ApiError> {
    let name = call.label("thingGroupName").required()?;
    call.registry().delete_thing_group(&name, call.query("expectedVersion").optional()?).await?;
    Ok(Reply::nothing())
}

pub(super) async fn list(call: &Call) -> Result<Reply, ApiError> {
    let filter = ThingGroupFilter {
        parent: call.query("parentGroup").optional()?,
        name_prefix: call.query("namePrefixFilter").optional()?,
        recursive: call.query("recursive").optional()?,
    };
    let page = call.registry().list_thing_groups(&filter, &call.token_page()?).await?;
    let items: Vec<_> = page.items.iter().map(|name| named(call, name)).collect();
    Ok(Reply::members(json!({"thingGroups": items, "nextToken": call.next_token(page.next)})))
}

/// A group in a list.
pub(super) fn named(call: &Call, name: &ThingGroupName) -> Value {
    json!({"groupName": name, "groupArn": call.arn(ResourceKind::ThingGroup, name)})
}

/// `thingGroupProperties`.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub(super) struct Properties {
    thing_group_description: Option<Bounded<0, 2028>>,
    attribute_payload: Option<Object<AttributePayload>>,
}
impl Properties {
    pub fn description(&self) -> Option<String> {
        self.thing_group_description.as_ref().map(|text| text.0.clone())
    }
    /// Attributes, and whether they are added to those that there are.
    pub fn attributes(&self) -> (Option<BTreeMap<AttributeName, AttributeValue>>, bool) {
        match &self.attribute_payload {
            Some(Object(payload)) => {
                (Some(payload.attributes.clone().unwrap_or_default()), payload.merge.unwrap_or(false))
            }
            None => (None, false),
        }
    }
}
