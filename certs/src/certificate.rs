//! One X.509 certificate, parsed once.
use crate::{CertificateId, DistinguishedName};
use std::sync::Arc;

/// A parsed certificate. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Certificate {
    inner: Arc<Parsed>,
}
#[derive(Debug)]
struct Parsed {
    der: Vec<u8>,
    id: CertificateId,
    subject: DistinguishedName,
    issuer: DistinguishedName,
}

/// Why bytes or text are not a usable certificate: what is wrong and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CertificateError(String);

/// `notBefore` and `notAfter`, inclusive, in seconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Validity {
    pub not_before: i64,
    pub not_after: i64,
}
/// A certificate outside its validity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum ValidityError {
    #[error("the certificate is not valid before {not_before}")]
    NotYetValid { not_before: i64 },
    #[error("the certificate expired after {not_after}")]
    Expired { not_after: i64 },
}
/// Key types, `spec/jitp.md` section 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum KeyAlgorithm {
    Rsa { bits: usize },
    RsaPss { bits: usize },
    EcP256,
    EcP384,
    EcP521,
    Unsupported,
}
/// Signature types, `spec/jitp.md` section 8. `Unsupported` covers MD5, SHA-1, DSA, EdDSA and the unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum SignatureAlgorithm {
    RsaPkcs1Sha256,
    RsaPkcs1Sha384,
    RsaPkcs1Sha512,
    RsaPssSha256,
    RsaPssSha384,
    RsaPssSha512,
    EcdsaSha256,
    EcdsaSha384,
    EcdsaSha512,
    Unsupported,
}
/// One subject or issuer alternative name, as text.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum AlternativeName {
    Rfc822Name(String),
    DnsName(String),
    DirectoryName(String),
    UniformResourceIdentifier(String),
    IpAddress(String),
}

impl Certificate {
    /// Any X.509 v1..v3 certificate; nothing may follow it.
    pub fn from_der(_der: &[u8]) -> Result<Self, CertificateError> {
        unimplemented!()
    }
    /// Exactly one `CERTIFICATE` block; text around it is ignored; at most 65,536 characters.
    pub fn from_pem(_pem: &str) -> Result<Self, CertificateError> {
        unimplemented!()
    }
    /// DER bytes.
    pub fn der(&self) -> &[u8] {
        &self.inner.der
    }
    /// PEM text, 64 columns, ends with a line feed.
    pub fn to_pem(&self) -> String {
        unimplemented!()
    }
    /// The certificate id.
    pub fn id(&self) -> CertificateId {
        self.inner.id
    }
    /// Subject.
    pub fn subject(&self) -> &DistinguishedName {
        &self.inner.subject
    }
    /// Issuer.
    pub fn issuer(&self) -> &DistinguishedName {
        &self.inner.issuer
    }
    /// Subject alternative names of the kinds that policies know.
    pub fn subject_alternative_names(&self) -> &[AlternativeName] {
        unimplemented!()
    }
    /// Issuer alternative names of the kinds that policies know.
    pub fn issuer_alternative_names(&self) -> &[AlternativeName] {
        unimplemented!()
    }
    /// X.509 serial number, lower-case hex, no leading zeros beyond one digit pair.
    pub fn serial_number(&self) -> &str {
        unimplemented!()
    }
    /// X.509 version, 1 to 3.
    pub fn version(&self) -> u32 {
        unimplemented!()
    }
    /// Validity.
    pub fn validity(&self) -> Validity {
        unimplemented!()
    }
    /// Is `now` (Unix seconds) inside the validity?
    pub fn check_validity(&self, _now: i64) -> Result<(), ValidityError> {
        unimplemented!()
    }
    /// Key type.
    pub fn key_algorithm(&self) -> KeyAlgorithm {
        unimplemented!()
    }
    /// Signature type.
    pub fn signature_algorithm(&self) -> SignatureAlgorithm {
        unimplemented!()
    }
    /// Key and signature are of the kinds that `spec/jitp.md` section 8 accepts; the error says which is not.
    pub fn check_algorithms(&self) -> Result<(), CertificateError> {
        unimplemented!()
    }
    /// DER of the SubjectPublicKeyInfo.
    pub fn public_key_info(&self) -> &[u8] {
        unimplemented!()
    }
    /// keyIdentifier of the AuthorityKeyIdentifier extension.
    pub fn authority_key_identifier(&self) -> Option<&[u8]> {
        unimplemented!()
    }
    /// SubjectKeyIdentifier extension.
    pub fn subject_key_identifier(&self) -> Option<&[u8]> {
        unimplemented!()
    }
    /// BasicConstraints cA=TRUE.
    pub fn is_ca(&self) -> bool {
        unimplemented!()
    }
}
