//! Which registered CA issued a certificate, and may it register new ones (`spec/jitp.md` section 3)?
use crate::admission::cause::Cause;
use crate::reason::ReasonCode;
use crate::records::{CaCertificateRecord, CaStatus};
use jitp_certs::{Certificate, CertificateId, issued_by};
use std::cmp::Reverse;
use std::sync::Arc;

/// A registered CA with its parsed certificate.
#[derive(Debug, Clone)]
pub(crate) struct RegisteredCa {
    pub(crate) record: Arc<CaCertificateRecord>,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::records::CertificateMode;
    use jitp_certs::{Attribute, Authority, KeyKind, LeafRequest, Validity};
    use std::collections::BTreeMap;

    const NOW: i64 = 1_767_225_600;
    const VALID: Validity = Validity { not_before: NOW - 1000, not_after: NOW + 1000 };

    fn authority() -> Authority {
        Authority::create(&[(Attribute::CommonName, "Plant".into())], VALID, KeyKind::EcP256).unwrap()
    }
    /// Another certificate of the same CA key.
    fn reissued(ca: &Authority, validity: Validity) -> Authority {
        let subject = [(Attribute::CommonName, "Plant".into())];
        Authority::create_for_key(&subject, validity, ca.private_key().expose()).unwrap()
    }
    fn leaf(ca: &Authority) -> Certificate {
        let subject = vec![(Attribute::CommonName, "pump-1".into())];
        let request = LeafRequest { subject, validity: VALID, key: KeyKind::EcP256 };
        ca.issue_device(&request).unwrap().certificate
    }
    fn registered(
        ca: &Authority,
        status: CaStatus,
        auto_registration: bool,
        created_at: u64,
    ) -> RegisteredCa {
        let certificate = ca.certificate().clone();
        let record = CaCertificateRecord {
            certificate_id: certificate.id(),
            pem: certificate.to_pem(),
            status,
            auto_registration,
            mode: CertificateMode::Default,
            registration_config: None,
            created_at: Timestamp(created_at),
            modified_at: Timestamp(created_at),
            version: 1,
            generation_id: String::new(),
            runs_per_second: None,
            total_runs: None,
            tags: BTreeMap::new(),
        };
        RegisteredCa { record: Arc::new(record), certificate }
    }
    fn chosen(
        leaf: &Certificate,
        candidates: &[RegisteredCa],
        sent: &[CertificateId],
    ) -> Result<u64, ReasonCode> {
        let ca = choose(leaf, candidates, sent, NOW).map_err(|cause| cause.reason)?;
        may_register(ca, NOW).map_err(|cause| cause.reason)?;
        Ok(ca.record.created_at.0)
    }

    #[test]
    fn only_the_key_that_signed_counts_never_the_name() {
        let (ours, other) = (authority(), authority());
        let device = leaf(&ours);
        let active = |ca: &Authority, at| registered(ca, CaStatus::Active, true, at);
        assert_eq!(chosen(&device, &[], &[]), Err(ReasonCode::CertificateNotRegistered));
        assert_eq!(chosen(&device, &[active(&other, 1)], &[]), Err(ReasonCode::IssuerImpostor));
        let sent = [other.certificate().id()];
        assert_eq!(chosen(&device, &[active(&other, 1)], &sent), Err(ReasonCode::IssuerImpostor));
        assert_eq!(chosen(&device, &[active(&other, 2), active(&ours, 1)], &sent), Ok(1));
    }

    #[test]
    fn of_two_with_one_key_the_one_that_may_register_comes_first_then_what_was_sent_then_the_newest() {
        let first = authority();
        let second = reissued(&first, Validity { not_before: NOW - 500, not_after: NOW + 5000 });
        let expired = reissued(&first, Validity { not_before: NOW - 500, not_after: NOW - 1 });
        let device = leaf(&first);
        let of = |ca: &Authority, status, auto, at| registered(ca, status, auto, at);
        let (active, inactive) = (CaStatus::Active, CaStatus::Inactive);
        let both = [of(&first, active, true, 1), of(&second, active, true, 2)];
        assert_eq!(chosen(&device, &both, &[]), Ok(2));
        assert_eq!(chosen(&device, &both, &[first.certificate().id()]), Ok(1));
        let one_inactive = [of(&first, active, true, 1), of(&second, inactive, true, 2)];
        assert_eq!(chosen(&device, &one_inactive, &[second.certificate().id()]), Ok(1));
        let one_expired = [of(&first, active, true, 1), of(&expired, active, true, 2)];
        assert_eq!(chosen(&device, &one_expired, &[]), Ok(1));
        for (ca, reason) in [
            (of(&first, inactive, true, 1), ReasonCode::CaInactive),
            (of(&first, active, false, 1), ReasonCode::CaAutoRegistrationDisabled),
            (of(&expired, active, true, 1), ReasonCode::CaExpired),
        ] {
            assert_eq!(chosen(&device, &[ca], &[]), Err(reason));
        }
    }
}
