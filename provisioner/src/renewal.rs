//! Renewal: a device whose certificate is ACTIVE asks for the next one, which takes over its things and policies. The old one
//! is retired once the new one has connected, or when the grace period is over.
//!
//! Not AWS's: there, a fleet renews with code of its own.
mod chain;
mod retirement;

pub use chain::RenewalLink;
pub(crate) use chain::RenewalRecord;
pub(crate) use retirement::{connected, retire};

use crate::audit::AuditRecord;
use crate::clock::Timestamp;
use crate::error::RegistryError;
use crate::issuing::expiring::{self, Expiring};
use crate::issuing::{IssuingError, Requester, read_request};
use crate::names::CertificateId;
use crate::numbered_log::sequencer::Ticket;
use crate::provisioner::Provisioner;
use crate::records::{CertificateRecord, CertificateStatus, PolicyTarget};
use crate::registry::certificates::{self, insert_issued};
use crate::registry::{policy_attachments, principals};
use crate::transact::transact;
use crate::tx::Tx;
use jitp_certs::{Certificate, CertificateRequest, DistinguishedName};
use std::collections::BTreeMap;

/// A request for the certificate after the one that a device is connected with.
#[derive(Debug, Clone)]
pub struct Renewal {
    /// The certificate of the connection.
    pub certificate_id: CertificateId,
    /// PKCS#10 in PEM, at most 4,096 characters.
    pub csr: String,
    /// The request must name whom the certificate names (RFC 7030 section 4.2.2).
    pub same_subject: bool,
    /// Of the connection; empty where there is none.
    pub client_id: String,
    /// Where the request comes from.
    pub source_ip: String,
    /// Finds the request in the log.
    pub trace: String,
}

/// The certificate that a device goes on with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewed {
    /// The new certificate, ACTIVE.
    pub certificate: CertificateRecord,
    /// When the old one is retired, even if the new one was never used; `None`: only then.
    pub retires_at: Option<Timestamp>,
}

/// Why a device gets no certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnrollmentError {
    /// The request is not acceptable; the text is for the device's maker.
    #[error("{0}")]
    Invalid(String),
    /// The device may not have one; the text is for the operator.
    #[error("{0}")]
    Forbidden(String),
    /// It may work later; the text is for the operator.
    #[error("{0}")]
    Unavailable(String),
}

impl From<IssuingError> for EnrollmentError {
    fn from(error: IssuingError) -> Self {
        use RegistryError as E;
        match error {
            IssuingError::Request(message) => Self::Invalid(message),
            IssuingError::Issuer(message) | IssuingError::Busy(message) => Self::Unavailable(message),
            IssuingError::Registry(
                error @ (E::NotFound { .. } | E::CertificateState(_) | E::CertificateConflict(_)),
            ) => Self::Forbidden(error.to_string()),
            IssuingError::Registry(error) => Self::Unavailable(error.to_string()),
        }
    }
}

impl Provisioner {
    /// Issues the next certificate of a device: ACTIVE, attached to what the old one is attached to, all in one commit with
    /// the entry in the audit log. Asked again with the same key before the new one has connected, answers the same; with
    /// another key, the one that was never used is set to INACTIVE.
    ///
    /// # Errors
    /// `Request` if the request is not acceptable, `Issuer` if no certificate could be had; `Registry`: `CertificateState` if
    /// the old certificate is not ACTIVE, `NotFound` if it is not registered, `CertificateConflict` if it has been renewed and
    /// the new one was used.
    pub async fn renew(&self, renewal: &Renewal) -> Result<Renewed, IssuingError> {
        let request = read_request(&renewal.csr)?;
        let mut tx = self.registry().begin();
        let old = predecessor(&mut tx, renewal.certificate_id).await?;
        if renewal.same_subject {
            check_subject(&request, &subject(&old)?)?;
        }
        if let Some(renewed) = answered(&mut tx, old.certificate_id, &request).await? {
            return Ok(renewed);
        }
        drop(tx);
        let now = self.clock().now();
        let client_id = Some(renewal.client_id.as_str()).filter(|id| !id.is_empty());
        let requester = Requester { principal: Some(old.certificate_id), client_id };
        let issued = self.inner.issuing.issue(request.clone(), requester, now).await?;
        let grace = self.options().issuing.renewal_grace;
        let retires_at = (!grace.is_zero()).then(|| Timestamp(now.0.saturating_add(expiring::millis(grace))));
        let succession = Succession { renewal, request: &request, issued: &issued, retires_at };
        let (renewed, ticket) = transact!(self.registry(), |tx| self.succeed(tx, &succession))?;
        if ticket.is_some() {
            tracing::info!(
                certificateId = %renewal.certificate_id,
                newCertificateId = %renewed.certificate.certificate_id,
                clientId = renewal.client_id,
                sourceIp = renewal.source_ip,
                traceId = renewal.trace,
                "a device has renewed its certificate"
            );
        }
        Ok(renewed)
    }

