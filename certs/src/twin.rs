//! The other value of an ECDSA signature.
use crate::der;
use crate::{Certificate, CertificateId, KeyAlgorithm};
use x509_parser::asn1_rs::{FromDer, Integer, Sequence};

impl Certificate {
    /// The id of this certificate with the other value of its signature, if a key of kind `issuer` made it.
    ///
    /// Of an ECDSA signature `(r, s)` the twin `(r, n - s)` verifies as well (SEC 1 section 4.1.4), and everyone who
    /// holds the certificate can compute it. That is the only change that keeps a certificate valid: all else is signed,
    /// or has one encoding that [`Certificate::from_der`] takes. `None` for other kinds of keys and signatures, and for a
    /// signature that no such key can have made.
    pub fn twin(&self, issuer: KeyAlgorithm) -> Option<CertificateId> {
        if !self.signature_algorithm().is_ecdsa() {
            return None;
        }
        let signature = twin_signature(self.signature(), order(issuer)?)?;
        let bit_string = der::bit_string(0, &signature);
        let twin = der::sequence(&[self.to_be_signed(), self.outer_algorithm(), &bit_string]);
        Some(CertificateId::of_der(&twin))
    }
}

/// `(r, n - s)` of `(r, s)`, both in DER; `None` unless 0 < s < n.
fn twin_signature(signature: &[u8], order: &[u8]) -> Option<Vec<u8>> {
    let (rest, sequence) = Sequence::from_der(signature).ok()?;
    let (after_r, r) = Integer::from_der(&sequence.content).ok()?;
    let (after_s, s) = Integer::from_der(after_r).ok()?;
    let whole = rest.is_empty() && after_s.is_empty();
    let s = subtract(order, s.as_ref()).filter(|_| whole)?;
    Some(der::sequence(&[&der::unsigned_integer(r.as_ref()), &der::unsigned_integer(&s)]))
}

/// `order - s`, as long as `order`; `None` unless 0 < s < order. Both big-endian.
fn subtract(order: &[u8], s: &[u8]) -> Option<Vec<u8>> {
    let zeros = s.iter().take_while(|byte| **byte == 0).count();
    let s = s.get(zeros..)?;
    let padding = order.len().checked_sub(s.len())?;
    let digits = s.iter().rev().chain(std::iter::repeat_n(&0, padding));
    let mut borrow = false;
    let mut difference: Vec<u8> = order
        .iter()
        .rev()
        .zip(digits)
        .map(|(order, digit)| {
            let (once, first) = order.overflowing_sub(*digit);
            let (twice, second) = once.overflowing_sub(u8::from(borrow));
            borrow = first || second;
            twice
        })
        .collect();
    difference.reverse();
    let in_range = !s.is_empty() && !borrow && difference.iter().any(|byte| *byte != 0);
    in_range.then_some(difference)
}

/// The order of a curve's base point (SEC 2 sections 2.4.2, 2.5.1 and 2.6.1), big-endian.
const fn order(key: KeyAlgorithm) -> Option<&'static [u8]> {
    match key {
        KeyAlgorithm::EcP256 => Some(&P256),
        KeyAlgorithm::EcP384 => Some(&P384),
        KeyAlgorithm::EcP521 => Some(&P521),
        KeyAlgorithm::Rsa { .. } | KeyAlgorithm::RsaPss { .. } | KeyAlgorithm::Unsupported => None,
    }
}

const P256: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc,
    0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];
const P384: [u8; 48] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xc7, 0x63, 0x4d, 0x81, 0xf4, 0x37, 0x2d, 0xdf, 0x58, 0x1a,
    0x0d, 0xb2, 0x48, 0xb0, 0xa7, 0x7a, 0xec, 0xec, 0x19, 0x6a, 0xcc, 0xc5, 0x29, 0x73,
];
const P521: [u8; 67] = [
    0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xfa, 0x51, 0x86, 0x87, 0x83, 0xbf, 0x2f, 0x96, 0x6b, 0x7f, 0xcc, 0x01, 0x48, 0xf7, 0x09, 0xa5, 0xd0,
    0x3b, 0xb5, 0xc9, 0xb8, 0x89, 0x9c, 0x47, 0xae, 0xbb, 0x6f, 0xb7, 0x1e, 0x91, 0x38, 0x64, 0x09,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_outside_of_the_curve_have_no_twin() {
        let order = [0x01, 0x00];
        assert_eq!(subtract(&order, &[0x01]), Some(vec![0x00, 0xff]));
        assert_eq!(subtract(&order, &[0x00, 0x00, 0xff]), Some(vec![0x00, 0x01]));
        for outside in [&[][..], &[0], &[0, 0], &[1, 0], &[1, 1], &[1, 0, 0]] {
            assert_eq!(subtract(&order, outside), None, "{outside:?}");
        }
    }

    #[test]
    fn what_is_no_signature_has_no_twin() {
        let integer = |byte| der::unsigned_integer(&[byte]);
        let (r, s) = (integer(2), integer(3));
        let whole = der::sequence(&[&r, &s]);
        assert_eq!(twin_signature(&whole, &[7]), Some(der::sequence(&[&r, &integer(4)])));
        for broken in
            [&[][..], &r, &der::sequence(&[&r]), &der::sequence(&[&r, &s, &s]), &[&whole[..], &[0]].concat()]
        {
            assert_eq!(twin_signature(broken, &[7]), None, "{broken:?}");
        }
    }
}
