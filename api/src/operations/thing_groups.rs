//! Thing groups (`spec/control-plane.md` section 6).
use jitp_provisioner::ResourceKind;
use jitp_provisioner::names::ThingGroupName;
use serde::Deserialize;
use serde_json::json;

use super::things::AttributePayload;
use crate::call::Call;
use crate::error::ApiError;
use crate::object::Object;
use crate::reply::Reply;

pub(super) async fn create(call: &Call) -> Result<Reply, ApiError> {
    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase")]
    struct Properties {
        thing_group_description: Option<String>,
        attribute_payload: Option<Object<AttributePayload>>,
    }
    let name = call.label("thingGroupName").required()?;
    let parent = call.member("parentGroupName").optional()?;
    let Object(properties): Object<Properties> = call.member("thingGroupProperties").or_default()?;
    let attributes = properties.attribute_payload.unwrap_or_default().0.attributes.unwrap_or_default();
    let record = call
        .registry()
        .create_thing_group(name, parent, properties.thing_group_description, attributes)
        .await?;
    Ok(Reply::members(json!({
        "thingGroupName": record.name,
        "thingGroupArn": call.arn(ResourceKind::ThingGroup, &record.name),
        "thingGroupId": record.thing_group_id,
    })))
}

pub(super) async fn describe(call: &Call) -> Result<Reply, ApiError> {
    let record = call.registry().thing_group(&call.label("thingGroupName").required()?).await?;
    let ancestor = |name: &ThingGroupName| json!({"groupName": name, "groupArn": call.arn(ResourceKind::ThingGroup, name)});
    let ancestors = match record.ancestors.as_slice() {
        [] => None,
        names => Some(names.iter().map(ancestor).collect::<Vec<_>>()),
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
    })))
}

pub(super) async fn delete(call: &Call) -> Result<Reply, ApiError> {
    let name = call.label("thingGroupName").required()?;
    call.registry().delete_thing_group(&name, call.query("expectedVersion").optional()?).await?;
    Ok(Reply::nothing())
}
