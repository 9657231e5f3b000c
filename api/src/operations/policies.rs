//! Policies and their versions (`spec/control-plane.md` section 7).
use jitp_provisioner::ResourceKind;
use jitp_provisioner::names::PolicyName;
use jitp_provisioner::records::{PolicyRecord, PolicyVersionRecord};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::json;

use super::tags;
use crate::call::Call;
use crate::error::ApiError;
use crate::reply::Reply;
use crate::text::Bounded;

type PolicyDocument = Bounded<0, 404_600>;

pub(super) async fn create(call: &Call) -> Result<Reply, ApiError> {
    let name = call.label("policyName").required()?;
    let document: PolicyDocument = call.member("policyDocument").required()?;
    let record = call.registry().create_tagged_policy(name, &document.0, tags::of_new(call)?).await?;
    Ok(Reply::members(json!({
        "policyName": record.name,
        "policyArn": call.arn(ResourceKind::Policy, &record.name),
        "policyDocument": document.0,
        "policyVersionId": record.default_version.to_string(),
    })))
}

pub(super) async fn get(call: &Call) -> Result<Reply, ApiError> {
    let name: PolicyName = call.label("policyName").required()?;
    let record = call.registry().policy(&name).await?;
    let version = call.registry().policy_version(&name, record.default_version).await?;
    Ok(Reply::members(json!({
        "policyName": record.name,
        "policyArn": call.arn(ResourceKind::Policy, &record.name),
        "policyDocument": version.document,
        "defaultVersionId": record.default_version.to_string(),
        "creationDate": record.created_at.epoch_seconds(),
        "lastModifiedDate": record.modified_at.epoch_seconds(),
        "generationId": record.generation_id,
    })))
}

pub(super) async fn delete(call: &Call) -> Result<Reply, ApiError> {
    call.registry().delete_policy(&call.label("policyName").required()?).await?;
    Ok(Reply::nothing())
}

pub(super) async fn list(call: &Call) -> Result<Reply, ApiError> {
    let page = call.registry().list_policies(&call.marker_page()?).await?;
    let item = |policy: &PolicyRecord| json!({"policyName": policy.name, "policyArn": call.arn(ResourceKind::Policy, &policy.name)});
    Ok(Reply::members(json!({
        "policies": page.items.iter().map(item).collect::<Vec<_>>(),
        "nextMarker": call.next_token(page.next),
    })))
}

pub(super) async fn create_version(call: &Call) -> Result<Reply, ApiError> {
    let name: PolicyName = call.label("policyName").required()?;
    let document: PolicyDocument = call.member("policyDocument").required()?;
    let set_as_default: bool = call.query("setAsDefault").or_default()?;
    let version = call.registry().create_policy_version(&name, &document.0, set_as_default).await?;
    Ok(Reply::members(json!({
        "policyArn": call.arn(ResourceKind::Policy, &name),
        "policyDocument": version.document,
        "policyVersionId": version.version.to_string(),
        "isDefaultVersion": set_as_default,
    })))
}

pub(super) async fn get_version(call: &Call) -> Result<Reply, ApiError> {
    let name: PolicyName = call.label("policyName").required()?;
    let VersionId(version) = call.label("policyVersionId").required()?;
    let record = call.registry().policy(&name).await?;
    let version = call.registry().policy_version(&name, version).await?;
    Ok(Reply::members(json!({
        "policyArn": call.arn(ResourceKind::Policy, &name),
        "policyName": name,
        "policyDocument": version.document,
        "policyVersionId": version.version.to_string(),
        "isDefaultVersion": version.version == record.default_version,
        "creationDate": version.created_at.epoch_seconds(),
        "lastModifiedDate": version.created_at.epoch_seconds(),
        "generationId": record.generation_id,
    })))
}

pub(super) async fn set_default_version(call: &Call) -> Result<Reply, ApiError> {
    let VersionId(version) = call.label("policyVersionId").required()?;
    call.registry().set_default_policy_version(&call.label("policyName").required()?, version).await?;
    Ok(Reply::nothing())
}

pub(super) async fn delete_version(call: &Call) -> Result<Reply, ApiError> {
    let VersionId(version) = call.label("policyVersionId").required()?;
    call.registry().delete_policy_version(&call.label("policyName").required()?, version).await?;
    Ok(Reply::nothing())
}

pub(super) async fn list_versions(call: &Call) -> Result<Reply, ApiError> {
    let name: PolicyName = call.label("policyName").required()?;
    let record = call.registry().policy(&name).await?;
    let versions = call.registry().list_policy_versions(&name).await?;
    let item = |version: &PolicyVersionRecord| {
        json!({
            "versionId": version.version.to_string(),
            "isDefaultVersion": version.version == record.default_version,
            "createDate": version.created_at.epoch_seconds(),
        })
    };
    Ok(Reply::members(json!({"policyVersions": versions.iter().map(item).collect::<Vec<_>>()})))
}

/// A policy version as the API writes it: decimal digits in a string.
struct VersionId(u32);
impl<'de> Deserialize<'de> for VersionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.then(|| text.parse().ok()).flatten();
        number.map(Self).ok_or_else(|| D::Error::custom("expected the number of a policy version"))
    }
}
