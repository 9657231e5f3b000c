//! Versions of provisioning templates (`spec/control-plane.md` section 8).
use jitp_provisioner::ResourceKind;
use jitp_provisioner::names::TemplateName;
use serde_json::json;

use super::templates::TemplateBody;
use crate::call::Call;
use crate::error::ApiError;
use crate::reply::Reply;

pub(super) async fn create(call: &Call) -> Result<Reply, ApiError> {
    let name: TemplateName = call.label("templateName").required()?;
    let body: TemplateBody = call.member("templateBody").required()?;
    let set_as_default: bool = call.query("setAsDefault").or_default()?;
    let version = call.registry().create_template_version(&name, &body.0, set_as_default).await?;
    Ok(Reply::members(json!({
        "templateArn": call.arn(ResourceKind::ProvisioningTemplate, &name),
        "templateName": name,
        "versionId": version.version,
        "isDefaultVersion": set_as_default,
    })))
}

pub(super) async fn describe(call: &Call) -> Result<Reply, ApiError> {
    let name: TemplateName = call.label("templateName").required()?;
    let version: u32 = call.label("versionId").required()?;
    let record = call.registry().template(&name).await?;
    let version = call.registry().template_version(&name, version).await?;
    Ok(Reply::members(json!({
        "versionId": version.version,
        "creationDate": version.created_at.epoch_seconds(),
        "templateBody": version.body,
        "isDefaultVersion": version.version == record.default_version,
    })))
}