    /// The new certificate takes its place beside the old one, unless the same request has been answered meanwhile: the
    /// device may have sent it again on another connection, and have that answer.
    async fn succeed(
        &self,
        tx: &mut Tx,
        succession: &Succession<'_>,
    ) -> Result<(Renewed, Option<Ticket>), RegistryError> {
        let Succession { renewal, request, issued, retires_at } = *succession;
        let old = predecessor(tx, renewal.certificate_id).await?.certificate_id;
        if let Some(renewed) = answered(tx, old, request).await? {
            return Ok((renewed, None));
        }
        if let Some(unused) = waiting(tx, old).await? {
            let unused = CertificateRecord { retires: None, ..unused };
            certificates::change_status(tx, unused, CertificateStatus::Inactive)?;
        }
        let record = insert_issued(tx, issued, CertificateStatus::Active).await?;
        let new = record.certificate_id;
        let certificate = CertificateRecord { retires: Some(old), ..record };
        tx.put(&certificate)?;
        for policy in policy_attachments::policies_of(tx, &PolicyTarget::Certificate(old)).await? {
            policy_attachments::attach(tx, &policy, &PolicyTarget::Certificate(new)).await?;
        }
        for (thing, kind) in principals::things_of(tx, old).await? {
            principals::attach(tx, &thing, new, kind).await?;
        }
        chain::link(tx, old, new, retires_at).await?;
        if let Some(at) = retires_at {
            expiring::enter(tx, at, old, Expiring::Renewed);
        }
        let (ticket, _) = self.audit().records().enter(tx, vec![audited(renewal, new, tx.now())])?;
        Ok((Renewed { certificate, retires_at }, Some(ticket)))
    }
}

/// A certificate that is about to follow another.
struct Succession<'a> {
    renewal: &'a Renewal,
    /// What was asked for.
    request: &'a CertificateRequest,
    /// What was issued.
    issued: &'a Certificate,
    retires_at: Option<Timestamp>,
}

/// What a request with this key was answered before, if its certificate has not been used yet.
async fn answered(
    tx: &mut Tx,
    old: CertificateId,
    request: &CertificateRequest,
) -> Result<Option<Renewed>, RegistryError> {
    let Some(certificate) = waiting(tx, old).await? else { return Ok(None) };
    if request.check_answer(&certificate.parsed()?).is_err() {
        return Ok(None);
    }
    let link: Option<RenewalRecord> = tx.get(&old).await?;
    Ok(Some(Renewed { certificate, retires_at: link.and_then(|link| link.retires_at) }))
}

/// The certificate that is to be renewed.
async fn predecessor(tx: &mut Tx, id: CertificateId) -> Result<CertificateRecord, RegistryError> {
    let record: CertificateRecord = tx.require(&id).await?;
    if record.status != CertificateStatus::Active {
        return Err(RegistryError::CertificateState(format!(
            "certificate {id} is {:?}: only an ACTIVE certificate is renewed",
            record.status
        )));
    }
    let link: Option<RenewalRecord> = tx.get(&id).await?;
    match link.and_then(|link| link.renewed_by) {
        Some(new) if waiting(tx, id).await?.is_none() && is_active(tx, new).await? => {
            Err(RegistryError::CertificateConflict(format!(
                "certificate {id} has been renewed by {new}, which is in use: connect with that one and renew it instead"
            )))
        }
        _ => Ok(record),
    }
}

async fn is_active(tx: &mut Tx, id: CertificateId) -> Result<bool, RegistryError> {
    let record: Option<CertificateRecord> = tx.get(&id).await?;
    Ok(record.is_some_and(|record| record.status == CertificateStatus::Active))
}

/// The certificate that was issued to replace this one and has not connected yet.
async fn waiting(tx: &mut Tx, old: CertificateId) -> Result<Option<CertificateRecord>, RegistryError> {
    let link: Option<RenewalRecord> = tx.get(&old).await?;
    let Some(new) = link.and_then(|link| link.renewed_by) else { return Ok(None) };
    let record: Option<CertificateRecord> = tx.get(&new).await?;
    Ok(record.filter(|new| new.status == CertificateStatus::Active && new.retires == Some(old)))
}

fn check_subject(request: &CertificateRequest, subject: &DistinguishedName) -> Result<(), IssuingError> {
    if request.subject() == subject {
        return Ok(());
    }
    Err(IssuingError::Request(format!(
        "the request names \"{}\", and a renewal must name \"{subject}\" as the certificate does",
        request.subject()
    )))
}

fn subject(record: &CertificateRecord) -> Result<DistinguishedName, RegistryError> {
    Ok(record.parsed()?.subject().clone())
}

fn audited(renewal: &Renewal, new: CertificateId, now: Timestamp) -> AuditRecord {
    let old = renewal.certificate_id;
    AuditRecord {
        sequence: 0,
        timestamp: now,
        access_key_id: format!("cert/{old}"),
        operation: "RenewCertificate".into(),
        resources: BTreeMap::from([
            ("certificateId".into(), old.to_string()),
            ("newCertificateId".into(), new.to_string()),
        ]),
        source_ip: renewal.source_ip.clone(),
        user_agent: None,
        request_id: renewal.trace.clone(),
        error: None,
        duration_micros: 0,
    }
}
