//! What the fuzz targets do with each input; `tests/mutations.rs` does the same with a stable compiler.
#![allow(dead_code, reason = "each target calls one of the two")]
use jitp_certs::{Attribute, Certificate, check_issuing_ca, issued_by};

/// Reads DER and, if that works, everything of the certificate.
pub fn certificate_der(bytes: &[u8]) {
    if let Ok(certificate) = Certificate::from_der(bytes) {
        assert_eq!(certificate.der(), bytes, "nothing is dropped");
        read_everything(&certificate);
    }
}

/// Reads PEM text.
pub fn certificate_pem(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(certificate) = Certificate::from_pem(text)
    {
        read_everything(&certificate);
    }
}

fn read_everything(certificate: &Certificate) {
    for name in [certificate.subject(), certificate.issuer()] {
        assert!(!name.to_string().chars().any(char::is_control), "a name cannot forge a log line");
        for attribute in Attribute::ALL {
            assert_ne!(name.first(attribute), Some(""));
            assert!(name.all(attribute).count() <= name.der().len());
        }
    }
    let _ = certificate.subject_alternative_names();
    let _ = certificate.issuer_alternative_names();
    let _ = certificate.check_algorithms();
    let _ = certificate.check_validity(0);
    let _ = check_issuing_ca(certificate);
    let _ = issued_by(certificate, certificate);
    let _ = format!("{certificate:?}");
    assert!((1..=3).contains(&certificate.version()));
    assert!(!certificate.serial_number().is_empty());
    let again = Certificate::from_pem(&certificate.to_pem());
    assert!(again.is_ok_and(|again| again.id() == certificate.id()), "what is written can be read");
}
