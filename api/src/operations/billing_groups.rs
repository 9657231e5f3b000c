//! Billing groups (`spec/control-plane.md` section 6).
use jitp_provisioner::ResourceKind;
use jitp_provisioner::names::{BillingGroupName, ThingName};
use jitp_provisioner::records::BillingGroupRecord;
use serde::Deserialize;
use serde_json::json;

use super::tags;
use crate::call::Call;
use crate::error::ApiError;
use crate::object::Object;
use crate::reply::Reply;
use crate::text::Bounded;

/// `billingGroupProperties`.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Properties {
    billing_group_description: Option<Bounded<0, 2028>>,
}

pub(super) async fn create(call: &Call) -> Result<Reply, ApiError> {
    let name = call.label("billingGroupName").required()?;
    let Object(properties): Object<Properties> = call.member("billingGroupProperties").or_default()?;
    let description = properties.billing_group_description.map(|text| text.0);
    let record = call.registry().create_tagged_billing_group(name, description, tags::of_new(call)?).await?;
    Ok(Reply::members(json!({
        "billingGroupName": record.name,
        "billingGroupArn": call.arn(ResourceKind::BillingGroup, &record.name),
        "billingGroupId": record.billing_group_id,
    })))
}

pub(super) async fn describe(call: &Call) -> Result<Reply, ApiError> {
    let record = call.registry().billing_group(&call.label("billingGroupName").required()?).await?;
    Ok(Reply::members(json!({
        "billingGroupName": record.name,
        "billingGroupId": record.billing_group_id,
        "billingGroupArn": call.arn(ResourceKind::BillingGroup, &record.name),
        "version": record.version,
        "billingGroupProperties": {"billingGroupDescription": record.description},
        "billingGroupMetadata": {"creationDate": record.created_at.epoch_seconds()},
    })))
}

pub(super) async fn update(call: &Call) -> Result<Reply, ApiError> {
    let name = call.label("billingGroupName").required()?;
    let Object(properties): Object<Properties> = call.member("billingGroupProperties").required()?;
    let description = properties.billing_group_description.map(|text| text.0);
    let expected = call.member("expectedVersion").optional()?;
    let version = call.registry().update_billing_group(&name, description, expected).await?;
    Ok(Reply::members(json!({"version": version})))
}

pub(super) async fn delete(call: &Call) -> Result<Reply, ApiError> {
    let name = call.label("billingGroupName").required()?;
    call.registry().delete_billing_group(&name, call.query("expectedVersion").optional()?).await?;
    Ok(Reply::nothing())
}

pub(super) async fn list(call: &Call) -> Result<Reply, ApiError> {
    let prefix: Option<BillingGroupName> = call.query("namePrefixFilter").optional()?;
    let page = call.registry().list_billing_groups(prefix.as_ref(), &call.token_page()?).await?;
    let item = |group: &BillingGroupRecord| json!({"groupName": group.name, "groupArn": call.arn(ResourceKind::BillingGroup, &group.name)});
    Ok(Reply::members(json!({
        "billingGroups": page.items.iter().map(item).collect::<Vec<_>>(),
        "nextToken": call.next_token(page.next),
    })))
}

pub(super) async fn add_thing(call: &Call) -> Result<Reply, ApiError> {
    let (thing, group) = thing_and_group(call)?;
    call.registry().add_thing_to_billing_group(&thing, &group).await?;
    Ok(Reply::nothing())
}

pub(super) async fn remove_thing(call: &Call) -> Result<Reply, ApiError> {
    let (thing, group) = thing_and_group(call)?;
    call.registry().remove_thing_from_billing_group(&thing, &group).await?;
    Ok(Reply::nothing())
}

pub(super) async fn list_things(call: &Call) -> Result<Reply, ApiError> {
    let name: BillingGroupName = call.label("billingGroupName").required()?;
    let page = call.registry().list_things_in_billing_group(&name, &call.token_page()?).await?;
    Ok(Reply::members(json!({"things": page.items, "nextToken": call.next_token(page.next)})))
}

fn thing_and_group(call: &Call) -> Result<(ThingName, BillingGroupName), ApiError> {
    let thing = call.name_or_arn(call.member("thingName"), call.member("thingArn"), ResourceKind::Thing)?;
    let group = call.name_or_arn(
        call.member("billingGroupName"),
        call.member("billingGroupArn"),
        ResourceKind::BillingGroup,
    )?;
    Ok((thing, group))
}
