//! One X.509 certificate, parsed once.
use crate::algorithm::PublicKeyKind;
use crate::alternative_name;
use crate::der::header_length;
use crate::extensions::{Claim, Extensions};
use crate::id::hex;
use crate::pem;
use crate::{
    AlternativeName, CertificateError, CertificateErrorKind, CertificateId, DistinguishedName, IssuerError,
    KeyAlgorithm, SignatureAlgorithm, Validity, ValidityError,
};
use aws_lc_rs::signature::{ParsedPublicKey, UnparsedPublicKey};
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use x509_parser::certificate::{X509Certificate, X509CertificateParser};
use x509_parser::nom::Parser;
use x509_parser::x509::X509Version;

/// A parsed certificate. Cheap to clone. Equal when the DER is.
#[derive(Clone)]
pub struct Certificate {
    inner: Arc<Parsed>,
}

struct Parsed {
    der: Box<[u8]>,
    id: CertificateId,
    version: X509Version,
    serial_number: String,
    subject: DistinguishedName,
    issuer: DistinguishedName,
    validity: Validity,
    key: PublicKeyKind,
    signature_algorithm: SignatureAlgorithm,
    /// Why `check_algorithms` says no.
    refusal: Option<String>,
    extensions: Extensions,
    // Ranges of `der`.
    to_be_signed: Range<usize>,
    public_key_info: Range<usize>,
    public_key_bits: Range<usize>,
    signature: Range<usize>,
    // Computed, or read, when first asked for.
    subject_alternative_names: OnceLock<Vec<AlternativeName>>,
    issuer_alternative_names: OnceLock<Vec<AlternativeName>>,
    /// The key made ready for the kind of signature that was verified first: a CA signs with one kind.
    verifier: OnceLock<Option<(SignatureAlgorithm, ParsedPublicKey)>>,
}

impl Certificate {
    /// The largest DER that is read, in bytes.
    pub const MAX_DER_LENGTH: usize = 65_536;

