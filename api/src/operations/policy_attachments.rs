//! Attachments of policies to certificates and thing groups (`spec/control-plane.md` section 7).
use std::collections::BTreeSet;

use jitp_provisioner::ResourceKind;
use jitp_provisioner::names::PolicyName;
use jitp_provisioner::records::PolicyTarget;
use jitp_provisioner::registry::{Page, PageRequest};
use serde_json::{Value, json};

use crate::call::Call;
use crate::error::ApiError;
use crate::reply::Reply;

pub(super) async fn attach(call: &Call) -> Result<Reply, ApiError> {
    let policy: PolicyName = call.label("policyName").required()?;
    let target = call.policy_target(call.member("target"))?;
    call.registry().attach_policy(&policy, target).await?;
    Ok(Reply::nothing())
}

pub(super) async fn detach(call: &Call) -> Result<Reply, ApiError> {
    let policy: PolicyName = call.label("policyName").required()?;
    let target = call.policy_target(call.member("target"))?;
    call.registry().detach_policy(&policy, &target).await?;
    Ok(Reply::nothing())
}

pub(super) async fn list_of_target(call: &Call) -> Result<Reply, ApiError> {
    let target = call.policy_target(call.label("target"))?;
    let recursive: bool = call.query("recursive").or_default()?;
    let request = call.marker_page()?;
    let page = match &target {
        PolicyTarget::ThingGroup(group) if recursive => {
            let mut targets = vec![target.clone()];
            let ancestors = call.registry().thing_group(group).await?.ancestors;
            targets.extend(ancestors.into_iter().map(PolicyTarget::ThingGroup));
            attached_to_any(call, &targets, &request).await?
        }
        _ => call.registry().list_attached_policies(&target, &request).await?,
    };
    let items: Vec<_> = page.items.iter().map(|name| named(call, name)).collect();
    Ok(Reply::members(json!({"policies": items, "nextMarker": call.next_token(page.next)})))
}

/// A policy in a list.
pub(super) fn named(call: &Call, name: &PolicyName) -> Value {
    json!({"policyName": name, "policyArn": call.arn(ResourceKind::Policy, name)})
}

pub(super) async fn list_targets(call: &Call) -> Result<Reply, ApiError> {
    let policy: PolicyName = call.label("policyName").required()?;
    let page = call.registry().list_targets_for_policy(&policy, &call.marker_page()?).await?;
    let arns: Vec<_> = page.items.iter().map(|target| call.target_arn(target)).collect();
    Ok(Reply::members(json!({"targets": arns, "nextMarker": call.next_token(page.next)})))
}

/// The policies of a group and its ancestors, each once, by name. A hierarchy is at most seven groups deep and a group
/// has a handful of policies, so that all fit in memory.
async fn attached_to_any(
    call: &Call,
    targets: &[PolicyTarget],
    request: &PageRequest,
) -> Result<Page<PolicyName>, ApiError> {
    let mut names = BTreeSet::new();
    for target in targets {
        let mut after = None;
        loop {
            let step = PageRequest { after, limit: 250, ascending: true };
            let page = call.registry().list_attached_policies(target, &step).await?;
            names.extend(page.items);
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
    }
    let beyond = |name: &PolicyName| {
        let after = request.after.as_deref();
        after
            .is_none_or(|after| if request.ascending { name.as_str() > after } else { name.as_str() < after })
    };
    let mut left: Vec<PolicyName> = names.into_iter().filter(beyond).collect();
    if !request.ascending {
        left.reverse();
    }
    let more = left.len() > request.limit;
    left.truncate(request.limit);
    let next = left.last().filter(|_| more).map(PolicyName::to_string);
    Ok(Page { items: left, next })
}
