//! Provisioning templates (`spec/control-plane.md` section 8).
use jitp_provisioner::ResourceKind;
use jitp_provisioner::names::TemplateName;
use jitp_provisioner::records::{ProvisioningHook, TemplateRecord, TemplateType};
use jitp_provisioner::registry::{CreateTemplate, UpdateTemplate};
use serde::Deserialize;
use serde_json::json;

use super::tags;
use crate::call::Call;
use crate::error::ApiError;
use crate::object::Object;
use crate::reply::Reply;
use crate::text::Bounded;

/// The text of a template.
pub(super) type TemplateBody = Bounded<0, 10_240>;
type Description = Bounded<0, 500>;
type RoleArn = Bounded<20, 2048>;

pub(super) async fn create(call: &Call) -> Result<Reply, ApiError> {
    let body: TemplateBody = call.member("templateBody").required()?;
    let role_arn: RoleArn = call.member("provisioningRoleArn").required()?;
    let description: Option<Description> = call.member("description").optional()?;
    let template = CreateTemplate {
        name: call.member("templateName").required()?,
        template_type: call.member::<TemplateType>("type").or_default()?,
        body: body.0,
        description: description.map(|text| text.0),
        enabled: call.member("enabled").or_default()?,
        role_arn: role_arn.0,
        hook: hook(call)?,
        tags: tags::of_new(call)?,
    };
    let record = call.registry().create_template(template).await?;
    if record.template_type == TemplateType::FleetProvisioning {
        call.provisioner().make_keys_ahead();
    }
    Ok(Reply::members(json!({
        "templateArn": call.arn(ResourceKind::ProvisioningTemplate, &record.name),
        "templateName": record.name,
        "defaultVersionId": record.default_version,
    })))
}

pub(super) async fn describe(call: &Call) -> Result<Reply, ApiError> {
    let name: TemplateName = call.label("templateName").required()?;
    let record = call.registry().template(&name).await?;
    let version = call.registry().template_version(&name, record.default_version).await?;
    Ok(Reply::members(json!({
        "templateArn": call.arn(ResourceKind::ProvisioningTemplate, &record.name),
        "templateName": record.name,
        "description": record.description,
        "creationDate": record.created_at.epoch_seconds(),
        "lastModifiedDate": record.modified_at.epoch_seconds(),
        "defaultVersionId": record.default_version,
        "templateBody": version.body,
        "enabled": record.enabled,
        "provisioningRoleArn": record.role_arn,
        "preProvisioningHook": record.hook,
        "type": record.template_type,
    })))
}

pub(super) async fn update(call: &Call) -> Result<Reply, ApiError> {
    let name: TemplateName = call.label("templateName").required()?;
    let description: Option<Description> = call.member("description").optional()?;
    let role_arn: Option<RoleArn> = call.member("provisioningRoleArn").optional()?;
    let update = UpdateTemplate {
        description: description.map(|text| text.0),
        enabled: call.member("enabled").optional()?,
        default_version: call.member("defaultVersionId").optional()?,
        role_arn: role_arn.map(|arn| arn.0),
        hook: hook(call)?,
        remove_hook: call.member("removePreProvisioningHook").or_default()?,
    };
    call.registry().update_template(&name, update).await?;
    Ok(Reply::nothing())
}

pub(super) async fn delete(call: &Call) -> Result<Reply, ApiError> {
    call.registry().delete_template(&call.label("templateName").required()?).await?;
    Ok(Reply::nothing())
}

pub(super) async fn list(call: &Call) -> Result<Reply, ApiError> {
    let page = call.registry().list_templates(&call.token_page()?).await?;
    let item = |template: &TemplateRecord| {
        json!({
            "templateArn": call.arn(ResourceKind::ProvisioningTemplate, &template.name),
            "templateName": template.name,
            "description": template.description,
            "creationDate": template.created_at.epoch_seconds(),
            "lastModifiedDate": template.modified_at.epoch_seconds(),
            "enabled": template.enabled,
            "type": template.template_type,
        })
    };
    Ok(Reply::members(json!({
        "templates": page.items.iter().map(item).collect::<Vec<_>>(),
        "nextToken": call.next_token(page.next),
    })))
}

fn hook(call: &Call) -> Result<Option<ProvisioningHook>, ApiError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Hook {
        payload_version: Option<Bounded<10, 32>>,
        target_arn: Bounded<1, 2048>,
    }
    let hook: Option<Object<Hook>> = call.member("preProvisioningHook").optional()?;
    Ok(hook.map(|Object(hook)| ProvisioningHook {
        payload_version: hook.payload_version.map_or_else(|| "2020-04-01".to_string(), |version| version.0),
        target_arn: hook.target_arn.0,
    }))
}
