//! What the status of a known certificate means for a connection (`spec/jitp.md` sections 4 and 9).
use crate::admission::cause::Cause;
use crate::names::CertificateId;
use crate::reason::ReasonCode;
use crate::records::{CertificateRecord, CertificateStatus};

/// Where a known certificate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It may connect.
    Active,
    /// It was auto-registered by this CA and waits for a template run, or for an operator.
    Pending(CertificateId),
}

/// Reads the status; a certificate that may not connect is refused with its own code.
pub(crate) fn standing(record: &CertificateRecord) -> Result<Standing, Cause> {
    let (reason, message) = match (record.status, record.ca_certificate_id) {
        (CertificateStatus::Active, _) => return Ok(Standing::Active),
        (CertificateStatus::PendingActivation, Some(ca)) => return Ok(Standing::Pending(ca)),
        (CertificateStatus::PendingActivation, None) => (
            ReasonCode::CertificatePendingActivation,
            "the certificate waits for activation: finish its provisioning, or set it to ACTIVE",
        ),
        (CertificateStatus::Inactive, _) => (
            ReasonCode::CertificateInactive,
            "the certificate is INACTIVE: set it to ACTIVE if the device may connect",
        ),
        (CertificateStatus::Revoked, _) => (
            ReasonCode::CertificateRevoked,
            "the certificate is REVOKED for good: give the device a new one if it is yours",
        ),
        (CertificateStatus::PendingTransfer, _) => (
            ReasonCode::CertificatePendingTransfer,
            "the certificate is being transferred: accept, reject or cancel the transfer",
        ),
    };
    Err(Cause::new(reason, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::records::CertificateMode;

    #[test]
    fn every_status_but_active_and_pending_is_refused_with_its_own_code() {
        use CertificateStatus::*;
        let ca = CertificateId::from_bytes([7; 32]);
        for (status, ca_certificate_id, expected) in [
            (Active, Some(ca), Ok(Standing::Active)),
            (Active, None, Ok(Standing::Active)),
            (PendingActivation, Some(ca), Ok(Standing::Pending(ca))),
            (PendingActivation, None, Err(ReasonCode::CertificatePendingActivation)),
            (Inactive, Some(ca), Err(ReasonCode::CertificateInactive)),
            (Revoked, Some(ca), Err(ReasonCode::CertificateRevoked)),
            (PendingTransfer, Some(ca), Err(ReasonCode::CertificatePendingTransfer)),
        ] {
            let record = CertificateRecord {
                certificate_id: CertificateId::from_bytes([1; 32]),
                der: [].into(),
                status,
                mode: CertificateMode::Default,
                ca_certificate_id,
                created_at: Timestamp(0),
                modified_at: Timestamp(0),
                version: 1,
                generation_id: String::new(),
                last_error: None,
                retires: None,
            };
            assert_eq!(standing(&record).map_err(|cause| cause.reason), expected, "{status:?}");
        }
    }
}
