//! Deciding about certificates that registered themselves and wait: JITR's other half (`spec/jitp.md` sections 1 and 5).
use crate::admission::apply::apply;
use crate::admission::cause::Cause;
use crate::admission::parameters;
use crate::attempt::{Attempt, AttemptKind, Outcome};
use crate::error::RegistryError;
use crate::names::{CertificateId, PolicyName, TemplateName, ThingName};
use crate::numbered_log::sequencer::Ticket;
use crate::provisioner::{Inner, Provisioner};
use crate::reason::ReasonCode;
use crate::records::{
    CertificateRecord, CertificateStatus, PolicyTarget, TemplateRecord, TemplateType, TemplateVersionRecord,
};
use crate::registry::{certificates, policy_attachments};
use crate::stored::Stored;
use crate::transact::transact;
use crate::tx::Tx;

/// How a certificate is approved.
#[derive(Debug, Clone, Default)]
pub struct Approval {
    /// A template of type JITP to run, in its default version, as a first connection would.
    pub template: Option<TemplateName>,
    /// Policies to attach.
    pub policies: Vec<PolicyName>,
}

/// What a decision made of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// The certificate as it is now.
    pub certificate: CertificateRecord,
    /// The thing that a template gave it.
    pub thing: Option<ThingName>,
}

impl Provisioner {
    /// Lets a certificate in that waits: ACTIVE, or what the template says, with its things and policies in one commit. A
    /// template's run is recorded as an attempt.
    ///
    /// # Errors
    /// `CertificateState` if it does not wait; `NotFound` for a certificate, template or policy that there is not;
    /// `RegistrationFailure` if the template cannot be carried out for it.
    pub async fn approve_certificate(
        &self,
        id: CertificateId,
        approval: &Approval,
    ) -> Result<Decided, RegistryError> {
        // Kept until the commit is over.
        let mut ticket = None;
        transact!(self.registry(), |tx| approve(&self.inner, tx, id, approval, &mut ticket))
    }

    /// Keeps a certificate out that waits: INACTIVE, or REVOKED, which is for ever.
    ///
    /// # Errors
    /// `CertificateState` if it does not wait, `NotFound` if there is none.
    pub async fn reject_certificate(
        &self,
        id: CertificateId,
        for_ever: bool,
    ) -> Result<Decided, RegistryError> {
        transact!(self.registry(), |tx| reject(tx, id, for_ever))
    }
}

async fn reject(tx: &mut Tx, id: CertificateId, for_ever: bool) -> Result<Decided, RegistryError> {
    let record = waiting(tx, id).await?;
    let status = if for_ever { CertificateStatus::Revoked } else { CertificateStatus::Inactive };
    Ok(Decided { certificate: certificates::change_status(tx, record, status)?, thing: None })
}

async fn approve(
    inner: &Inner,
    tx: &mut Tx,
    id: CertificateId,
    approval: &Approval,
    ticket: &mut Option<Ticket>,
) -> Result<Decided, RegistryError> {
    let mut decided = Decided { certificate: waiting(tx, id).await?, thing: None };
    if let Some(template) = &approval.template {
        decided = run(inner, tx, decided.certificate, template, ticket).await?;
    }
    for policy in &approval.policies {
        policy_attachments::attach(tx, policy, &PolicyTarget::Certificate(id)).await?;
    }
    // A template that says INACTIVE is not overruled.
    if decided.certificate.status == CertificateStatus::PendingActivation {
        decided.certificate =
            certificates::change_status(tx, decided.certificate, CertificateStatus::Active)?;
    }
    Ok(decided)
}

async fn waiting(tx: &mut Tx, id: CertificateId) -> Result<CertificateRecord, RegistryError> {
    let record: CertificateRecord = tx.require(&id).await?;
    match (record.status, record.ca_certificate_id) {
        (CertificateStatus::PendingActivation, Some(_)) => Ok(record),
        (CertificateStatus::PendingActivation, None) => Err(RegistryError::CertificateState(format!(
            "certificate {id} was issued here and waits for its device to register, not for an operator"
        ))),
        (status, _) => Err(RegistryError::CertificateState(format!(
            "certificate {id} is {status:?} and does not wait for a decision: change its status instead"
        ))),
    }
}

/// Runs a template for a certificate, as its first connection would.
async fn run(
    inner: &Inner,
    tx: &mut Tx,
    record: CertificateRecord,
    name: &TemplateName,
    ticket: &mut Option<Ticket>,
) -> Result<Decided, RegistryError> {
    let template: TemplateRecord = tx.require(name).await?;
    if template.template_type != TemplateType::Jitp {
        return Err(RegistryError::InvalidRequest(format!(
            "{} {name} is not of type JITP, which runs with a certificate's fields: name another",
            TemplateRecord::KIND
        )));
    }
    let version: TemplateVersionRecord = tx.require(&(name.clone(), template.default_version)).await?;
    let (id, ca) = (record.certificate_id, record.ca_certificate_id);
    let failed = |cause: Cause| match cause.reason {
        ReasonCode::RegistryUnavailable => RegistryError::Unavailable(cause.message),
        ReasonCode::Internal => RegistryError::Internal(cause.message),
        _ => RegistryError::RegistrationFailure(format!("{}: {}", cause.reason, cause.message)),
    };
    let leaf = record.parsed()?;
    let parsed =
        inner.templates.jitp(tx.options(), &version.body).map_err(|problems| failed(problems.into()))?;
    let values = parameters::bind(&leaf, tx.options().jitp_serial_fallback);
    let plan = parsed.evaluate(&values).map_err(|error| failed(error.into()))?;
    let certificate = apply(tx, &plan, record).await.map_err(failed)?;
    let thing = plan.thing.map(|thing| thing.name);
    let attempt = Attempt {
        sequence: 0,
        kind: AttemptKind::Approval,
        claim_certificate_id: None,
        timestamp: tx.now(),
        outcome: Outcome::Provisioned,
        reason: ReasonCode::Provisioned,
        message: format!(
            "an operator approved the certificate with the template {name}; nothing is left to do"
        ),
        certificate_id: Some(id),
        ca_certificate_id: ca,
        subject: Some(leaf.subject().to_string()),
        client_id: None,
        source_ip: String::new(),
        source_port: 0,
        server_name: None,
        template_name: Some(name.clone()),
        template_version: Some(version.version),
        parameters: parameters::declared(&parsed, &values),
        thing_name: thing.clone(),
        failing_resource: None,
        json_path: None,
        duration_micros: 0,
    };
    if let Some(thing) = &thing {
        tx.made("thingName", thing);
    }
    *ticket = Some(inner.attempts.enter(tx, attempt)?);
    Ok(Decided { certificate, thing })
}
