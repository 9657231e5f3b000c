//! RegisterThing over MQTT, in the order of `spec/fleet-provisioning.md` section 5: token, template, hook, run, answer.
use super::answered::{self, Answered};
use super::hook::{self, Question};
use super::{FleetRefusal, RegisterDevice, RegisteredDevice, parameters, report};
use crate::admission::apply::apply;
use crate::admission::cause::Cause;
use crate::arn::ResourceKind;
use crate::attempt::{Attempt, AttemptKind, Outcome};
use crate::error::RegistryError;
use crate::issuing::{Ownership, OwnershipTokenError};
use crate::names::{CertificateId, TemplateName};
use crate::provisioner::{Inner, Provisioner};
use crate::reason::ReasonCode;
use crate::records::{CertificateRecord, TemplateRecord};
use crate::store::StoreError;
use crate::tx::Tx;
use jitp_templates::{Parameters, Plan, Template};
use std::sync::Arc;
use std::time::Instant;

/// How often a run starts over because others changed what it had read. Each time somebody else has made progress.
const MOST_TRIES: u32 = 100;
/// How often a run starts over because what it had read does not fit together.
const MOST_TORN: u32 = 4;
/// Most characters of a client id that an attempt keeps.
const TEXT_KEPT: usize = 256;

/// Provisions, or says why not.
pub(crate) async fn register(
    inner: &Arc<Inner>,
    request: &RegisterDevice<'_>,
) -> Result<RegisteredDevice, FleetRefusal> {
    let mut run = Run { inner, request, began: Instant::now(), found: Found::default() };
    let answer = run.steps().await;
    answer.map_err(|cause| {
        let attempt = run.refused(&cause);
        report::run(&inner.fleet, &attempt, run.found.template.is_some());
        inner.attempts.enter_later(attempt);
        FleetRefusal::from(cause)
    })
}

/// Records what was refused before it came to a run.
pub(crate) fn refuse(inner: &Arc<Inner>, request: &RegisterDevice<'_>, refusal: &FleetRefusal) {
    let run = Run { inner, request, began: Instant::now(), found: Found::default() };
    let attempt = run.refused(&refusal.cause);
    report::run(&inner.fleet, &attempt, false);
    inner.attempts.enter_later(attempt);
}

struct Run<'a> {
    inner: &'a Arc<Inner>,
    request: &'a RegisterDevice<'a>,
    began: Instant,
    found: Found,
}

/// What has been found out so far, for the attempt.
#[derive(Default)]
struct Found {
    certificate: Option<CertificateId>,
    template: Option<Arc<TemplateRecord>>,
    parameters: Parameters,
}

/// Why one try of a commit ended without an answer.
enum Halt {
    /// What was read has been changed meanwhile: decide again.
    Again,
    Stop(Cause),
}