    /// Any X.509 v1..v3 certificate; nothing may follow it.
    ///
    /// What its signature does not cover is taken in the one DER encoding only: otherwise one certificate
    /// could be presented under many ids.
    ///
    /// # Errors
    /// [`CertificateErrorKind::TooLarge`] above [`Self::MAX_DER_LENGTH`], else
    /// [`CertificateErrorKind::Malformed`]. Weak algorithms are no error here, see
    /// [`Self::check_algorithms`].
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        if der.len() > Self::MAX_DER_LENGTH {
            return Err(CertificateError::new(
                CertificateErrorKind::TooLarge,
                format!(
                    "a certificate of {} bytes is refused: at most {} bytes are read",
                    der.len(),
                    Self::MAX_DER_LENGTH
                ),
            ));
        }
        let (rest, parsed) = X509CertificateParser::new()
            .with_deep_parse_extensions(false)
            .parse(der)
            .map_err(|error| not_a_certificate(der, error))?;
        if !rest.is_empty() {
            return Err(CertificateError::malformed(format!(
                "{} bytes follow the certificate; send it alone",
                rest.len()
            )));
        }
        Ok(Self { inner: Arc::new(Parsed::new(der, &parsed)?) })
    }

    /// Exactly one `CERTIFICATE` block; text around it is ignored; at most 65,536 characters.
    ///
    /// # Errors
    /// As [`Self::from_der`], and [`CertificateErrorKind::NotOneCertificate`] for other blocks or several.
    pub fn from_pem(text: &str) -> Result<Self, CertificateError> {
        if text.len() > pem::MAX_CHARACTERS && text.chars().count() > pem::MAX_CHARACTERS {
            return Err(CertificateError::new(
                CertificateErrorKind::TooLarge,
                format!("the PEM text is longer than {} characters", pem::MAX_CHARACTERS),
            ));
        }
        let not_one = |message| Err(CertificateError::new(CertificateErrorKind::NotOneCertificate, message));
        let blocks = pem::blocks(text)?;
        match blocks.as_slice() {
            [block] if block.label == "CERTIFICATE" => Self::from_der(&block.der),
            [] => not_one(
                "no PEM block found; a certificate begins with the line -----BEGIN CERTIFICATE-----"
                    .to_owned(),
            ),
            blocks => match blocks.iter().find(|block| block.label != "CERTIFICATE") {
                Some(other) => not_one(format!(
                    "PEM line {}: found a {} block; send one CERTIFICATE block and nothing else",
                    other.line, other.label
                )),
                None => not_one(format!(
                    "found {} certificates, on PEM lines {}; send one, without its chain",
                    blocks.len(),
                    blocks.iter().map(|block| block.line.to_string()).collect::<Vec<_>>().join(", ")
                )),
            },
        }
    }

    /// DER bytes.
    pub fn der(&self) -> &[u8] {
        &self.inner.der
    }
    /// PEM text, 64 columns, ends with a line feed.
    pub fn to_pem(&self) -> String {
        Self::pem_of(self.der())
    }
    /// The same of the DER of a certificate that need not be parsed for it.
    pub fn pem_of(der: &[u8]) -> String {
        pem::encode("CERTIFICATE", der)
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
    /// Subject alternative names of the kinds that policies know, in encoding order; unreadable ones are
    /// left out.
    pub fn subject_alternative_names(&self) -> &[AlternativeName] {
        self.inner.subject_alternative_names.get_or_init(|| {
            self.optional(&self.inner.extensions.subject_alternative_name)
                .map(alternative_name::read)
                .unwrap_or_default()
        })
    }
    /// Issuer alternative names of the kinds that policies know, in encoding order; unreadable ones are
    /// left out.
    pub fn issuer_alternative_names(&self) -> &[AlternativeName] {
        self.inner.issuer_alternative_names.get_or_init(|| {
            self.optional(&self.inner.extensions.issuer_alternative_name)
                .map(alternative_name::read)
                .unwrap_or_default()
        })
    }
    /// X.509 serial number, lower-case hex, no leading zeros beyond one digit pair.
    pub fn serial_number(&self) -> &str {
        &self.inner.serial_number
    }
    /// X.509 version, 1 to 3.
    pub fn version(&self) -> u32 {
        self.inner.version.0 + 1
    }
    /// Validity.
    pub fn validity(&self) -> Validity {
        self.inner.validity
    }
    /// Is `now` (Unix seconds) inside the validity?
    ///
    /// # Errors
    /// Not yet, or no longer.
    pub fn check_validity(&self, now: i64) -> Result<(), ValidityError> {
        self.inner.validity.check(now)
    }
    /// Key type.
    pub fn key_algorithm(&self) -> KeyAlgorithm {
        self.inner.key.algorithm
    }
    /// Signature type.
    pub fn signature_algorithm(&self) -> SignatureAlgorithm {
        self.inner.signature_algorithm
    }
    /// Key and signature are of the kinds that `spec/jitp.md` section 8 accepts; the error says which is not.
    ///
    /// # Errors
    /// [`CertificateErrorKind::UnsupportedAlgorithm`].
    pub fn check_algorithms(&self) -> Result<(), CertificateError> {
        match &self.inner.refusal {
            None => Ok(()),
            Some(reason) => {
                Err(CertificateError::new(CertificateErrorKind::UnsupportedAlgorithm, reason.as_str()))
            }
        }
    }
    /// DER of the SubjectPublicKeyInfo.
    pub fn public_key_info(&self) -> &[u8] {
        self.part(&self.inner.public_key_info)
    }
    /// keyIdentifier of the AuthorityKeyIdentifier extension; `None` also when that is malformed.
    pub fn authority_key_identifier(&self) -> Option<&[u8]> {
        self.optional(&self.inner.extensions.authority_key_identifier)
    }
    /// SubjectKeyIdentifier extension; `None` also when that is malformed.
    pub fn subject_key_identifier(&self) -> Option<&[u8]> {
        self.optional(&self.inner.extensions.subject_key_identifier)
    }
    /// BasicConstraints cA=TRUE.
    pub fn is_ca(&self) -> bool {
        self.inner.extensions.is_ca == Claim::Says(true)
    }

    pub(crate) fn extensions(&self) -> &Extensions {
        &self.inner.extensions
    }
    /// Content of the public key's BIT STRING.
    pub(crate) fn public_key_bits(&self) -> &[u8] {
        self.part(&self.inner.public_key_bits)
    }
    pub(crate) fn to_be_signed(&self) -> &[u8] {
        self.part(&self.inner.to_be_signed)
    }
    /// The algorithm identifier beside the signature.
    pub(crate) fn outer_algorithm(&self) -> &[u8] {
        let Parsed { to_be_signed, signature, .. } = &*self.inner;
        let bit_string = 1 + header_length(signature.len() + 1);
        self.part(&(to_be_signed.end..signature.start.saturating_sub(bit_string)))
    }
    pub(crate) fn signature(&self) -> &[u8] {
        self.part(&self.inner.signature)
    }

    /// Does `signature` over `message` verify under this certificate's key?
    pub(crate) fn verify(
        &self,
        algorithm: SignatureAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), IssuerError> {
        let verification = self.inner.key.verification(algorithm)?;
        let ready = self.inner.verifier.get_or_init(|| {
            let key = ParsedPublicKey::new(verification, self.public_key_bits()).ok()?;
            Some((algorithm, key))
        });
        match ready {
            Some((ready_for, key)) if *ready_for == algorithm => key.verify_sig(message, signature),
            _ => UnparsedPublicKey::new(verification, self.public_key_bits()).verify(message, signature),
        }
        .map_err(|_| IssuerError::BadSignature)
    }

    /// The ranges were taken from this very DER.
    fn part(&self, range: &Range<usize>) -> &[u8] {
        self.inner.der.get(range.clone()).unwrap_or_default()
    }
    fn optional(&self, range: &Option<Range<usize>>) -> Option<&[u8]> {
        range.as_ref().map(|range| self.part(range))
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}
impl Eq for Certificate {}
impl std::hash::Hash for Certificate {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.id().hash(state);
    }
}
impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate")
            .field("id", &self.inner.id)
            .field("subject", &self.inner.subject)
            .field("issuer", &self.inner.issuer)
            .finish_non_exhaustive()
    }
}

