//! Which things are in which thing groups (`spec/control-plane.md` section 6).
use jitp_provisioner::ResourceKind;
use jitp_provisioner::names::{ThingGroupName, ThingName};
use serde_json::json;

use crate::call::Call;
use crate::error::ApiError;
use crate::reply::Reply;

pub(super) async fn add(call: &Call) -> Result<Reply, ApiError> {
    let (thing, group) = thing_and_group(call)?;
    call.registry().add_thing_to_group(&thing, &group).await?;
    Ok(Reply::nothing())
}

pub(super) async fn remove(call: &Call) -> Result<Reply, ApiError> {
    let (thing, group) = thing_and_group(call)?;
    call.registry().remove_thing_from_group(&thing, &group).await?;
    Ok(Reply::nothing())
}

pub(super) async fn list_groups(call: &Call) -> Result<Reply, ApiError> {
    let thing: ThingName = call.label("thingName").required()?;
    let page = call.registry().list_groups_of_thing(&thing, &call.token_page()?).await?;
    let item = |name: &ThingGroupName| json!({"groupName": name, "groupArn": call.arn(ResourceKind::ThingGroup, name)});
    Ok(Reply::members(json!({
        "thingGroups": page.items.iter().map(item).collect::<Vec<_>>(),
        "nextToken": call.next_token(page.next),
    })))
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
