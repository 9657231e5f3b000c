//! Provisioning templates and their versions (`spec/fleet-provisioning.md` section 8).
use super::page::{Page, PageRequest, record_page};
use super::tags::{self, Tags};
use super::{Registry, Result, description};
use crate::arn::ResourceKind;
use crate::change::{Change, Operation};
use crate::error::RegistryError;
use crate::names::TemplateName;
use crate::provisioner::Options;
use crate::records::{ProvisioningHook, TemplateRecord, TemplateType, TemplateVersionRecord};
use crate::store::Table;
use crate::stored::{Stored, decode, key_prefix};
use crate::transact::transact;
use crate::tx::Tx;
use jitp_policies::Document;
use jitp_templates::{Caller, Rules, Template};

const MOST_VERSIONS: usize = 5;
/// The only version of a hook's payload.
const HOOK_PAYLOAD: &str = "2020-04-01";

/// CreateProvisioningTemplate.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct CreateTemplate {
    pub name: TemplateName,
    pub template_type: TemplateType,
    pub body: String,
    pub description: Option<String>,
    pub enabled: bool,
    pub role_arn: String,
    pub hook: Option<ProvisioningHook>,
    pub tags: Tags,
}

/// UpdateProvisioningTemplate; absent members leave the attribute unchanged.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs)]
pub struct UpdateTemplate {
    pub description: Option<String>,
    pub enabled: Option<bool>,
    pub default_version: Option<u32>,
    pub role_arn: Option<String>,
    pub hook: Option<ProvisioningHook>,
    pub remove_hook: bool,
}

/// Creates a template with its first version.
pub(crate) async fn create(tx: &mut Tx, template: &CreateTemplate) -> Result<TemplateRecord> {
    let name = &template.name;
    description::check("provisioning template", template.description.as_deref(), 500)?;
    check_role_arn("provisioningRoleArn", &template.role_arn)?;
    check_hook(tx.options(), template.template_type, template.hook.as_ref())?;
    check_body(tx.options(), template.template_type, &template.body)?;
    tags::check(&template.tags)?;
    if tx.exists::<TemplateRecord>(name).await? {
        return Err(RegistryError::AlreadyExists {
            kind: TemplateRecord::KIND,
            id: name.to_string(),
            arn: tx.arn(ResourceKind::ProvisioningTemplate, name.as_str()).to_string(),
            hint: ": create a new version of it instead".into(),
        });
    }
    let most = tx.options().templates;
    let (_, fits) = tx.first_rows(Table::Templates, b"", most.saturating_sub(1)).await?;
    if !fits {
        return Err(RegistryError::LimitExceeded(format!(
            "there are {most} provisioning templates, as many as are allowed: delete one first"
        )));
    }
    let record = TemplateRecord {
        name: name.clone(),
        template_type: template.template_type,
        description: template.description.clone(),
        enabled: template.enabled,
        role_arn: template.role_arn.clone(),
        hook: template.hook.clone(),
        default_version: 1,
        next_version: 2,
        created_at: tx.now(),
        modified_at: tx.now(),
        tags: template.tags.clone(),
    };
    put_version(tx, name, 1, &template.body)?;
    tx.put(&record)?;
    tx.record(Change::Template { operation: Operation::Created, template: name.clone() });
    Ok(record)
}

/// Adds a version.
pub(crate) async fn create_version(
    tx: &mut Tx,
    name: &TemplateName,
    body: &str,
    set_as_default: bool,
) -> Result<TemplateVersionRecord> {
    let mut record: TemplateRecord = tx.require(name).await?;
    check_body(tx.options(), record.template_type, body)?;
    let present = versions(tx, name).await?.len();
    if present >= MOST_VERSIONS {
        return Err(RegistryError::VersionsLimitExceeded(format!(
            "provisioning template {name} has {present} versions, and {MOST_VERSIONS} are allowed: delete one that is \
             not the default"
        )));
    }
    let number = record.next_version;
    let version = put_version(tx, name, number, body)?;
    tx.made("versionId", number);
    record.next_version += 1;
    if set_as_default {
        record.default_version = number;
    }
    updated(tx, record)?;
    Ok(version)
}