impl Parsed {
    fn new(der: &[u8], parsed: &X509Certificate<'_>) -> Result<Self, CertificateError> {
        let tbs = &parsed.tbs_certificate;
        if tbs.version.0 > X509Version::V3.0 {
            return Err(CertificateError::malformed(format!(
                "X.509 version {} does not exist",
                u64::from(tbs.version.0) + 1
            )));
        }
        let range = |part, what| {
            range_of(part, der).ok_or_else(|| {
                CertificateError::malformed(format!("the {what} is not inside the certificate"))
            })
        };
        let to_be_signed = range(tbs.as_ref(), "signed part")?;
        let serial = range(tbs.raw_serial(), "serial number")?;
        let signature = range(&parsed.signature_value.data, "signature")?;
        check_unsigned_encoding(der, &to_be_signed, &serial, &signature, parsed.signature_value.unused_bits)?;
        let (key, key_refusal) = PublicKeyKind::read(&tbs.subject_pki);
        let (signature_algorithm, signature_refusal) = SignatureAlgorithm::read(&parsed.signature_algorithm);
        Ok(Self {
            id: CertificateId::of_der(der),
            version: tbs.version,
            serial_number: serial_text(tbs.raw_serial()),
            subject: DistinguishedName::new(&tbs.subject),
            issuer: DistinguishedName::new(&tbs.issuer),
            validity: Validity {
                not_before: tbs.validity.not_before.timestamp(),
                not_after: tbs.validity.not_after.timestamp(),
            },
            key,
            signature_algorithm,
            refusal: signature_refusal.or(key_refusal),
            extensions: Extensions::read(tbs.extensions(), der)?,
            public_key_info: range(tbs.subject_pki.raw, "public key")?,
            public_key_bits: range(&tbs.subject_pki.subject_public_key.data, "public key")?,
            to_be_signed,
            signature,
            subject_alternative_names: OnceLock::new(),
            issuer_alternative_names: OnceLock::new(),
            verifier: OnceLock::new(),
            der: der.into(),
        })
    }
}

/// Where `part`, a slice of `whole`, is in it.
pub(crate) fn range_of(part: &[u8], whole: &[u8]) -> Option<Range<usize>> {
    let start = part.as_ptr().addr().checked_sub(whole.as_ptr().addr())?;
    let end = start.checked_add(part.len()).filter(|end| *end <= whole.len())?;
    Some(start..end)
}

/// The outer lengths, the outer algorithm identifier and the signature's BIT STRING are not covered by the
/// signature. Each has one DER encoding; others are refused, so that nobody mints new ids for a certificate.
/// The identifier must be the signed one's copy (RFC 5280 section 4.1.1.2).
fn check_unsigned_encoding(
    der: &[u8],
    to_be_signed: &Range<usize>,
    serial: &Range<usize>,
    signature: &Range<usize>,
    unused_bits: u8,
) -> Result<(), CertificateError> {
    let damaged = |what: &str| Err(CertificateError::malformed(format!("{what} is not encoded in DER")));
    if unused_bits != 0 || signature.end != der.len() {
        return damaged("the signature");
    }
    let content = der.len().saturating_sub(to_be_signed.start);
    if to_be_signed.start != header_length(content) {
        return damaged("the certificate's length");
    }
    let bit_string = signature.len() + 1;
    let outer = signature
        .start
        .checked_sub(1 + header_length(bit_string))
        .and_then(|end| der.get(to_be_signed.end..end))
        .unwrap_or_default();
    let inner = der.get(serial.end..serial.end + outer.len()).unwrap_or_default();
    if outer.is_empty() || outer != inner {
        return Err(CertificateError::malformed(
            "the signature algorithm beside the signature is not the signed one",
        ));
    }
    Ok(())
}

fn serial_text(serial: &[u8]) -> String {
    let zeros = serial.iter().take_while(|byte| **byte == 0).count();
    hex(serial.get(zeros.min(serial.len().saturating_sub(1))..).unwrap_or_default())
}

fn not_a_certificate(
    der: &[u8],
    error: x509_parser::nom::Err<x509_parser::error::X509Error>,
) -> CertificateError {
    use x509_parser::nom::Err;
    if der.starts_with(b"-----BEGIN") {
        return CertificateError::malformed("this is PEM text where DER bytes are expected");
    }
    CertificateError::malformed(match error {
        Err::Error(error) | Err::Failure(error) => format!("not an X.509 certificate: {error}"),
        Err::Incomplete(_) => "not an X.509 certificate: the bytes end too early".to_owned(),
    })
}
