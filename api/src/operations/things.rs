//! Things (`spec/control-plane.md` section 4).
use std::collections::BTreeMap;

use jitp_provisioner::ResourceKind;
use jitp_provisioner::names::{AttributeName, AttributeValue, ThingName};
use jitp_provisioner::records::ThingRecord;
use jitp_provisioner::registry::{CreateThing, ThingFilter, UpdateThing};
use serde::Deserialize;
use serde_json::json;

use super::templates::TemplateBody;
use crate::call::Call;
use crate::error::ApiError;
use crate::object::Object;
use crate::reply::Reply;
use crate::text::Bounded;

pub(super) async fn create(call: &Call) -> Result<Reply, ApiError> {
    let name = call.label("thingName").required()?;
    let Object(attributes): Object<AttributePayload> = call.member("attributePayload").or_default()?;
    let thing = CreateThing {
        thing_type: call.member("thingTypeName").optional()?,
        attributes: attributes.attributes.unwrap_or_default(),
        billing_group: call.member("billingGroupName").optional()?,
    };
    let record = call.registry().create_thing(name, thing).await?;
    Ok(Reply::members(json!({
        "thingName": record.name,
        "thingArn": call.arn(ResourceKind::Thing, &record.name),
        "thingId": record.thing_id,
    })))
}

/// Most members of `parameters`.
const MOST_PARAMETERS: usize = 1_000;

pub(super) async fn register(call: &Call) -> Result<Reply, ApiError> {
    let body: TemplateBody = call.member("templateBody").required()?;
    let given: BTreeMap<String, Bounded<0, 4096>> = call.member("parameters").or_default()?;
    if given.len() > MOST_PARAMETERS || given.keys().any(|name| name.chars().count() > 2048) {
        let why =
            format_args!("at most {MOST_PARAMETERS} are allowed, with names of at most 2048 characters");
        return Err(ApiError::invalid("parameters", why));
    }
    let parameters = given.into_iter().map(|(name, value)| (name, value.0)).collect();
    let registered = call.provisioner().register_thing(&body.0, &parameters).await?;
    let arns: BTreeMap<_, _> =
        registered.resources.iter().map(|(logical, (kind, name))| (logical, call.arn(*kind, name))).collect();
    Ok(Reply::members(json!({
        "certificatePem": registered.certificate_pem,
        "resourceArns": arns,
    })))
}

pub(super) async fn describe(call: &Call) -> Result<Reply, ApiError> {
    let record = call.registry().thing(&call.label("thingName").required()?).await?;
    Ok(Reply::members(json!({
        "defaultClientId": record.name,
        "thingName": record.name,
        "thingId": record.thing_id,
        "thingArn": call.arn(ResourceKind::Thing, &record.name),
        "thingTypeName": record.thing_type,
        "attributes": record.attributes,
        "version": record.version,
        "billingGroupName": record.billing_group,
    })))
}

pub(super) async fn update(call: &Call) -> Result<Reply, ApiError> {
    let name: ThingName = call.label("thingName").required()?;
    let payload: Option<Object<AttributePayload>> = call.member("attributePayload").optional()?;
    let payload = payload.map(|Object(payload)| payload);
    let merge = payload.as_ref().and_then(|payload| payload.merge).unwrap_or(false);
    let update = UpdateThing {
        thing_type: call.member("thingTypeName").optional()?,
        remove_thing_type: call.member("removeThingType").or_default()?,
        attributes: payload.map(|payload| payload.attributes.unwrap_or_default()),
        merge,
        expected_version: call.member("expectedVersion").optional()?,
    };
    call.registry().update_thing(&name, update).await?;
    Ok(Reply::nothing())
}

pub(super) async fn delete(call: &Call) -> Result<Reply, ApiError> {
    let name = call.label("thingName").required()?;
    call.registry().delete_thing(&name, call.query("expectedVersion").optional()?).await?;
    Ok(Reply::nothing())
}

pub(super) async fn list(call: &Call) -> Result<Reply, ApiError> {
    let name: Option<AttributeName> = call.query("attributeName").optional()?;
    let value: Option<AttributeValue> = call.query("attributeValue").optional()?;
    let filter = ThingFilter {
        thing_type: call.query("thingTypeName").optional()?,
        attribute: match (name, value) {
            (Some(name), Some(value)) => Some((name, value.into())),
            (None, None) => None,
            (Some(_), None) => {
                return Err(ApiError::invalid("attributeValue", "is required with attributeName"));
            }
            (None, Some(_)) => {
                return Err(ApiError::invalid("attributeName", "is required with attributeValue"));
            }
        },
        prefix: call.query("usePrefixAttributeValue").or_default()?,
    };
    let page = call.registry().list_things(&filter, &call.token_page()?).await?;
    let item = |thing: &ThingRecord| {
        json!({
            "thingName": thing.name,
            "thingTypeName": thing.thing_type,
            "thingArn": call.arn(ResourceKind::Thing, &thing.name),
            "attributes": thing.attributes,
            "version": thing.version,
        })
    };
    Ok(Reply::members(json!({
        "things": page.items.iter().map(item).collect::<Vec<_>>(),
        "nextToken": call.next_token(page.next),
    })))
}

/// `attributePayload` of things and thing groups.
#[derive(Deserialize, Default)]
pub(super) struct AttributePayload {
    pub attributes: Option<BTreeMap<AttributeName, AttributeValue>>,
    pub merge: Option<bool>,
}
