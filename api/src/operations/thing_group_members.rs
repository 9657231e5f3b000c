//! Which things are in which thing groups (`spec/control-plane.md` section 6).
use jitp_provisioner::ResourceKind;
use jitp_provisioner::names::{ThingGroupName, ThingName};
use serde_json::json;

use super::thing_groups::named;
use crate::call::Call;
use crate::error::ApiError;
use crate::reply::Reply;

pub(super) async fn add(call: &Call) -> Result<Reply, ApiError> {
    let (thing, group) = thing_and_group(call)?;
    let over_dynamic = call.member("overrideDynamicGroups").or_default()?;
    call.registry().add_thing_to_group_over(&thing, &group, over_dynamic).await?;
    Ok(Reply::nothing())
}

pub(super) async fn remove(call: &Call) -> Result<Reply, ApiError> {
    let (thing, group) = thing_and_group(call)?;
    call.registry().remove_thing_from_group(&thing, &group).await?;
    Ok(Reply::nothing())
}

pub(super) async fn update_of_thing(call: &Call) -> Result<Reply, ApiError> {
    let thing: ThingName = call.member("thingName").required()?;
    let add_to: Vec<ThingGroupName> = call.member("thingGroupsToAdd").or_default()?;
    let remove_from: Vec<ThingGroupName> = call.member("thingGroupsToRemove").or_default()?;
    let over_dynamic = call.member("overrideDynamicGroups").or_default()?;
    call.registry().update_groups_of_thing(&thing, &add_to, &remove_from, over_dynamic).await?;
    Ok(Reply::nothing())
}

pub(super) async fn list_things(call: &Call) -> Result<Reply, ApiError> {
    let group: ThingGroupName = call.label("thingGroupName").required()?;
    let recursive = call.query("recursive").or_default()?;
    let page = call.registry().list_things_in_thing_group(&group, recursive, &call.token_page()?).await?;
    Ok(Reply::members(json!({"things": page.items, "nextToken": call.next_token(page.next)})))
}

pub(super) async fn list_groups(call: &Call) -> Result<Reply, ApiError> {
    let thing: ThingName = call.label("thingName").required()?;
    let page = call.registry().list_groups_of_thing(&thing, &call.token_page()?).await?;
    let items: Vec<_> = page.items.iter().map(|name| named(call, name)).collect();
    Ok(Reply::members(json!({"thingGroups": items, "nextToken": call.next_token(page.next)})))
}

fn thing_and_group(call: &Call) -> Result<(ThingName, ThingGroupName), ApiError> {
    let thing = call.name_or_arn(call.member("thingName"), call.member("thingArn"), ResourceKind::Thing)?;
    let group = call.name_or_arn(
        call.member("thingGroupName"),
        call.member("thingGroupArn"),
        ResourceKind::ThingGroup,
    )?;
    Ok((thing, group))
}
