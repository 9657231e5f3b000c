//! Issuing certificates: the server's own, the demo's, a factory's and the tests'.
use crate::private_key::SigningKey;
use crate::to_be_signed::{Extensions, ToBeSigned, key_identifier};
use crate::{
    AlternativeName, Attribute, Certificate, CertificateError, CertificateErrorKind, CertificateRequest,
    ExtendedKeyUsage, KeyAlgorithm, KeyKind, KeyUsage, LeafUsage, PrivateKeyPem, Validity, alternative_name,
    check_issuing_ca, name,
};
use std::net::IpAddr;

/// A CA with its private key.
///
/// It signs with SHA-256 (P-256, RSA), SHA-384 (P-384) or SHA-512 (P-521). What it issues is X.509 v3 with a
/// random serial number, keyUsage and key identifiers. It does not compare validities: a certificate may
/// outlive its CA.
#[derive(Debug)]
pub struct Authority {
    issued: Issued,
    key: SigningKey,
}

/// A certificate with its private key.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The certificate.
    pub certificate: Certificate,
    /// Its key.
    pub private_key: PrivateKeyPem,
}

/// What a device certificate shall say.
#[derive(Debug, Clone)]
pub struct LeafRequest {
    /// In encoding order; an attribute may repeat.
    pub subject: Vec<(Attribute, String)>,
    /// From when until when.
    pub validity: Validity,
    /// The key to generate.
    pub key: KeyKind,
}

impl Authority {
    /// A new self-signed CA.
    ///
    /// # Errors
    /// [`CertificateErrorKind::Issue`]: a time outside the years 1950 to 9999, or an end before the beginning.
    pub fn create(
        subject: &[(Attribute, String)],
        validity: Validity,
        key: KeyKind,
    ) -> Result<Self, CertificateError> {
        Self::self_signed(subject, validity, SigningKey::generate(key)?)
    }

    /// A self-signed CA over an existing key: the re-issue of a CA that expires.
    ///
    /// # Errors
    /// As [`Self::create`] and [`PrivateKeyPem::from_pem`].
    pub fn create_for_key(
        subject: &[(Attribute, String)],
        validity: Validity,
        private_key: &str,
    ) -> Result<Self, CertificateError> {
        Self::self_signed(subject, validity, SigningKey::from_pem(private_key)?)
    }

    /// An existing CA.
    ///
    /// # Errors
    /// As [`Certificate::from_pem`], [`PrivateKeyPem::from_pem`] and [`check_issuing_ca`];
    /// [`CertificateErrorKind::PrivateKey`] when the key is not the certificate's.
    pub fn from_pem(certificate: &str, private_key: &str) -> Result<Self, CertificateError> {
        let certificate = Certificate::from_pem(certificate)?;
        check_issuing_ca(&certificate)?;
        let key = SigningKey::from_pem(private_key)?;
        let wrong = |message| Err(CertificateError::new(CertificateErrorKind::PrivateKey, message));
        if key.public_key_bits() != certificate.public_key_bits() {
            return wrong(format!(
                "the private key is not the one of the CA certificate {}",
                certificate.subject()
            ));
        }
        if matches!(certificate.key_algorithm(), KeyAlgorithm::RsaPss { .. }) {
            return wrong(
                "issuing with an RSA-PSS-only key is not supported; use an RSA or EC key".to_owned(),
            );
        }
        Ok(Self { issued: Issued { certificate, private_key: key.to_pem()? }, key })
    }

