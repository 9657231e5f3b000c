//! Thing types (`spec/control-plane.md` section 5).
use jitp_provisioner::ResourceKind;
use jitp_provisioner::names::{AttributeName, ThingTypeName};
use jitp_provisioner::records::{PropagatingAttribute, ThingTypeRecord};
use jitp_provisioner::registry::ThingTypeProperties;
use serde::Deserialize;
use serde_json::{Value, json};

use super::tags;
use crate::call::Call;
use crate::error::ApiError;
use crate::object::Object;
use crate::reply::Reply;
use crate::text::{Bounded, Marks, Plain};

/// The key of a user property of MQTT 5.
struct UserProperty;
impl Marks for UserProperty {
    const MARKS: &'static str = ":$.";
}
/// The name of an attribute of a connection.
struct ConnectionAttribute;
impl Marks for ConnectionAttribute {
    const MARKS: &'static str = ":.";
}

pub(super) async fn create(call: &Call) -> Result<Reply, ApiError> {
    let name = call.label("thingTypeName").required()?;
    let record = call.registry().create_thing_type_with(name, properties(call)?, tags::of_new(call)?).await?;
    Ok(Reply::members(json!({
        "thingTypeName": record.name,
        "thingTypeArn": call.arn(ResourceKind::ThingType, &record.name),
        "thingTypeId": record.thing_type_id,
    })))
}

pub(super) async fn update(call: &Call) -> Result<Reply, ApiError> {
    let name = call.label("thingTypeName").required()?;
    call.registry().update_thing_type(&name, properties(call)?).await?;
    Ok(Reply::nothing())
}

pub(super) async fn describe(call: &Call) -> Result<Reply, ApiError> {
    let record = call.registry().thing_type(&call.label("thingTypeName").required()?).await?;
    let mut members = description(call, &record);
    if let Value::Object(members) = &mut members {
        members.insert("thingTypeId".into(), json!(record.thing_type_id));
    }
    Ok(Reply::members(members))
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

pub(super) async fn list(call: &Call) -> Result<Reply, ApiError> {
    let name: Option<ThingTypeName> = call.query("thingTypeName").optional()?;
    let page = call.registry().list_thing_types(name.as_ref(), &call.token_page()?).await?;
    let items: Vec<_> = page.items.iter().map(|record| description(call, record)).collect();
    Ok(Reply::members(json!({"thingTypes": items, "nextToken": call.next_token(page.next)})))
}

fn description(call: &Call, record: &ThingTypeRecord) -> Value {
    let propagating = match record.propagating_attributes.as_slice() {
        [] => None,
        attributes => Some(json!({"propagatingAttributes": attributes})),
    };
    json!({
        "thingTypeName": record.name,
        "thingTypeArn": call.arn(ResourceKind::ThingType, &record.name),
        "thingTypeProperties": {
            "thingTypeDescription": record.description,
            "searchableAttributes": record.searchable_attributes,
            "mqtt5Configuration": propagating,
        },
        "thingTypeMetadata": {
            "deprecated": record.deprecated_at.is_some(),
            "deprecationDate": record.deprecated_at.map(|at| at.epoch_seconds()),
            "creationDate": record.created_at.epoch_seconds(),
        },
    })
}

fn properties(call: &Call) -> Result<ThingTypeProperties, ApiError> {
    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase")]
    struct Properties {
        thing_type_description: Option<Bounded<0, 2028>>,
        searchable_attributes: Option<Vec<AttributeName>>,
        mqtt5_configuration: Option<Object<Mqtt5>>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Mqtt5 {
        propagating_attributes: Option<Vec<Object<Propagating>>>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Propagating {
        user_property_key: Plain<UserProperty, 128>,
        thing_attribute: Option<AttributeName>,
        connection_attribute: Option<Plain<ConnectionAttribute, 128>>,
    }
    let Object(given): Object<Properties> = call.member("thingTypeProperties").or_default()?;
    if given.searchable_attributes.as_ref().is_some_and(|names| names.len() > 3) {
        return Err(ApiError::invalid("thingTypeProperties", "at most 3 searchableAttributes are allowed"));
    }
    let propagating = given.mqtt5_configuration.and_then(|Object(mqtt5)| mqtt5.propagating_attributes);
    let read = |Object(attribute): Object<Propagating>| PropagatingAttribute {
        user_property_key: attribute.user_property_key.0,
        thing_attribute: attribute.thing_attribute,
        connection_attribute: attribute.connection_attribute.map(|key| key.0),
    };
    Ok(ThingTypeProperties {
        description: given.thing_type_description.map(|text| text.0),
        searchable_attributes: given.searchable_attributes,
        propagating_attributes: propagating.map(|list| list.into_iter().map(read).collect()),
    })
}
