//! Building a certificate: the signed part, its extensions, the signature.
use crate::der::{self, OidBytes};
use crate::extensions::{
    AUTHORITY_KEY_IDENTIFIER, BASIC_CONSTRAINTS, KEY_USAGE, SUBJECT_ALTERNATIVE_NAME, SUBJECT_KEY_IDENTIFIER,
};
use crate::id::sha256;
use crate::private_key::SigningKey;
use crate::{Certificate, CertificateError, LeafUsage, Validity};
use x509_parser::asn1_rs::oid;

/// An X.509 v3 certificate before it is signed. Names are DER and go in as they are, so that an issuer's name
/// is byte for byte the subject of its CA, however that was encoded.
pub(crate) struct ToBeSigned<'a> {
    pub issuer: &'a [u8],
    pub subject: &'a [u8],
    pub validity: Validity,
    pub public_key_info: &'a [u8],
    pub extensions: Extensions,
}

impl ToBeSigned<'_> {
    /// The certificate, with a new random serial number, signed by `key`.
    pub fn sign(&self, key: &SigningKey) -> Result<Certificate, CertificateError> {
        let Validity { not_before, not_after } = self.validity;
        if not_after < not_before {
            return Err(CertificateError::issue(format!(
                "the validity ends ({not_after}) before it begins ({not_before})"
            )));
        }
        let algorithm = key.signature_algorithm();
        let signed_part = der::sequence(&[
            &der::context(0, &der::unsigned_integer(&[2])),
            &der::unsigned_integer(&serial_number()?),
            &algorithm,
            self.issuer,
            &der::sequence(&[&der::time(not_before)?, &der::time(not_after)?]),
            self.subject,
            self.public_key_info,
            &der::context(3, &der::tagged(0x30, &self.extensions.0)),
        ]);
        let signature = der::bit_string(0, &key.sign(&signed_part)?);
        Certificate::from_der(&der::sequence(&[&signed_part, &algorithm, &signature]))
    }
}

/// DER of extensions, one after the other.
#[derive(Default)]
pub(crate) struct Extensions(Vec<u8>);

impl Extensions {
    /// basicConstraints and keyUsage of a CA.
    pub fn for_ca() -> Self {
        Self::default().with(BASIC_CONSTRAINTS, true, &der::sequence(&[&der::boolean_true()])).with(
            KEY_USAGE,
            true,
            &der::bit_string(1, &[KEY_CERT_SIGN | CRL_SIGN]),
        )
    }
    /// basicConstraints, keyUsage and extendedKeyUsage of a leaf.
    pub fn for_leaf(usage: &LeafUsage) -> Self {
        let mut extensions = Self::default().with(BASIC_CONSTRAINTS, true, &der::sequence(&[]));
        let bits = usage.key.iter().fold(0, |bits, usage| bits | usage.bit());
        if bits != 0 {
            // The bits behind the last one that is set do not count (X.690 section 11.2.2).
            let unused = u8::try_from(bits.trailing_zeros()).unwrap_or_default();
            extensions = extensions.with(KEY_USAGE, true, &der::bit_string(unused, &[bits]));
        }
        if !usage.extended.is_empty() {
            let purposes: Vec<u8> = usage.extended.iter().flat_map(|usage| der::oid(usage.oid())).collect();
            extensions = extensions.with(EXTENDED_KEY_USAGE, false, &der::sequence(&[&purposes]));
        }
        extensions
    }
    pub fn subject_key_identifier(self, identifier: &[u8]) -> Self {
        self.with(SUBJECT_KEY_IDENTIFIER, false, &der::octet_string(identifier))
    }
    pub fn authority_key_identifier(self, identifier: &[u8]) -> Self {
        let value = der::sequence(&[&der::context_primitive(0, identifier)]);
        self.with(AUTHORITY_KEY_IDENTIFIER, false, &value)
    }
    /// `critical` where the subject is empty (RFC 5280 section 4.2.1.6).
    pub fn subject_alternative_name(self, critical: bool, names: &[u8]) -> Self {
        self.with(SUBJECT_ALTERNATIVE_NAME, critical, names)
    }

    fn with(mut self, oid: OidBytes, critical: bool, value: &[u8]) -> Self {
        let flag = if critical { der::boolean_true() } else { Vec::new() };
        self.0.extend(der::sequence(&[&der::oid(oid), &flag, &der::octet_string(value)]));
        self
    }
}

/// The key identifier of a public key, given its BIT STRING (RFC 7093 section 2 method 1).
pub(crate) fn key_identifier(public_key_bits: &[u8]) -> [u8; 20] {
    let mut identifier = [0; 20];
    for (to, from) in identifier.iter_mut().zip(sha256(public_key_bits)) {
        *to = from;
    }
    identifier
}

const EXTENDED_KEY_USAGE: OidBytes = &oid!(raw 2.5.29.37);
const KEY_CERT_SIGN: u8 = 0x04;
const CRL_SIGN: u8 = 0x02;

/// 127 random bits: positive in 16 bytes.
fn serial_number() -> Result<[u8; 16], CertificateError> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| CertificateError::issue("no serial number: the random source failed"))?;
    Ok((u128::from_be_bytes(bytes) >> 1).max(1).to_be_bytes())
}
