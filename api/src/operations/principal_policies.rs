//! Attachments of policies to principals, as old SDKs call them (`spec/control-plane.md` section 7, deprecated by AWS).
use jitp_provisioner::ResourceKind;
use jitp_provisioner::names::PolicyName;
use jitp_provisioner::records::PolicyTarget;
use serde_json::json;

use super::policy_attachments::named;
use crate::call::Call;
use crate::error::ApiError;
use crate::reply::Reply;

/// The header that names the certificate.
const PRINCIPAL: &str = "x-amzn-iot-principal";
/// The header that names the policy.
const POLICY: &str = "x-amzn-iot-policy";

pub(super) async fn attach(call: &Call) -> Result<Reply, ApiError> {
    let policy: PolicyName = call.label("policyName").required()?;
    let principal = PolicyTarget::Certificate(call.principal(call.header(PRINCIPAL))?);
    call.registry().attach_policy(&policy, principal).await?;
    Ok(Reply::nothing())
}

pub(super) async fn detach(call: &Call) -> Result<Reply, ApiError> {
    let policy: PolicyName = call.label("policyName").required()?;
    let principal = PolicyTarget::Certificate(call.principal(call.header(PRINCIPAL))?);
    call.registry().detach_policy(&policy, &principal).await?;
    Ok(Reply::nothing())
}

pub(super) async fn list_of_principal(call: &Call) -> Result<Reply, ApiError> {
    let principal = PolicyTarget::Certificate(call.principal(call.header(PRINCIPAL))?);
    let page = call.registry().list_attached_policies(&principal, &call.marker_page()?).await?;
    let items: Vec<_> = page.items.iter().map(|name| named(call, name)).collect();
    Ok(Reply::members(json!({"policies": items, "nextMarker": call.next_token(page.next)})))
}

/// Thing groups are no principals: a page on which there are some holds less than was asked for.
pub(super) async fn list_principals(call: &Call) -> Result<Reply, ApiError> {
    let policy: PolicyName = call.header(POLICY).required()?;
    let page = call.registry().list_targets_for_policy(&policy, &call.marker_page()?).await?;
    let arn = |target: &PolicyTarget| match target {
        PolicyTarget::Certificate(id) => Some(call.arn(ResourceKind::Certificate, id)),
        PolicyTarget::ThingGroup(_) => None,
    };
    let arns: Vec<_> = page.items.iter().filter_map(arn).collect();
    Ok(Reply::members(json!({"principals": arns, "nextMarker": call.next_token(page.next)})))
}
