//! The certificate that a connection presents, before anything is looked up.
use crate::admission::Presentation;
use crate::admission::cause::Cause;
use crate::reason::ReasonCode;
use jitp_certs::{Certificate, CertificateId, ValidityError};

/// The leaf that is presented, parsed. Its id is known even when it does not parse.
pub(crate) fn parse(presentation: &Presentation<'_>) -> Result<Certificate, (Option<CertificateId>, Cause)> {
    let Some(leaf) = presentation.chain.first() else {
        let message = "the client offered no certificate: configure the device with its certificate and key";
        return Err((None, Cause::new(ReasonCode::NotAuthenticated, message)));
    };
    if let Some(parsed) = presentation.leaf.filter(|parsed| parsed.der() == *leaf) {
        return Ok(parsed.clone());
    }
    Certificate::from_der(leaf).map_err(|error| {
        let message =
            format!("the device's certificate cannot be read ({error}): issue it a well-formed one");
        (Some(CertificateId::of_der(leaf)), Cause::new(ReasonCode::CertificateMalformed, message))
    })
}

/// Algorithms and validity (`spec/jitp.md` section 8): what fails here is never registered and never let in.
pub(crate) fn check(leaf: &Certificate, now: i64) -> Result<(), Cause> {
    leaf.check_algorithms().map_err(|error| {
        let message = format!("{error}: issue the device a certificate with accepted algorithms");
        Cause::new(ReasonCode::CertificateAlgorithmRefused, message)
    })?;
    leaf.check_validity(now).map_err(|error| {
        let (reason, advice) = match error {
            ValidityError::NotYetValid { .. } => (
                ReasonCode::CertificateNotYetValid,
                "check the clock of the factory that issued it, and the broker's",
            ),
            ValidityError::Expired { .. } => (
                ReasonCode::CertificateExpired,
                "renew the device's certificate, or check the broker's clock",
            ),
        };
        Cause::new(reason, format!("{error}, and the broker's clock says {now}: {advice}"))
    })
}