/// Changes a template, and which of its versions is used from now on.
pub(crate) async fn update(tx: &mut Tx, name: &TemplateName, update: &UpdateTemplate) -> Result<()> {
    description::check("provisioning template", update.description.as_deref(), 500)?;
    if let Some(role) = &update.role_arn {
        check_role_arn("provisioningRoleArn", role)?;
    }
    if update.remove_hook && update.hook.is_some() {
        return Err(RegistryError::InvalidRequest(
            "preProvisioningHook and removePreProvisioningHook contradict each other: give one of them"
                .into(),
        ));
    }
    let before: TemplateRecord = tx.require(name).await?;
    check_hook(tx.options(), before.template_type, update.hook.as_ref())?;
    let mut after = before.clone();
    if let Some(version) = update.default_version {
        if !tx.exists::<TemplateVersionRecord>(&(name.clone(), version)).await? {
            return Err(RegistryError::InvalidRequest(format!(
                "provisioning template {name} has no version {version}: list its versions, and choose one of them"
            )));
        }
        after.default_version = version;
    }
    if let Some(text) = &update.description {
        after.description = Some(text.clone());
    }
    after.enabled = update.enabled.unwrap_or(before.enabled);
    if let Some(role) = &update.role_arn {
        after.role_arn.clone_from(role);
    }
    if update.hook.is_some() || update.remove_hook {
        after.hook.clone_from(&update.hook);
    }
    if after == before {
        return Ok(());
    }
    updated(tx, after)
}

/// Deletes a version that is not the default.
pub(crate) async fn delete_version(tx: &mut Tx, name: &TemplateName, version: u32) -> Result<()> {
    let record: TemplateRecord = tx.require(name).await?;
    let id = (name.clone(), version);
    tx.require::<TemplateVersionRecord>(&id).await?;
    if record.default_version == version {
        return Err(RegistryError::DeleteConflict(format!(
            "version {version} is the default version of provisioning template {name}: make another one the default, \
             or delete the template"
        )));
    }
    tx.delete::<TemplateVersionRecord>(&id);
    updated(tx, record)
}

/// Deletes a template that no CA certificate names, with all its versions. What it provisioned stays.
pub(crate) async fn delete(tx: &mut Tx, name: &TemplateName) -> Result<()> {
    tx.require::<TemplateRecord>(name).await?;
    if !tx.is_empty(Table::CaCertificatesByTemplate, &key_prefix(name.as_str())).await? {
        return Err(RegistryError::DeleteConflict(format!(
            "provisioning template {name} is named by a CA certificate's registrationConfig: give the CA another one, \
             or remove its auto-registration, before deleting it"
        )));
    }
    for version in versions(tx, name).await? {
        tx.delete::<TemplateVersionRecord>(&(name.clone(), version.version));
    }
    tx.delete::<TemplateRecord>(name);
    tx.record(Change::Template { operation: Operation::Deleted, template: name.clone() });
    Ok(())
}

/// All versions, oldest first; at most 5.
pub(crate) async fn versions(tx: &mut Tx, name: &TemplateName) -> Result<Vec<TemplateVersionRecord>> {
    let rows = tx.rows(Table::TemplateVersions, &key_prefix(name.as_str())).await?;
    rows.iter().map(|(key, value)| Ok(decode(Table::TemplateVersions, key, value)?)).collect()
}

/// Parses a stored body as a template of its type; the caller decides what its problems mean.
pub(crate) fn parse(
    options: &Options,
    template_type: TemplateType,
    body: &str,
) -> std::result::Result<Template, jitp_templates::Problems> {
    let caller = match template_type {
        TemplateType::Jitp => Caller::Jitp,
        TemplateType::FleetProvisioning => Caller::Fleet,
    };
    parse_for(options, caller, body)
}

/// Parses a body for who runs it.
pub(crate) fn parse_for(
    options: &Options,
    caller: Caller,
    body: &str,
) -> std::result::Result<Template, jitp_templates::Problems> {
    let policy = |document: &str| Document::parse(document).map(|_| ()).map_err(|e| e.to_string());
    Template::parse(
        body,
        Rules { caller, policy: &policy, functions_in_fleet_only: options.functions_in_fleet_only },
    )
}

/// Would this body run?
pub(super) fn check_body(options: &Options, template_type: TemplateType, body: &str) -> Result<()> {
    parse(options, template_type, body).map(|_| ()).map_err(|problems| {
        RegistryError::InvalidRequest(format!("the template body is invalid: {problems}"))
    })
}

