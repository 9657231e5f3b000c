//! Which registered CA issued a certificate, and may it register new ones (`spec/jitp.md` section 3)?
use crate::admission::cause::Cause;
use crate::reason::ReasonCode;
use crate::records::{CaCertificateRecord, CaStatus};
use jitp_certs::{Certificate, CertificateId, issued_by};
use std::cmp::Reverse;

/// A registered CA with its parsed certificate.
#[derive(Debug, Clone)]
pub(crate) struct RegisteredCa {
    pub(crate) record: CaCertificateRecord,
    pub(crate) certificate: Certificate,
}

/// Among the CAs that have the leaf's issuer as subject, the one whose key signed the leaf. Several may have the same
/// key: those that may register come first, then what the client itself sent, then the newest. A DN alone never
/// decides, and a CA in the client's chain counts only because it is registered.
pub(crate) fn choose<'a>(
    leaf: &Certificate,
    candidates: &'a [RegisteredCa],
    sent: &[CertificateId],
    now: i64,
) -> Result<&'a RegisteredCa, Cause> {
    if candidates.is_empty() {
        let message = format!(
            "the certificate is not registered, and no registered CA has the subject \"{}\": register the \
             certificate that directly signed it",
            leaf.issuer()
        );
        return Err(Cause::new(ReasonCode::CertificateNotRegistered, message));
    }
    let mut ordered: Vec<&RegisteredCa> = candidates.iter().collect();
    ordered.sort_by_key(|ca| {
        let id = ca.record.certificate_id;
        (may_register(ca, now).is_err(), !sent.contains(&id), Reverse(ca.record.created_at), id)
    });
    let issuer =
        ordered.into_iter().find(|ca| issued_by(leaf, &ca.certificate).is_ok()).ok_or_else(|| {
            let message = format!(
                "{} registered CA certificate(s) have the subject \"{}\", but none of their keys signed this \
             certificate: register the right one if it is yours, otherwise someone imitates your CA",
                candidates.len(),
                leaf.issuer()
            );
            Cause::new(ReasonCode::IssuerImpostor, message)
        })?;
    Ok(issuer)
}

/// May this CA register and provision now?
pub(crate) fn may_register(ca: &RegisteredCa, now: i64) -> Result<(), Cause> {
    let id = ca.record.certificate_id;
    if ca.record.status != CaStatus::Active {
        let message = format!("the issuing CA {id} is INACTIVE: set it to ACTIVE if its devices may join");
        return Err(Cause::new(ReasonCode::CaInactive, message));
    }
    if !ca.record.auto_registration {
        let message = format!(
            "auto-registration of the issuing CA {id} is disabled: enable it, or register the certificate by hand"
        );
        return Err(Cause::new(ReasonCode::CaAutoRegistrationDisabled, message));
    }
    ca.certificate.check_validity(now).map_err(|error| {
        let message = format!(
            "the issuing CA {id} registers nothing new, {error}: register the CA's renewed certificate"
        );
        Cause::new(ReasonCode::CaExpired, message)
    })
}
