//! The identity of a certificate.
use aws_lc_rs::digest::{SHA256, digest};
use std::fmt;

/// SHA-256 of the DER of a whole certificate (`spec/jitp.md` section 1). Shown as 64 lower-case hex digits, in JSON too;
/// 32 bytes in encodings that nobody reads.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CertificateId([u8; 32]);

/// The text is not a certificate id: which rule it breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a certificate id is 64 hexadecimal digits, got {problem}")]
pub struct CertificateIdError {
    problem: Problem,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Problem {
    #[error("{0} characters")]
    Length(usize),
    #[error("{character:?} as character {position}")]
    NotHex { character: char, position: usize },
}

impl CertificateId {
    /// Of the DER bytes of a certificate.
    pub fn of_der(der: &[u8]) -> Self {
        Self(sha256(der))
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
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 64];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair.copy_from_slice(&[hex_digit(byte >> 4), hex_digit(byte & 15)]);
        }
        f.pad(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
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
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        if let Some((index, character)) = digits.char_indices().take(64).find(|(_, c)| !c.is_ascii_hexdigit())
        {
            return Err(CertificateIdError { problem: Problem::NotHex { character, position: index + 1 } });
        }
        if digits.len() != 64 {
            return Err(CertificateIdError { problem: Problem::Length(digits.chars().count()) });
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
            *byte = pair.iter().fold(0, |value, digit| (value << 4) | hex_value(*digit));
        }
        Ok(Self(bytes))
    }
}

impl serde::Serialize for CertificateId {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if s.is_human_readable() { s.collect_str(self) } else { s.serialize_bytes(&self.0) }
    }
}

impl<'de> serde::Deserialize<'de> for CertificateId {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        if d.is_human_readable() { d.deserialize_str(IdVisitor) } else { d.deserialize_bytes(IdVisitor) }
    }
}

struct IdVisitor;
impl serde::de::Visitor<'_> for IdVisitor {
    type Value = CertificateId;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a certificate id of 64 hexadecimal digits")
    }
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<CertificateId, E> {
        text.parse().map_err(E::custom)
    }
    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<CertificateId, E> {
        bytes.try_into().map(CertificateId).map_err(|_| E::invalid_length(bytes.len(), &self))
    }
}

/// SHA-256 of `bytes`.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut output = [0; 32];
    output.copy_from_slice(digest(&SHA256, bytes).as_ref());
    output
}

/// Lower-case hexadecimal digits of `bytes`.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| [hex_digit(byte >> 4), hex_digit(byte & 15)]).map(char::from).collect()
}

const fn hex_digit(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }
}

const fn hex_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        b'A'..=b'F' => digit - b'A' + 10,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn the_id_is_the_sha_256_of_the_bytes() {
        assert_eq!(CertificateId::of_der(b"abc").to_string(), ABC);
    }

    #[test]
    fn upper_case_and_a_0x_prefix_are_accepted() {
        let id = CertificateId::of_der(b"abc");
        assert_eq!(ABC.to_uppercase().parse(), Ok(id));
        assert_eq!(format!("0x{ABC}").parse(), Ok(id));
    }

    #[test]
    fn a_wrong_id_says_what_is_wrong() {
        let message = |text: &str| text.parse::<CertificateId>().unwrap_err().to_string();
        assert_eq!(message("abc"), "a certificate id is 64 hexadecimal digits, got 3 characters");
        assert_eq!(
            message(&ABC.replace("78", "7g")),
            "a certificate id is 64 hexadecimal digits, got 'g' as character 4"
        );
        assert!(message(&format!("{ABC}0")).ends_with("got 65 characters"));
        assert!(message("é").ends_with("got 'é' as character 1"));
    }

    #[test]
    fn json_is_the_text() {
        let id = CertificateId::of_der(b"abc");
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(json, format!("\"{ABC}\""));
        assert_eq!(serde_json::from_str::<CertificateId>(&json).unwrap(), id);
        assert!(serde_json::from_str::<CertificateId>("\"ab\"").is_err());
        assert!(serde_json::from_str::<CertificateId>("7").is_err());
    }

    proptest! {
        #[test]
        fn text_and_bytes_round_trip(bytes: [u8; 32]) {
            let id = CertificateId::from_bytes(bytes);
            prop_assert_eq!(id.to_string().parse::<CertificateId>().unwrap(), id);
            prop_assert_eq!(id.to_string(), hex(&bytes));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text: String) {
            let _ = text.parse::<CertificateId>();
        }
    }
}
