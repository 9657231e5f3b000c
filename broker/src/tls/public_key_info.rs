//! Splitting a SubjectPublicKeyInfo into algorithm and key (RFC 5280 section 4.1.2.7).

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;
const OBJECT_IDENTIFIER: u8 = 0x06;
/// Contents of the object identifier id-RSASSA-PSS, 1.2.840.113549.1.1.10.
const RSASSA_PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a];

/// A public key with its algorithm, borrowed from the certificate's DER.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PublicKeyInfo<'a> {
    /// Contents of the AlgorithmIdentifier, without its own tag and length.
    pub algorithm: &'a [u8],
    /// The key itself: contents of the bit string.
    pub key: &'a [u8],
}

impl<'a> PublicKeyInfo<'a> {
    /// Splits the DER of a SubjectPublicKeyInfo; `None` when it is not one.
    pub(super) fn split(der: &'a [u8]) -> Option<Self> {
        let (body, rest) = element(der, SEQUENCE)?;
        let (algorithm, bits) = element(body, SEQUENCE)?;
        let (key, after) = element(bits, BIT_STRING)?;
        let (unused_bits, key) = key.split_first()?;
        (rest.is_empty() && after.is_empty() && *unused_bits == 0).then_some(Self { algorithm, key })
    }

    /// Is the key for RSASSA-PSS only?
    pub(super) fn is_rsa_pss(&self) -> bool {
        element(self.algorithm, OBJECT_IDENTIFIER).is_some_and(|(oid, _)| oid == RSASSA_PSS)
    }
}

/// Takes one element with this tag: its contents, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    if found != tag {
        return None;
    }
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0usize, |n, digit| (n << 8) | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_key_is_split_into_algorithm_and_bits() {
        let der = [0x30, 0x0b, 0x30, 0x05, 0x06, 0x01, 0x2a, 0x05, 0x00, 0x03, 0x02, 0x00, 0x99];
        let info = PublicKeyInfo::split(&der).unwrap();
        assert_eq!(info.algorithm, [0x06, 0x01, 0x2a, 0x05, 0x00]);
        assert_eq!(info.key, [0x99]);
        assert!(!info.is_rsa_pss());
    }

    #[test]
    fn trailing_bytes_and_unused_bits_are_refused() {
        assert_eq!(PublicKeyInfo::split(&[0x30, 0x06, 0x30, 0x00, 0x03, 0x02, 0x00, 0x99, 0xff]), None);
        assert_eq!(PublicKeyInfo::split(&[0x30, 0x06, 0x30, 0x00, 0x03, 0x02, 0x01, 0x99]), None);
        assert!(PublicKeyInfo::split(&[0x30, 0x06, 0x30, 0x00, 0x03, 0x02, 0x00, 0x99]).is_some());
    }

    proptest! {
        #[test]
        fn no_input_panics(der in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = PublicKeyInfo::split(&der);
        }
    }
}
