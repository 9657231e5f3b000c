//! Writing DER (X.690): just what certificates need. Reading is x509-parser's.
use crate::CertificateError;
use time::{OffsetDateTime, UtcDateTime};

/// OBJECT IDENTIFIER bytes without tag and length.
pub(crate) type OidBytes = &'static [u8];

/// Bytes that the tag and length of `content` bytes take.
pub(crate) const fn header_length(content: usize) -> usize {
    match content {
        0..=0x7f => 2,
        0x80..=0xff => 3,
        0x100..=0xffff => 4,
        0x1_0000..=0xff_ffff => 5,
        _ => 6,
    }
}

/// Tag (single byte), length, content.
pub(crate) fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let header = header_length(length);
    let mut output = Vec::with_capacity(header + length);
    output.push(tag);
    match header {
        2 => output.push(length.to_be_bytes().last().copied().unwrap_or_default()),
        _ => {
            let bytes = length.to_be_bytes();
            let significant = header - 2;
            output.push(0x80 | u8::try_from(significant).unwrap_or_default());
            output.extend(bytes.iter().skip(bytes.len() - significant));
        }
    }
    output.extend_from_slice(content);
    output
}

pub(crate) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    tagged(0x30, &parts.concat())
}
pub(crate) fn set(parts: &[&[u8]]) -> Vec<u8> {
    tagged(0x31, &parts.concat())
}
/// `[number]`, constructed: EXPLICIT tagging, or IMPLICIT of a constructed type.
pub(crate) fn context(number: u8, content: &[u8]) -> Vec<u8> {
    tagged(0xa0 | number, content)
}
/// `[number]` IMPLICIT of a primitive type.
pub(crate) fn context_primitive(number: u8, content: &[u8]) -> Vec<u8> {
    tagged(0x80 | number, content)
}
pub(crate) fn oid(bytes: OidBytes) -> Vec<u8> {
    tagged(0x06, bytes)
}
pub(crate) fn null() -> Vec<u8> {
    tagged(0x05, &[])
}
pub(crate) fn boolean_true() -> Vec<u8> {
    tagged(0x01, &[0xff])
}
pub(crate) fn octet_string(bytes: &[u8]) -> Vec<u8> {
    tagged(0x04, bytes)
}
/// A BIT STRING whose last `unused` bits do not count.
pub(crate) fn bit_string(unused: u8, bytes: &[u8]) -> Vec<u8> {
    tagged(0x03, &[&[unused], bytes].concat())
}
/// A non-negative INTEGER, big-endian.
pub(crate) fn unsigned_integer(bytes: &[u8]) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let significant = bytes.get(zeros..).unwrap_or_default();
    match significant.first() {
        None => tagged(0x02, &[0]),
        Some(first) if *first >= 0x80 => tagged(0x02, &[&[0], significant].concat()),
        Some(_) => tagged(0x02, significant),
    }
}
pub(crate) fn utf8_string(text: &str) -> Vec<u8> {
    tagged(0x0c, text.as_bytes())
}
/// PrintableString; `None` when `text` has other characters.
pub(crate) fn printable_string(text: &str) -> Option<Vec<u8>> {
    let printable = |c: char| c.is_ascii_alphanumeric() || " '()+,-./:=?".contains(c);
    text.chars().all(printable).then(|| tagged(0x13, text.as_bytes()))
}

/// UTCTime until 2049, GeneralizedTime after it (RFC 5280 section 4.1.2.5).
///
/// # Errors
/// The time is outside the years 1950 to 9999, which a certificate cannot say.
pub(crate) fn time(unix_seconds: i64) -> Result<Vec<u8>, CertificateError> {
    let time = OffsetDateTime::from_unix_timestamp(unix_seconds)
        .map(UtcDateTime::from)
        .ok()
        .filter(|time| (1950..=9999).contains(&time.year()))
        .ok_or_else(|| {
            CertificateError::issue(format!(
                "the time {unix_seconds} (Unix seconds) is outside the years 1950 to 9999"
            ))
        })?;
    let rest = format!(
        "{:02}{:02}{:02}{:02}{:02}Z",
        u8::from(time.month()),
        time.day(),
        time.hour(),
        time.minute(),
        time.second()
    );
    let year = time.year();
    Ok(if year < 2050 {
        tagged(0x17, format!("{:02}{rest}", year % 100).as_bytes())
    } else {
        tagged(0x18, format!("{year:04}{rest}").as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use x509_parser::asn1_rs::{Any, FromDer};

    #[test]
    fn integers_are_positive_and_minimal() {
        assert_eq!(unsigned_integer(&[]), [2, 1, 0]);
        assert_eq!(unsigned_integer(&[0, 0]), [2, 1, 0]);
        assert_eq!(unsigned_integer(&[0, 0x7f]), [2, 1, 0x7f]);
        assert_eq!(unsigned_integer(&[0x80]), [2, 2, 0, 0x80]);
    }

    #[test]
    fn times_change_form_in_2050() {
        assert_eq!(&time(2_524_607_999).unwrap()[2..], b"491231235959Z");
        assert_eq!(&time(2_524_608_000).unwrap()[2..], b"20500101000000Z");
        assert_eq!(&time(0).unwrap()[2..], b"700101000000Z");
        assert!(time(-700_000_000).is_err());
        assert!(time(i64::MAX).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_reader_gets_back_what_was_written(length in 0_usize..70_000) {
            let content = vec![7; length];
            let der = tagged(0x04, &content);
            prop_assert_eq!(der.len(), header_length(length) + length);
            let (rest, any) = Any::from_der(&der).unwrap();
            prop_assert!(rest.is_empty());
            prop_assert_eq!(any.data, content.as_slice());
        }
    }
}
