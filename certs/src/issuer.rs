//! Who issued a certificate.
use crate::extensions::Claim;
use crate::{Certificate, CertificateError, CertificateErrorKind};

/// Why a CA is not the issuer of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IssuerError {
    /// The names differ in their DER bytes.
    #[error("the issuer name is not the CA's subject")]
    NameMismatch,
    /// Both have a key identifier and they differ: another key of a CA with the same name.
    #[error("the authority key identifier is not the CA's")]
    KeyIdentifierMismatch,
    /// The signature or the CA's key is of a kind that `spec/jitp.md` section 8 refuses.
    #[error("the signature algorithm is not supported (SHA-1 and MD5 are refused)")]
    UnsupportedAlgorithm,
    /// Another key made the signature, or the certificate was changed after it was signed.
    #[error("the signature does not verify under the CA's key")]
    BadSignature,
}

/// Did the key of `ca` sign `leaf`? Compares names and key identifiers, then verifies the signature.
///
/// Validity of either is not looked at, nor whether `ca` may issue: see [`check_issuing_ca`]. Costs one
/// signature verification; neither certificate is read again.
///
/// # Errors
/// The first of the four steps that fails, in the order of [`IssuerError`].
pub fn issued_by(leaf: &Certificate, ca: &Certificate) -> Result<(), IssuerError> {
    if leaf.issuer().der() != ca.subject().der() {
        return Err(IssuerError::NameMismatch);
    }
    if let (Some(wanted), Some(own)) = (leaf.authority_key_identifier(), ca.subject_key_identifier())
        && wanted != own
    {
        return Err(IssuerError::KeyIdentifierMismatch);
    }
    ca.verify(leaf.signature_algorithm(), leaf.to_be_signed(), leaf.signature())
}

/// May this certificate be registered as a CA: v3, cA=TRUE, keyCertSign where keyUsage is present, algorithms.
/// Validity is not checked here.
///
/// # Errors
/// [`CertificateErrorKind::NotACa`] or [`CertificateErrorKind::UnsupportedAlgorithm`], saying which of these.
pub fn check_issuing_ca(ca: &Certificate) -> Result<(), CertificateError> {
    let not_a_ca = |message: &str| Err(CertificateError::new(CertificateErrorKind::NotACa, message));
    if ca.version() != 3 {
        return not_a_ca(&format!("a CA certificate must be X.509 v3, this one is v{}", ca.version()));
    }
    match ca.extensions().is_ca {
        Claim::Says(true) => {}
        Claim::Says(false) => {
            return not_a_ca(
                "not a CA certificate: basicConstraints says cA=FALSE; is this a device's certificate?",
            );
        }
        Claim::Absent => {
            return not_a_ca("not a CA certificate: it has no basicConstraints with cA=TRUE");
        }
        Claim::Malformed => return not_a_ca("not a CA certificate: its basicConstraints cannot be read"),
    }
    match ca.extensions().may_sign_certificates {
        Claim::Absent | Claim::Says(true) => {}
        Claim::Says(false) => {
            return not_a_ca("this CA certificate may not issue others: its keyUsage lacks keyCertSign");
        }
        Claim::Malformed => return not_a_ca("not a usable CA certificate: its keyUsage cannot be read"),
    }
    ca.check_algorithms()
}
