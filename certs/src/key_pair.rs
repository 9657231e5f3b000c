//! A key pair that waits for its certificate.
use crate::certificate_request;
use crate::pem;
use crate::private_key::SigningKey;
use crate::{Attribute, CertificateError, KeyKind, PrivateKeyPem, name};

/// A generated key pair, made ahead of the certificate that will carry it. Wiped on drop; `Debug` shows nothing of it.
#[derive(Debug)]
pub struct KeyPair {
    key: SigningKey,
}

impl KeyPair {
    /// A new one. RSA takes most of a tenth of a second of one processor.
    ///
    /// # Errors
    /// The random number generator fails.
    pub fn generate(kind: KeyKind) -> Result<Self, CertificateError> {
        SigningKey::generate(kind).map(|key| Self { key })
    }
    /// The private key.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn private_key(&self) -> Result<PrivateKeyPem, CertificateError> {
        self.key.to_pem()
    }
    /// The public key: PEM of the SubjectPublicKeyInfo (`PUBLIC KEY`).
    ///
    /// # Errors
    /// It cannot be written.
    pub fn public_key_pem(&self) -> Result<String, CertificateError> {
        Ok(pem::encode("PUBLIC KEY", &self.key.public_key_info()?))
    }
    /// A certificate signing request (PKCS#10, PEM) for this key, signed by it, without attributes.
    ///
    /// # Errors
    /// Signing fails.
    pub fn sign_request(&self, subject: &[(Attribute, String)]) -> Result<String, CertificateError> {
        certificate_request::sign(&name::encode(subject), &self.key)
    }
}
