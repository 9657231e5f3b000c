//! Parsing the client's certificate, once per handshake.
use jitp_provisioner::certs::Certificate;
use rustls::{CertificateError, Error};
use rustls_pki_types::CertificateDer;
use std::cell::RefCell;

/// The certificate is none.
pub(super) const BAD_ENCODING: Error = Error::InvalidCertificate(CertificateError::BadEncoding);

thread_local! {
    /// rustls asks for the same certificate when it arrives and when its signature does, and we ask for it when the
    /// handshake is done: mostly one after the other on one thread. Only parsing is remembered, no decision.
    static LAST: RefCell<Option<Certificate>> = const { RefCell::new(None) };
}

/// Parses a leaf, unless it is the one that this thread has parsed last.
pub(super) fn parse(leaf: &CertificateDer<'_>) -> Result<Certificate, Error> {
    LAST.with_borrow_mut(|last| {
        if let Some(parsed) = last.as_ref().filter(|parsed| parsed.der() == leaf.as_ref()) {
            return Ok(parsed.clone());
        }
        let parsed = Certificate::from_der(leaf).map_err(|_| BAD_ENCODING)?;
        *last = Some(parsed.clone());
        Ok(parsed)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use jitp_certs::{Attribute, Authority, KeyKind, Validity};

    #[test]
    fn a_thread_gets_the_certificate_it_asks_for_and_never_another_ones() {
        let validity = Validity { not_before: 0, not_after: 4_000_000_000 };
        let certificate = |name: &str| {
            let subject = [(Attribute::CommonName, name.to_owned())];
            Authority::create(&subject, validity, KeyKind::EcP256).unwrap().certificate().clone()
        };
        let (a, b) = (certificate("a"), certificate("b"));
        for expected in [&a, &a, &b, &a] {
            assert_eq!(&parse(&CertificateDer::from(expected.der())).unwrap(), expected);
        }
        assert_eq!(parse(&CertificateDer::from(&b"nonsense"[..])), Err(BAD_ENCODING));
        assert_eq!(parse(&CertificateDer::from(a.der())).unwrap(), a);
    }
}
