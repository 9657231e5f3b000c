//! Dynamic thing groups (`spec/control-plane.md` section 6).
use jitp_provisioner::ResourceKind;
use jitp_provisioner::registry::{CreateThingGroup, UpdateThingGroup};
use serde_json::json;

use super::search::{INDEX, QUERY_VERSION, QueryText, index_and_version};
use super::tags;
use super::thing_groups::Properties;
use crate::call::Call;
use crate::error::ApiError;
use crate::object::Object;
use crate::reply::Reply;

pub(super) async fn create(call: &Call) -> Result<Reply, ApiError> {
    let name = call.label("thingGroupName").required()?;
    let Object(properties): Object<Properties> = call.member("thingGroupProperties").or_default()?;
    let query: QueryText = call.member("queryString").required()?;
    index_and_version(call)?;
    let group = CreateThingGroup {
        parent: None,
        description: properties.description(),
        attributes: properties.attributes().0.unwrap_or_default(),
        tags: tags::of_new(call)?,
    };
    let record = call.registry().create_dynamic_thing_group(name, group, &query.0).await?;
    Ok(Reply::members(json!({
        "thingGroupName": record.name,
        "thingGroupArn": call.arn(ResourceKind::ThingGroup, &record.name),
        "thingGroupId": record.thing_group_id,
        "indexName": INDEX,
        "queryString": record.query,
        "queryVersion": QUERY_VERSION,
    })))
}

pub(super) async fn update(call: &Call) -> Result<Reply, ApiError> {
    let name = call.label("thingGroupName").required()?;
    let Object(properties): Object<Properties> = call.member("thingGroupProperties").required()?;
    let query: Option<QueryText> = call.member("queryString").optional()?;
    index_and_version(call)?;
    let (attributes, merge) = properties.attributes();
    let change = UpdateThingGroup {
        description: properties.description(),
        attributes,
        merge,
        expected_version: call.member("expectedVersion").optional()?,
    };
    let query = query.as_ref().map(|query| query.0.as_str());
    let version = call.registry().update_dynamic_thing_group(&name, change, query).await?;
    Ok(Reply::members(json!({"version": version})))
}

pub(super) async fn delete(call: &Call) -> Result<Reply, ApiError> {
    let name = call.label("thingGroupName").required()?;
    call.registry().delete_dynamic_thing_group(&name, call.query("expectedVersion").optional()?).await?;
    Ok(Reply::nothing())
}
