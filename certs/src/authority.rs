//! Issuing certificates: the server's own, the demo's, a factory's and the tests'.
use crate::{Attribute, Certificate, CertificateError, Validity};
use std::net::IpAddr;

/// The key to generate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub enum KeyKind {
    #[default]
    EcP256,
    EcP384,
    EcP521,
    Rsa2048,
    Rsa3072,
    Rsa4096,
}

/// A private key as PEM (PKCS#8). Wiped on drop; `Debug` shows nothing of it.
#[derive(Clone)]
pub struct PrivateKeyPem(zeroize::Zeroizing<String>);
impl PrivateKeyPem {
    /// The text, for writing to a file of mode 0600.
    pub fn expose(&self) -> &str {
        &self.0
    }
    /// DER (PKCS#8).
    pub fn to_der(&self) -> zeroize::Zeroizing<Vec<u8>> {
        unimplemented!()
    }
}
impl std::fmt::Debug for PrivateKeyPem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PrivateKeyPem(…)")
    }
}

/// A certificate with its private key.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Issued {
    pub certificate: Certificate,
    pub private_key: PrivateKeyPem,
}

/// What a device certificate shall say.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct LeafRequest {
    /// In encoding order; an attribute may repeat.
    pub subject: Vec<(Attribute, String)>,
    pub validity: Validity,
    pub key: KeyKind,
}

/// A CA with its private key.
#[derive(Debug)]
pub struct Authority {
    issued: Issued,
}

impl Authority {
    /// A new self-signed CA.
    pub fn create(
        _subject: &[(Attribute, String)],
        _validity: Validity,
        _key: KeyKind,
    ) -> Result<Self, CertificateError> {
        unimplemented!()
    }
    /// An existing CA.
    pub fn from_pem(_certificate: &str, _private_key: &str) -> Result<Self, CertificateError> {
        unimplemented!()
    }
    /// The CA's certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.issued.certificate
    }
    /// The CA's private key.
    pub fn private_key(&self) -> &PrivateKeyPem {
        &self.issued.private_key
    }
    /// A device certificate with a new key.
    pub fn issue_device(&self, _request: &LeafRequest) -> Result<Issued, CertificateError> {
        unimplemented!()
    }
    /// A TLS server certificate with a new P-256 key.
    pub fn issue_server(
        &self,
        _names: &[String],
        _addresses: &[IpAddr],
        _validity: Validity,
    ) -> Result<Issued, CertificateError> {
        unimplemented!()
    }
    /// The verification certificate of RegisterCACertificate: CN is the registration code.
    pub fn issue_verification(
        &self,
        _registration_code: &str,
        _validity: Validity,
    ) -> Result<Issued, CertificateError> {
        unimplemented!()
    }
}
