//! The X.509 v3 extensions that matter here.
use crate::CertificateError;
use crate::certificate::range_of;
use std::ops::Range;
use x509_parser::asn1_rs::{FromDer, oid};
use x509_parser::extensions::{
    AuthorityKeyIdentifier, BasicConstraints, KeyIdentifier, KeyUsage, X509Extension,
};

/// Where in the certificate's DER they are, and what the two that make a CA say.
///
/// Extensions of other kinds are not looked at, critical or not. A malformed one of the kinds known here
/// does not make the certificate unreadable (devices carry them for years): a malformed key identifier is
/// as good as none, a malformed CA extension makes no CA, and of alternative names the readable ones count.
/// A repeated one does: there is no telling which of the two the issuer meant.
#[derive(Debug, Default)]
pub(crate) struct Extensions {
    pub authority_key_identifier: Option<Range<usize>>,
    pub subject_key_identifier: Option<Range<usize>>,
    pub subject_alternative_name: Option<Range<usize>>,
    pub issuer_alternative_name: Option<Range<usize>>,
    /// basicConstraints: cA.
    pub is_ca: Claim,
    /// keyUsage: keyCertSign.
    pub may_sign_certificates: Claim,
}

/// What a boolean in an extension says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Claim {
    #[default]
    Absent,
    Malformed,
    Says(bool),
}

impl Extensions {
    /// `whole` is the DER that `extensions` were parsed from.
    pub fn read(extensions: &[X509Extension<'_>], whole: &[u8]) -> Result<Self, CertificateError> {
        let mut found = Self::default();
        let mut seen = Vec::with_capacity(extensions.len().min(KNOWN.len()));
        for extension in extensions {
            let oid = extension.oid.as_bytes();
            let Some((_, name)) = KNOWN.iter().find(|(known, _)| *known == oid) else { continue };
            if seen.contains(name) {
                return Err(CertificateError::malformed(format!("the extension {name} occurs twice")));
            }
            seen.push(*name);
            let value = extension.value;
            match oid {
                AUTHORITY_KEY_IDENTIFIER => {
                    let parsed = AuthorityKeyIdentifier::from_der(value).ok();
                    let id = parsed.and_then(|(_, parsed)| parsed.key_identifier);
                    found.authority_key_identifier = id.and_then(|id| non_empty_range(id.0, whole));
                }
                SUBJECT_KEY_IDENTIFIER => {
                    let id = KeyIdentifier::from_der(value).ok();
                    found.subject_key_identifier = id.and_then(|(_, id)| non_empty_range(id.0, whole));
                }
                SUBJECT_ALTERNATIVE_NAME => found.subject_alternative_name = non_empty_range(value, whole),
                ISSUER_ALTERNATIVE_NAME => found.issuer_alternative_name = non_empty_range(value, whole),
                BASIC_CONSTRAINTS => {
                    found.is_ca = BasicConstraints::from_der(value)
                        .map_or(Claim::Malformed, |(_, constraints)| Claim::Says(constraints.ca));
                }
                KEY_USAGE => {
                    found.may_sign_certificates = KeyUsage::from_der(value)
                        .map_or(Claim::Malformed, |(_, usage)| Claim::Says(usage.key_cert_sign()));
                }
                _ => {}
            }
        }
        Ok(found)
    }
}

pub(crate) const SUBJECT_KEY_IDENTIFIER: &[u8] = &oid!(raw 2.5.29.14);
pub(crate) const KEY_USAGE: &[u8] = &oid!(raw 2.5.29.15);
pub(crate) const SUBJECT_ALTERNATIVE_NAME: &[u8] = &oid!(raw 2.5.29.17);
const ISSUER_ALTERNATIVE_NAME: &[u8] = &oid!(raw 2.5.29.18);
pub(crate) const BASIC_CONSTRAINTS: &[u8] = &oid!(raw 2.5.29.19);
pub(crate) const AUTHORITY_KEY_IDENTIFIER: &[u8] = &oid!(raw 2.5.29.35);

const KNOWN: &[(&[u8], &str)] = &[
    (SUBJECT_KEY_IDENTIFIER, "subjectKeyIdentifier"),
    (KEY_USAGE, "keyUsage"),
    (SUBJECT_ALTERNATIVE_NAME, "subjectAltName"),
    (ISSUER_ALTERNATIVE_NAME, "issuerAltName"),
    (BASIC_CONSTRAINTS, "basicConstraints"),
    (AUTHORITY_KEY_IDENTIFIER, "authorityKeyIdentifier"),
];

fn non_empty_range(part: &[u8], whole: &[u8]) -> Option<Range<usize>> {
    range_of(part, whole).filter(|range| !range.is_empty())
}