impl Run<'_> {
    async fn steps(&mut self) -> Result<RegisteredDevice, Cause> {
        let ownership = self.ownership().await?;
        self.found.certificate = Some(ownership.certificate_id);
        let name = TemplateName::new(self.request.template).map_err(|error| {
            let message = format!("no template can have the name {:?}: {error}", cut(self.request.template));
            Cause::new(ReasonCode::TemplateNotFound, message)
        })?;
        let mut tx = self.inner.registry.begin();
        let certificate = match self.look_up(&mut tx, ownership, &name).await? {
            Known::Answered(device) => return Ok(device),
            Known::Waiting(certificate) => certificate,
        };
        let (record, template) = self.inner.templates.fleet(&mut tx, &name).await?;
        self.found.template = Some(Arc::clone(&record));
        drop(tx);

        parameters::check(&self.request.parameters)
            .map_err(|why| Cause::new(ReasonCode::InvalidValue, format!("parameters: {why}")))?;
        let sent = parameters::sent(self.request.parameters.clone());
        self.found.parameters = of_template(&template, &sent);
        let overrides = self.ask_hook(&record, &certificate, &sent).await?;
        let values = parameters::of_run(&sent, overrides, ownership.certificate_id);
        self.found.parameters = of_template(&template, &values);
        let plan = template.evaluate(&values)?;
        self.carry_out(ownership, &name, &plan).await
    }

    async fn ownership(&self) -> Result<Ownership, Cause> {
        let provisioner = Provisioner::of(Arc::clone(self.inner));
        let now = self.inner.registry.clock().now();
        provisioner.check_ownership_token(self.request.ownership_token, now).await.map_err(
            |error| match error {
                OwnershipTokenError::Registry(error) => error.into(),
                error => Cause::new(ReasonCode::OwnershipTokenInvalid, error.to_string()),
            },
        )
    }

    /// Where the token's certificate stands.
    async fn look_up(&self, tx: &mut Tx, ownership: Ownership, name: &TemplateName) -> Result<Known, Cause> {
        let invalid = |message: String| Cause::new(ReasonCode::OwnershipTokenInvalid, message);
        let id = ownership.certificate_id;
        if let Some(answered) = answered::find(tx, ownership).await? {
            if answered.template == *name {
                return Ok(Known::Answered(answered.into_device()));
            }
            let message = format!(
                "the ownership token of certificate {id} was used with template {} already: a certificate is provisioned \
                 once; the device needs a new one for template {name}",
                answered.template
            );
            return Err(invalid(message));
        }
        tx.get(&id).await?.map(Known::Waiting).ok_or_else(|| {
            invalid(format!("certificate {id} of the ownership token is gone: the device needs a new one"))
        })
    }

    async fn ask_hook(
        &self,
        template: &TemplateRecord,
        certificate: &CertificateRecord,
        sent: &Parameters,
    ) -> Result<Parameters, Cause> {
        let Some(hook) = &template.hook else { return Ok(Parameters::new()) };
        let arn = self.inner.registry.begin().arn(ResourceKind::ProvisioningTemplate, template.name.as_str());
        let question = Question {
            claim_certificate_id: self.request.claim,
            certificate_id: certificate.certificate_id,
            certificate_pem: &certificate.pem(),
            template_arn: &arn.to_string(),
            client_id: self.request.client_id,
            parameters: sent,
        };
        hook::ask(&self.inner.registry.options().callbacks, hook, &question).await
    }

    /// One commit of everything, or nothing.
    async fn carry_out(
        &self,
        ownership: Ownership,
        name: &TemplateName,
        plan: &Plan,
    ) -> Result<RegisteredDevice, Cause> {
        let mut torn = 0;
        for _ in 0..MOST_TRIES {
            match self.once(ownership, name, plan).await {
                Ok(device) => return Ok(device),
                Err(Halt::Again) => {}
                Err(Halt::Stop(cause)) => {
                    // Two reads are not one snapshot: what does not fit together may have been seen between two commits.
                    torn += u32::from(cause.reason == ReasonCode::Internal);
                    if !(1..MOST_TORN).contains(&torn) {
                        return Err(cause);
                    }
                }
            }
            tokio::task::yield_now().await;
        }
        let message = "others kept changing the resources of this run: the device succeeds when it retries";
        Err(Cause::new(ReasonCode::ProvisioningTimeout, message))
    }

    async fn once(
        &self,
        ownership: Ownership,
        name: &TemplateName,
        plan: &Plan,
    ) -> Result<RegisteredDevice, Halt> {
        let mut tx = self.inner.registry.begin();
        let certificate = match self.look_up(&mut tx, ownership, name).await? {
            Known::Answered(device) => return Ok(device),
            Known::Waiting(certificate) => certificate,
        };
        apply(&mut tx, plan, certificate).await?;
        let device = RegisteredDevice {
            thing_name: plan.thing.as_ref().map(|thing| thing.name.clone()),
            device_configuration: plan.device_configuration.clone(),
        };
        answered::keep(&mut tx, ownership, &Answered::new(name.clone(), device.clone()))?;
        let attempt = self.provisioned(&device);
        let _ticket = self.inner.attempts.enter(&mut tx, attempt.clone())?;
        tx.commit().await?;
        report::run(&self.inner.fleet, &attempt, true);
        Ok(device)
    }

    fn provisioned(&self, device: &RegisteredDevice) -> Attempt {
        let thing = device.thing_name.as_ref().map_or_else(String::new, |name| format!(" as thing {name}"));
        let message = format!("the device was provisioned{thing} by RegisterThing; nothing is left to do");
        let attempt = self.attempt(Outcome::Provisioned, ReasonCode::Provisioned, message);
        Attempt { thing_name: device.thing_name.clone(), ..attempt }
    }

    fn refused(&self, cause: &Cause) -> Attempt {
        Attempt {
            failing_resource: cause.resource.clone(),
            json_path: cause.json_path.clone(),
            ..self.attempt(Outcome::Refused, cause.reason, cause.message.clone())
        }
    }

    /// The sequence is given by the log.
    fn attempt(&self, outcome: Outcome, reason: ReasonCode, message: String) -> Attempt {
        let named = || TemplateName::new(self.request.template).ok();
        Attempt {
            sequence: 0,
            timestamp: self.inner.registry.clock().now(),
            kind: AttemptKind::Fleet,
            outcome,
            reason,
            message,
            certificate_id: self.found.certificate,
            ca_certificate_id: None,
            claim_certificate_id: Some(self.request.claim),
            subject: None,
            client_id: Some(cut(self.request.client_id)),
            source_ip: self.request.source.ip().to_string(),
            source_port: self.request.source.port(),
            server_name: None,
            template_name: self.found.template.as_ref().map(|template| template.name.clone()).or_else(named),
            template_version: self.found.template.as_ref().map(|template| template.default_version),
            parameters: self.found.parameters.clone(),
            thing_name: None,
            failing_resource: None,
            json_path: None,
            duration_micros: u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX),
        }
    }
}

/// What a token's certificate is.
enum Known {
    /// Provisioned: this was the answer.
    Answered(RegisteredDevice),
    /// Not provisioned by RegisterThing yet.
    Waiting(CertificateRecord),
}

/// The values that the template declares or refers to; a device may send what it likes, and an attempt does not keep that.
fn of_template(template: &Template, values: &Parameters) -> Parameters {
    let names = template.parameters().map(|(name, _)| name).chain(template.references());
    names.filter_map(|name| Some((name.to_owned(), values.get(name)?.clone()))).collect()
}

fn cut(text: &str) -> String {
    text.chars().take(TEXT_KEPT).collect()
}

impl From<Cause> for Halt {
    fn from(cause: Cause) -> Self {
        Self::Stop(cause)
    }
}
impl From<RegistryError> for Halt {
    fn from(error: RegistryError) -> Self {
        Self::Stop(error.into())
    }
}
impl From<StoreError> for Halt {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict => Self::Again,
            error => Self::Stop(RegistryError::from(error).into()),
        }
    }
}
