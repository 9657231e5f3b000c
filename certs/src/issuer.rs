//! Who issued a certificate.
use crate::{Certificate, CertificateError};

/// Why a CA is not the issuer of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum IssuerError {
    #[error("the issuer name is not the CA's subject")]
    NameMismatch,
    #[error("the authority key identifier is not the CA's")]
    KeyIdentifierMismatch,
    #[error("the signature algorithm is not supported (SHA-1 and MD5 are refused)")]
    UnsupportedAlgorithm,
    #[error("the signature does not verify under the CA's key")]
    BadSignature,
}

/// Did the key of `ca` sign `leaf`? Compares names and key identifiers, then verifies the signature.
pub fn issued_by(_leaf: &Certificate, _ca: &Certificate) -> Result<(), IssuerError> {
    unimplemented!()
}

/// May this certificate be registered as a CA: v3, cA=TRUE, keyCertSign where keyUsage is present, algorithms.
/// Validity is not checked here.
pub fn check_issuing_ca(_ca: &Certificate) -> Result<(), CertificateError> {
    unimplemented!()
}