/// A role is stored and returned as it is; only its length is checked.
pub(super) fn check_role_arn(member: &str, role: &str) -> Result<()> {
    let length = role.chars().count();
    if (20..=2048).contains(&length) {
        return Ok(());
    }
    Err(RegistryError::InvalidRequest(format!(
        "{member} has {length} characters: give an ARN of 20 to 2048 characters (it is stored, but not used)"
    )))
}

fn check_hook(options: &Options, template_type: TemplateType, hook: Option<&ProvisioningHook>) -> Result<()> {
    let Some(hook) = hook else { return Ok(()) };
    if template_type == TemplateType::Jitp {
        return Err(RegistryError::InvalidRequest(
            "a template of type JITP cannot have a preProvisioningHook: leave it out".into(),
        ));
    }
    if hook.payload_version != HOOK_PAYLOAD {
        return Err(RegistryError::InvalidRequest(format!(
            "preProvisioningHook.payloadVersion is {:?}: the only one is {HOOK_PAYLOAD:?}",
            hook.payload_version.chars().take(32).collect::<String>()
        )));
    }
    check_role_arn("preProvisioningHook.targetArn", &hook.target_arn)?;
    if options.callbacks.knows(&hook.target_arn) {
        return Ok(());
    }
    let known: Vec<&str> = options.callbacks.arns().collect();
    let configured = match known.as_slice() {
        [] => "no hook is configured".to_owned(),
        arns => format!("configured are {}", arns.join(", ")),
    };
    Err(RegistryError::InvalidRequest(format!(
        "preProvisioningHook.targetArn {:?} leads nowhere: {configured}; a hook is added to the broker's configuration \
         as [hooks.NAME] with its arn",
        hook.target_arn
    )))
}

fn put_version(tx: &mut Tx, name: &TemplateName, version: u32, body: &str) -> Result<TemplateVersionRecord> {
    let record =
        TemplateVersionRecord { template: name.clone(), version, body: body.into(), created_at: tx.now() };
    tx.put(&record)?;
    Ok(record)
}

fn updated(tx: &mut Tx, mut record: TemplateRecord) -> Result<()> {
    record.modified_at = tx.now();
    tx.put(&record)?;
    tx.record(Change::Template { operation: Operation::Updated, template: record.name });
    Ok(())
}

impl Registry {
    /// CreateProvisioningTemplate.
    pub async fn create_template(&self, t: CreateTemplate) -> Result<TemplateRecord> {
        transact!(self, |tx| create(tx, &t))
    }
    /// DescribeProvisioningTemplate, without its body.
    pub async fn template(&self, name: &TemplateName) -> Result<TemplateRecord> {
        self.begin().require(name).await
    }
    /// DescribeProvisioningTemplateVersion.
    pub async fn template_version(&self, name: &TemplateName, version: u32) -> Result<TemplateVersionRecord> {
        self.begin().require(&(name.clone(), version)).await
    }
    /// CreateProvisioningTemplateVersion.
    pub async fn create_template_version(
        &self,
        name: &TemplateName,
        body: &str,
        set_as_default: bool,
    ) -> Result<TemplateVersionRecord> {
        transact!(self, |tx| create_version(tx, name, body, set_as_default))
    }
    /// UpdateProvisioningTemplate.
    pub async fn update_template(&self, name: &TemplateName, u: UpdateTemplate) -> Result<()> {
        transact!(self, |tx| update(tx, name, &u))
    }
    /// UpdateProvisioningTemplate with `defaultVersionId` alone.
    pub async fn set_default_template_version(&self, name: &TemplateName, version: u32) -> Result<()> {
        self.update_template(name, UpdateTemplate { default_version: Some(version), ..Default::default() })
            .await
    }
    /// DeleteProvisioningTemplateVersion.
    pub async fn delete_template_version(&self, name: &TemplateName, version: u32) -> Result<()> {
        transact!(self, |tx| delete_version(tx, name, version))
    }
    /// ListProvisioningTemplateVersions, oldest first.
    pub async fn list_template_versions(&self, name: &TemplateName) -> Result<Vec<TemplateVersionRecord>> {
        let mut tx = self.begin();
        tx.require::<TemplateRecord>(name).await?;
        versions(&mut tx, name).await
    }
    /// DeleteProvisioningTemplate.
    pub async fn delete_template(&self, name: &TemplateName) -> Result<()> {
        transact!(self, |tx| delete(tx, name))
    }
    /// ListProvisioningTemplates, by name.
    pub async fn list_templates(&self, request: &PageRequest) -> Result<Page<TemplateRecord>> {
        record_page(self.store(), request).await
    }
}
