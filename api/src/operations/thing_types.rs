//! Thing types (`spec/control-plane.md` section 5).
use jitp_provisioner::ResourceKind;
use jitp_provisioner::names::{AttributeName, ThingTypeName};
use serde::Deserialize;
use serde_json::json;

use crate::call::Call;
use crate::error::ApiError;
use crate::object::Object;
use crate::reply::Reply;

pub(super) async fn create(call: &Call) -> Result<Reply, ApiError> {
    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase")]
    struct Properties {
        thing_type_description: Option<String>,
        searchable_attributes: Option<Vec<AttributeName>>,
    }
    let name = call.label("thingTypeName").required()?;
    let Object(properties): Object<Properties> = call.member("thingTypeProperties").or_default()?;
    let searchable = properties.searchable_attributes.unwrap_or_default();
    if searchable.len() > 3 {
        return Err(ApiError::invalid("thingTypeProperties", "at most 3 searchableAttributes are allowed"));
    }
    let record =
        call.registry().create_thing_type(name, properties.thing_type_description, searchable).await?;
    Ok(Reply::members(json!({
        "thingTypeName": record.name,
        "thingTypeArn": call.arn(ResourceKind::ThingType, &record.name),
        "thingTypeId": record.thing_type_id,
    })))
}

pub(super) async fn describe(call: &Call) -> Result<Reply, ApiError> {
    let record = call.registry().thing_type(&call.label("thingTypeName").required()?).await?;
    Ok(Reply::members(json!({
        "thingTypeName": record.name,
        "thingTypeId": record.thing_type_id,
        "thingTypeArn": call.arn(ResourceKind::ThingType, &record.name),
        "thingTypeProperties": {
            "thingTypeDescription": record.description,
            "searchableAttributes": record.searchable_attributes,
        },
        "thingTypeMetadata": {
            "deprecated": record.deprecated_at.is_some(),
            "deprecationDate": record.deprecated_at.map(|at| at.epoch_seconds()),
            "creationDate": record.created_at.epoch_seconds(),
        },
    })))
}

pub(super) async fn deprecate(call: &Call) -> Result<Reply, ApiError> {
    let name: ThingTypeName = call.label("thingTypeName").required()?;
    let undo = call.member("undoDeprecate").or_default()?;
    call.registry().deprecate_thing_type(&name, undo).await?;
    Ok(Reply::nothing())
}

pub(super) async fn delete(call: &Call) -> Result<Reply, ApiError> {
    call.registry().delete_thing_type(&call.label("thingTypeName").required()?).await?;
    Ok(Reply::nothing())
}
