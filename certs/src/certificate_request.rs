//! Certificate signing requests (PKCS#10, RFC 2986).
use crate::algorithm::PublicKeyKind;
use crate::der;
use crate::pem;
use crate::private_key::SigningKey;
use crate::{Certificate, CertificateError, CertificateErrorKind, DistinguishedName, SignatureAlgorithm};
use aws_lc_rs::signature::UnparsedPublicKey;
use x509_parser::asn1_rs::FromDer;
use x509_parser::certification_request::X509CertificationRequest;

/// `spec/jitp.md` section 8: a CSR in PEM has at most 4,096 characters.
const MAX_CHARACTERS: usize = 4096;

/// A certificate signing request whose signature shows that its sender holds the private key.
#[derive(Debug, Clone)]
pub struct CertificateRequest {
    pem: String,
    subject: DistinguishedName,
    /// DER of the SubjectPublicKeyInfo.
    public_key_info: Vec<u8>,
    /// Content of the public key's BIT STRING.
    public_key_bits: Vec<u8>,
}

impl CertificateRequest {
    /// PKCS#10 as PEM, one block, at most 4,096 characters. Extensions that it asks for are not read: the issuer decides
    /// them.
    ///
    /// # Errors
    /// [`CertificateErrorKind::Request`] when it cannot be read or its own key did not sign it,
    /// [`CertificateErrorKind::UnsupportedAlgorithm`] when key or signature is refused,
    /// [`CertificateErrorKind::TooLarge`], [`CertificateErrorKind::Malformed`] when it is not PEM.
    pub fn from_pem(text: &str) -> Result<Self, CertificateError> {
        let wrong = |message: String| CertificateError::new(CertificateErrorKind::Request, message);
        if text.chars().nth(MAX_CHARACTERS).is_some() {
            return Err(CertificateError::new(
                CertificateErrorKind::TooLarge,
                format!("the certificate signing request is longer than {MAX_CHARACTERS} characters"),
            ));
        }
        let blocks = pem::blocks(text)?;
        let [block] = blocks.as_slice() else {
            return Err(wrong(format!(
                "expected one CERTIFICATE REQUEST block, found {} PEM blocks",
                blocks.len()
            )));
        };
        if !matches!(block.label, "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST") {
            return Err(wrong(format!(
                "PEM line {}: found a {} block where a CERTIFICATE REQUEST is expected",
                block.line, block.label
            )));
        }
        let request = match X509CertificationRequest::from_der(&block.der) {
            Ok(([], request)) => request,
            Ok((rest, _)) => {
                return Err(wrong(format!("{} bytes follow the certificate signing request", rest.len())));
            }
            Err(_) => return Err(wrong("not a certificate signing request (PKCS#10)".to_owned())),
        };
        Self::verified(text, &request)
    }
    /// The text that it was read from.
    pub fn pem(&self) -> &str {
        &self.pem
    }
    /// Whom the certificate shall name.
    pub fn subject(&self) -> &DistinguishedName {
        &self.subject
    }
    /// DER of the SubjectPublicKeyInfo.
    pub fn public_key_info(&self) -> &[u8] {
        &self.public_key_info
    }
    /// Does this certificate carry the key and the subject that were asked for?
    ///
    /// # Errors
    /// [`CertificateErrorKind::Issue`], saying which of them it does not.
    pub fn check_answer(&self, certificate: &Certificate) -> Result<(), CertificateError> {
        if certificate.public_key_info() != self.public_key_info {
            return Err(CertificateError::issue("the certificate has another key than the one asked for"));
        }
        if certificate.subject() != &self.subject {
            return Err(CertificateError::issue(format!(
                "the certificate has the subject \"{}\", but \"{}\" was asked for",
                certificate.subject(),
                self.subject
            )));
        }
        Ok(())
    }

    pub(crate) fn public_key_bits(&self) -> &[u8] {
        &self.public_key_bits
    }

    fn verified(text: &str, request: &X509CertificationRequest<'_>) -> Result<Self, CertificateError> {
        let info = &request.certification_request_info;
        let (key, key_refusal) = PublicKeyKind::read(&info.subject_pki);
        let (algorithm, signature_refusal) = SignatureAlgorithm::read(&request.signature_algorithm);
        if let Some(reason) = signature_refusal.or(key_refusal) {
            return Err(CertificateError::new(CertificateErrorKind::UnsupportedAlgorithm, reason));
        }
        let public_key_bits: &[u8] = &info.subject_pki.subject_public_key.data;
        key.verification(algorithm)
            .ok()
            .and_then(|verification| {
                UnparsedPublicKey::new(verification, public_key_bits)
                    .verify(info.raw, &request.signature_value.data)
                    .ok()
            })
            .ok_or_else(|| {
                CertificateError::new(
                    CertificateErrorKind::Request,
                    "the certificate signing request is not signed by its own key",
                )
            })?;
        Ok(Self {
            pem: text.to_owned(),
            subject: DistinguishedName::new(&info.subject),
            public_key_info: info.subject_pki.raw.to_vec(),
            public_key_bits: public_key_bits.to_vec(),
        })
    }
}

/// A request for a key, signed by it; without attributes. `subject` is DER.
pub(crate) fn sign(subject: &[u8], key: &SigningKey) -> Result<String, CertificateError> {
    let info = der::sequence(&[
        &der::unsigned_integer(&[]),
        subject,
        &key.public_key_info()?,
        &der::context(0, &[]),
    ]);
    let signature = der::bit_string(0, &key.sign(&info)?);
    let request = der::sequence(&[&info, &key.signature_algorithm(), &signature]);
    Ok(pem::encode("CERTIFICATE REQUEST", &request))
}
