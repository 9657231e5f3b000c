//! Certificate signing requests (PKCS#10, RFC 2986).
use crate::algorithm::PublicKeyKind;
use crate::pem;
use crate::{CertificateError, CertificateErrorKind, SignatureAlgorithm};
use aws_lc_rs::signature::UnparsedPublicKey;
use x509_parser::asn1_rs::FromDer;
use x509_parser::certification_request::X509CertificationRequest;

/// `spec/jitp.md` section 8: a CSR in PEM has at most 4,096 characters.
const MAX_CHARACTERS: usize = 4096;

/// A request whose signature shows that its sender holds the private key.
pub(crate) struct CertificateRequest {
    /// DER of the name.
    pub subject: Vec<u8>,
    /// DER of the SubjectPublicKeyInfo.
    pub public_key_info: Vec<u8>,
    /// Content of the public key's BIT STRING.
    pub public_key_bits: Vec<u8>,
}

impl CertificateRequest {
    /// Requested extensions are ignored: the issuer decides them.
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
        Self::verified(&request)
    }

    fn verified(request: &X509CertificationRequest<'_>) -> Result<Self, CertificateError> {
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
            subject: info.subject.as_raw().to_vec(),
            public_key_info: info.subject_pki.raw.to_vec(),
            public_key_bits: public_key_bits.to_vec(),
        })
    }
}