    /// The CA's certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.issued.certificate
    }
    /// The CA's private key.
    pub fn private_key(&self) -> &PrivateKeyPem {
        &self.issued.private_key
    }

    /// An intermediate CA with a new key.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn issue_authority(
        &self,
        subject: &[(Attribute, String)],
        validity: Validity,
        key: KeyKind,
    ) -> Result<Authority, CertificateError> {
        let key = SigningKey::generate(key)?;
        let certificate = ToBeSigned {
            issuer: self.certificate().subject().der(),
            subject: &name::encode(subject),
            validity,
            public_key_info: &key.public_key_info()?,
            extensions: self.identified(Extensions::for_ca(), key.public_key_bits()),
        }
        .sign(&self.key)?;
        Ok(Self { issued: Issued { certificate, private_key: key.to_pem()? }, key })
    }

    /// A device certificate with a new key.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn issue_device(&self, request: &LeafRequest) -> Result<Issued, CertificateError> {
        self.issue_client(request, SigningKey::generate(request.key)?, &[])
    }

    /// A device certificate with a new key and subject alternative names.
    ///
    /// # Errors
    /// As [`Self::create`], and [`CertificateErrorKind::Issue`] for names that are not ASCII, addresses that
    /// are none, and directory names.
    pub fn issue_device_with_names(
        &self,
        request: &LeafRequest,
        names: &[AlternativeName],
    ) -> Result<Issued, CertificateError> {
        self.issue_client(request, SigningKey::generate(request.key)?, names)
    }

    /// A device certificate for an existing key; `request.key` is ignored.
    ///
    /// # Errors
    /// As [`Self::create`] and [`PrivateKeyPem::from_pem`].
    pub fn issue_device_for_key(
        &self,
        request: &LeafRequest,
        private_key: &str,
    ) -> Result<Issued, CertificateError> {
        self.issue_client(request, SigningKey::from_pem(private_key)?, &[])
    }

    /// A device certificate with the subject and the key of a certificate signing request (PKCS#10, PEM, at
    /// most 4,096 characters). Extensions that it asks for are ignored. Each call makes another certificate.
    ///
    /// # Errors
    /// [`CertificateErrorKind::Request`] when it cannot be read or its own key did not sign it,
    /// [`CertificateErrorKind::UnsupportedAlgorithm`] when key or signature is refused,
    /// [`CertificateErrorKind::TooLarge`]; else as [`Self::create`].
    pub fn issue_for_csr(&self, csr_pem: &str, validity: Validity) -> Result<Certificate, CertificateError> {
        self.issue_for_request(&CertificateRequest::from_pem(csr_pem)?, validity, &LeafUsage::default())
    }

    /// A certificate with the subject and the key of a certificate signing request.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn issue_for_request(
        &self,
        request: &CertificateRequest,
        validity: Validity,
        usage: &LeafUsage,
    ) -> Result<Certificate, CertificateError> {
        ToBeSigned {
            issuer: self.certificate().subject().der(),
            subject: request.subject().der(),
            validity,
            public_key_info: request.public_key_info(),
            extensions: self.identified(Extensions::for_leaf(usage), request.public_key_bits()),
        }
        .sign(&self.key)
    }

    /// A TLS server certificate with a new P-256 key.
    ///
    /// # Errors
    /// [`CertificateErrorKind::Issue`]: neither a name nor an address, or a name that is no host name.
    pub fn issue_server(
        &self,
        names: &[String],
        addresses: &[IpAddr],
        validity: Validity,
    ) -> Result<Issued, CertificateError> {
        if let Some(wrong) = names.iter().find(|name| !is_host_name(name)) {
            return Err(CertificateError::issue(format!(
                "{wrong:?} is not a host name; write it in ASCII (punycode), without port"
            )));
        }
        let alternative_names: Vec<_> = names
            .iter()
            .map(|name| AlternativeName::DnsName(name.clone()))
            .chain(addresses.iter().map(|address| AlternativeName::IpAddress(address.to_string())))
            .collect();
        let Some(first) = names.first().cloned().or_else(|| addresses.first().map(IpAddr::to_string)) else {
            return Err(CertificateError::issue("a server certificate needs a host name or an address"));
        };
        // A common name has at most 64 characters; clients look at the alternative names.
        let subject = if first.len() <= 64 { vec![(Attribute::CommonName, first)] } else { Vec::new() };
        self.issue_leaf(
            &subject,
            validity,
            SigningKey::generate(KeyKind::EcP256)?,
            &LeafUsage {
                key: vec![KeyUsage::DigitalSignature],
                extended: vec![ExtendedKeyUsage::ServerAuth],
            },
            &alternative_names,
        )
    }

    /// The verification certificate of RegisterCACertificate: CN is the registration code
    /// (`spec/jitp.md` section 2).
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn issue_verification(
        &self,
        registration_code: &str,
        validity: Validity,
    ) -> Result<Issued, CertificateError> {
        let subject = vec![(Attribute::CommonName, registration_code.to_owned())];
        self.issue_device(&LeafRequest { subject, validity, key: KeyKind::EcP256 })
    }

    fn self_signed(
        subject: &[(Attribute, String)],
        validity: Validity,
        key: SigningKey,
    ) -> Result<Self, CertificateError> {
        let subject = name::encode(subject);
        let identifier = key_identifier(key.public_key_bits());
        let certificate = ToBeSigned {
            issuer: &subject,
            subject: &subject,
            validity,
            public_key_info: &key.public_key_info()?,
            extensions: Extensions::for_ca()
                .subject_key_identifier(&identifier)
                .authority_key_identifier(&identifier),
        }
        .sign(&key)?;
        Ok(Self { issued: Issued { certificate, private_key: key.to_pem()? }, key })
    }

    fn issue_client(
        &self,
        request: &LeafRequest,
        key: SigningKey,
        names: &[AlternativeName],
    ) -> Result<Issued, CertificateError> {
        self.issue_leaf(&request.subject, request.validity, key, &LeafUsage::default(), names)
    }

    fn issue_leaf(
        &self,
        subject: &[(Attribute, String)],
        validity: Validity,
        key: SigningKey,
        usage: &LeafUsage,
        names: &[AlternativeName],
    ) -> Result<Issued, CertificateError> {
        let mut extensions = self.identified(Extensions::for_leaf(usage), key.public_key_bits());
        if !names.is_empty() {
            let encoded = alternative_name::encode(names).ok_or_else(|| {
                CertificateError::issue(
                    "an alternative name cannot be written: names must be ASCII, addresses IPv4 or IPv6, \
                     and directory names are not supported",
                )
            })?;
            extensions = extensions.subject_alternative_name(subject.is_empty(), &encoded);
        }
        let certificate = ToBeSigned {
            issuer: self.certificate().subject().der(),
            subject: &name::encode(subject),
            validity,
            public_key_info: &key.public_key_info()?,
            extensions,
        }
        .sign(&self.key)?;
        Ok(Issued { certificate, private_key: key.to_pem()? })
    }

    /// With the subject's key identifier, and the CA's if its certificate has one.
    fn identified(&self, extensions: Extensions, public_key_bits: &[u8]) -> Extensions {
        let extensions = extensions.subject_key_identifier(&key_identifier(public_key_bits));
        match self.certificate().subject_key_identifier() {
            Some(identifier) => extensions.authority_key_identifier(identifier),
            None => extensions,
        }
    }
}

fn is_host_name(name: &str) -> bool {
    let labels = name.strip_prefix("*.").unwrap_or(name);
    name.len() <= 253
        && labels.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        })
}
