//! The template that a CA provisions with, and templates ready to run, parsed once each.
use crate::admission::cause::Cause;
use crate::admission::issuer::RegisteredCa;
use crate::cache::Cache;
use crate::names::{CertificateId, TemplateName};
use crate::provisioner::Options;
use crate::reason::ReasonCode;
use crate::records::{RegistrationConfig, TemplateRecord, TemplateType, TemplateVersionRecord};
use crate::registry::templates;
use crate::shared_records::SharedRecords;
use crate::tx::Tx;
use jitp_templates::{Problems, Template};
use std::sync::Arc;

/// Most parsed templates kept: the default limit of templates times their versions.
const KEPT: usize = 1280;

/// Parsed templates by their text, so that an edited, deleted or recreated one is never taken for another.
pub(crate) struct Templates {
    jitp: Cache<Arc<str>, Arc<Template>>,
    fleet: Cache<Arc<str>, Arc<Template>>,
    records: SharedRecords<TemplateRecord>,
    versions: SharedRecords<TemplateVersionRecord>,
}

impl Templates {
    pub(crate) fn new() -> Self {
        Self {
            jitp: Cache::new(KEPT),
            fleet: Cache::new(KEPT),
            records: SharedRecords::new(KEPT),
            versions: SharedRecords::new(KEPT),
        }
    }
    /// The template of a body, for a first connection.
    pub(crate) fn jitp(&self, options: &Options, body: &str) -> Result<Arc<Template>, Problems> {
        cached(&self.jitp, options, TemplateType::Jitp, body)
    }
    /// The template that RegisterThing names, as it is now, and which of its versions that is.
    pub(crate) async fn fleet(
        &self,
        tx: &mut Tx,
        name: &TemplateName,
    ) -> Result<(Arc<TemplateRecord>, Arc<Template>), Cause> {
        let missing = |what: &str| {
            let message = format!("the template {name} {what}: create it with type FLEET_PROVISIONING");
            Cause::new(ReasonCode::TemplateNotFound, message)
        };
        let record = tx.get_shared(name, &self.records).await?.ok_or_else(|| missing("does not exist"))?;
        if record.template_type != TemplateType::FleetProvisioning {
            return Err(missing("is not of type FLEET_PROVISIONING"));
        }
        if !record.enabled {
            let message = format!("the template {name} is not enabled: enable it");
            return Err(Cause::new(ReasonCode::TemplateDisabled, message));
        }
        let number = record.default_version;
        let stored = tx.get_shared(&(name.clone(), number), &self.versions).await?;
        let stored = stored.ok_or_else(|| missing(&format!("has no version {number}")))?;
        let template = cached(&self.fleet, tx.options(), TemplateType::FleetProvisioning, &stored.body)?;
        Ok((record, template))
    }
    /// The template of a CA as it is now: its inline body, or the default version of the one that it names.
    pub(crate) async fn source<'c>(
        &self,
        tx: &mut Tx,
        ca: &'c RegisteredCa,
        config: &'c RegistrationConfig,
    ) -> Source<'c> {
        let ca = ca.record.certificate_id;
        let inline = |body| Source { name: None, version: None, body };
        match (&config.template_name, &config.template_body) {
            (Some(name), _) => {
                let mut version = None;
                let body = self.named(tx, ca, name, &mut version).await;
                Source { name: Some(name.clone()), version, body: body.map(Body::Version) }
            }
            (None, Some(body)) => inline(Ok(Body::Inline(body))),
            (None, None) => {
                let message =
                    format!("the registration configuration of the CA {ca} has no template: set one");
                inline(Err(Cause::new(ReasonCode::TemplateNotFound, message)))
            }
        }
    }

    async fn named(
        &self,
        tx: &mut Tx,
        ca: CertificateId,
        name: &TemplateName,
        version: &mut Option<u32>,
    ) -> Result<Arc<TemplateVersionRecord>, Cause> {
        let missing = |what: &str| {
            let message = format!(
                "the template {name} of the CA {ca} {what}: create it with type JITP, or give the CA another"
            );
            Cause::new(ReasonCode::TemplateNotFound, message)
        };
        let template = tx.get_shared(name, &self.records).await?.ok_or_else(|| missing("does not exist"))?;
        if template.template_type != TemplateType::Jitp {
            return Err(missing("is not of type JITP"));
        }
        let number = *version.insert(template.default_version);
        let stored = tx.get_shared(&(name.clone(), number), &self.versions).await?;
        stored.ok_or_else(|| missing(&format!("has no version {number}")))
    }
}

/// The template of a body, parsed once for its type.
fn cached(
    parsed: &Cache<Arc<str>, Arc<Template>>,
    options: &Options,
    template_type: TemplateType,
    body: &str,
) -> Result<Arc<Template>, Problems> {
    if let Some(template) = parsed.get(body) {
        return Ok(template);
    }
    let template = Arc::new(templates::parse(options, template_type, body)?);
    parsed.put(body.into(), Arc::clone(&template));
    Ok(template)
}

/// Where a CA's template comes from, as far as that could be found out, and its text.
pub(crate) struct Source<'c> {
    pub(crate) name: Option<TemplateName>,
    pub(crate) version: Option<u32>,
    pub(crate) body: Result<Body<'c>, Cause>,
}
/// The text of a template.
pub(crate) enum Body<'c> {
    Inline(&'c str),
    Version(Arc<TemplateVersionRecord>),
}
impl std::ops::Deref for Body<'_> {
    type Target = str;
    fn deref(&self) -> &str {
        match self {
            Self::Inline(body) => body,
            Self::Version(version) => &version.body,
        }
    }
}

impl From<Problems> for Cause {
    /// A stored template was valid once: it was written under other rules.
    fn from(problems: Problems) -> Self {
        let message =
            format!("the stored template does not validate: {problems}; write a valid version of it");
        let json_path = problems.0.into_iter().next().map(|problem| problem.path);
        Self { json_path, ..Self::new(ReasonCode::TemplateInvalid, message) }
    }
}
