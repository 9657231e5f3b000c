//! RegisterThing over the REST API: a template and its values become resources in one commit (`spec/control-plane.md`
//! section 4, `spec/templates.md`).
use crate::admission::apply::{apply, apply_without_certificate};
use crate::admission::cause::Cause;
use crate::arn::ResourceKind;
use crate::clock::Timestamp;
use crate::error::RegistryError;
use crate::issuing::{Issuing, IssuingError};
use crate::names::CertificateId;
use crate::provisioner::Provisioner;
use crate::reason::ReasonCode;
use crate::records::{CertificateRecord, CertificateStatus};
use crate::registry::{RegisterCertificate, certificates, templates};
use crate::transact::transact;
use crate::tx::Tx;
use jitp_certs::Certificate;
use jitp_templates::{Caller, CertificatePlan, CertificateSource, Plan};
use std::collections::BTreeMap;

/// What RegisterThing brought about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RegisteredThing {
    /// The certificate, where the template has one.
    pub certificate_pem: Option<String>,
    /// Kind and name of each resource, by its logical name in the template.
    pub resources: BTreeMap<String, (ResourceKind, String)>,
}

impl Provisioner {
    /// RegisterThing: all of the template's resources or none.
    ///
    /// # Errors
    /// `InvalidRequest` when the template does not validate, `ConflictingUpdate` when an override forbids a change,
    /// `RegistrationFailure` when it cannot be carried out with these values, with the resource that failed.
    pub async fn register_thing(
        &self,
        template_body: &str,
        parameters: &BTreeMap<String, String>,
    ) -> Result<RegisteredThing, RegistryError> {
        let template =
            templates::parse_for(self.options(), Caller::Rest, template_body).map_err(|problems| {
                RegistryError::InvalidRequest(format!(
                    "templateBody: the template body is invalid: {problems}"
                ))
            })?;
        let plan = template.evaluate(parameters).map_err(|error| {
            RegistryError::RegistrationFailure(format!(
                "the template cannot be evaluated with these parameters: {error}"
            ))
        })?;
        let signed = signed(&self.inner.issuing, &plan, self.clock().now()).await;
        let signed = signed.map_err(|error| not_signed(&plan, error))?;
        transact!(self.registry(), |tx| carry_out(tx, &plan, signed.as_ref()))
    }
}

/// The certificate of a plan that names a certificate signing request: signed before the unit of work, which may be done
/// anew, and registered in it.
pub(crate) async fn signed(
    issuing: &Issuing,
    plan: &Plan,
    now: Timestamp,
) -> Result<Option<Certificate>, IssuingError> {
    match plan.certificate.as_ref().map(|certificate| &certificate.source) {
        Some(CertificateSource::SigningRequest(csr)) => issuing.sign(csr, now).await.map(Some),
        _ => Ok(None),
    }
}

/// Why there is no certificate, to who asked.
pub(crate) fn not_signed(plan: &Plan, error: IssuingError) -> RegistryError {
    let name = plan.certificate.as_ref().map(|certificate| certificate.logical_name.as_str());
    let property = "Properties.CertificateSigningRequest";
    match error {
        IssuingError::Registry(error) => error,
        IssuingError::Request(message) | IssuingError::Issuer(message) | IssuingError::Busy(message) => {
            refused(Cause::at(ReasonCode::InvalidValue, name.unwrap_or_default(), property, message))
        }
    }
}

/// Brings about what a plan says, in a unit of work that must be dropped after an error; with the certificate that was
/// [`signed`] for it.
pub(crate) async fn carry_out(
    tx: &mut Tx,
    plan: &Plan,
    signed: Option<&Certificate>,
) -> Result<RegisteredThing, RegistryError> {
    let mut registered = RegisteredThing::default();
    if let Some(certificate) = &plan.certificate {
        let record = bring_certificate(tx, certificate, signed).await?;
        let record = apply(tx, plan, record).await.map_err(refused)?;
        let id = record.certificate_id.to_string();
        registered.resources.insert(certificate.logical_name.clone(), (ResourceKind::Certificate, id));
        tx.made("certificateId", record.certificate_id);
        registered.certificate_pem = Some(record.pem());
    } else {
        apply_without_certificate(tx, plan).await.map_err(refused)?;
    }
    if let Some(thing) = &plan.thing {
        let resource = (ResourceKind::Thing, thing.name.to_string());
        tx.made("thingName", &thing.name);
        registered.resources.insert(thing.logical_name.clone(), resource);
    }
    for policy in &plan.policies {
        let resource = (ResourceKind::Policy, policy.name.to_string());
        registered.resources.insert(policy.logical_name.clone(), resource);
    }
    Ok(registered)
}

/// The certificate that the template names: one that is known, or one to register.
async fn bring_certificate(
    tx: &mut Tx,
    plan: &CertificatePlan,
    signed: Option<&Certificate>,
) -> Result<CertificateRecord, RegistryError> {
    let failed = |property: &str, message: String| {
        refused(Cause::at(ReasonCode::InvalidValue, &plan.logical_name, property, message))
    };
    match &plan.source {
        CertificateSource::Id(id) => {
            let property = "Properties.CertificateId";
            let id: CertificateId =
                id.parse().map_err(|error| failed(property, format!("it is no certificate id: {error}")))?;
            let record = tx.get(&id).await?;
            record.ok_or_else(|| {
                failed(property, format!("certificate {id} does not exist: register it first"))
            })
        }
        CertificateSource::Pem { certificate, ca_certificate } => {
            let property = "Properties.CertificatePem";
            let read = Certificate::from_pem(certificate)
                .map_err(|error| failed(property, format!("the certificate cannot be used: {error}")))?;
            if let Some(known) = tx.get::<CertificateRecord>(&read.id()).await? {
                return Ok(known);
            }
            let request = RegisterCertificate {
                certificate: certificate.clone(),
                of_ca: true,
                ca_certificate: ca_certificate.clone(),
                status: status(plan),
            };
            certificates::register(tx, &request).await.map_err(|error| match error {
                failure @ (RegistryError::Unavailable(_) | RegistryError::Internal(_)) => failure,
                error => failed(property, error.to_string()),
            })
        }
        CertificateSource::SigningRequest(_) => {
            let signed = signed.ok_or_else(|| {
                RegistryError::Internal(
                    "a certificate signing request was not signed before it was needed".into(),
                )
            })?;
            certificates::insert_issued(tx, signed, status(plan)).await
        }
    }
}

/// The status that a new certificate has.
fn status(plan: &CertificatePlan) -> CertificateStatus {
    match plan.status {
        Some(jitp_templates::CertificateStatus::Inactive) => CertificateStatus::Inactive,
        _ => CertificateStatus::Active,
    }
}

/// A cause as the answer to who asked.
fn refused(cause: Cause) -> RegistryError {
    match cause.reason {
        ReasonCode::RegistryUnavailable => RegistryError::Unavailable(cause.message),
        ReasonCode::Internal => RegistryError::Internal(cause.message),
        ReasonCode::ResourceConflict => RegistryError::ConflictingUpdate(cause.message),
        _ => RegistryError::RegistrationFailure(format!("{}: {}", cause.reason, cause.message)),
    }
}
