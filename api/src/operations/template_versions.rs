//! Versions of provisioning templates (`spec/control-plane.md` section 8).
use jitp_provisioner::ResourceKind;
use jitp_provisioner::names::TemplateName;
use jitp_provisioner::records::TemplateVersionRecord;
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

pub(super) async fn delete(call: &Call) -> Result<Reply, ApiError> {
    let name: TemplateName = call.label("templateName").required()?;
    call.registry().delete_template_version(&name, call.label("versionId").required()?).await?;
    Ok(Reply::nothing())
}

/// A template has a handful of versions at most: they are always one page.
pub(super) async fn list(call: &Call) -> Result<Reply, ApiError> {
    let name: TemplateName = call.label("templateName").required()?;
    call.token_page()?;
    let record = call.registry().template(&name).await?;
    let versions = call.registry().list_template_versions(&name).await?;
    let item = |version: &TemplateVersionRecord| {
        json!({
            "versionId": version.version,
            "creationDate": version.created_at.epoch_seconds(),
            "isDefaultVersion": version.version == record.default_version,
        })
    };
    Ok(Reply::members(json!({"versions": versions.iter().map(item).collect::<Vec<_>>()})))
}
