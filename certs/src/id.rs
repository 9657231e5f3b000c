//! The identity of a certificate.
use std::fmt;

/// SHA-256 of the DER of a whole certificate (`spec/jitp.md` section 1). Shown as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CertificateId([u8; 32]);

/// The text is not a certificate id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a certificate id is 64 hexadecimal digits, got {length} characters")]
pub struct CertificateIdError {
    length: usize,
}

impl CertificateId {
    /// Of the DER bytes of a certificate.
    pub fn of_der(_der: &[u8]) -> Self {
        unimplemented!()
    }
    /// From the 32 raw bytes of the digest.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
    /// The 32 raw bytes of the digest.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}
impl fmt::Display for CertificateId {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        unimplemented!()
    }
}
impl fmt::Debug for CertificateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
impl std::str::FromStr for CertificateId {
    type Err = CertificateIdError;
    /// Accepts either case and an optional `0x` prefix.
    fn from_str(_text: &str) -> Result<Self, Self::Err> {
        unimplemented!()
    }
}
impl serde::Serialize for CertificateId {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}
impl<'de> serde::Deserialize<'de> for CertificateId {
    fn deserialize<D: serde::Deserializer<'de>>(_d: D) -> Result<Self, D::Error> {
        unimplemented!()
    }
}
