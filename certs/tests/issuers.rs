//! Who issued what, over certificates of another maker.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed unwrap is a failed test")]
#[path = "support/twin.rs"]
mod twin;

use jitp_certs::{Certificate, IssuerError, issued_by};

fn certificate(name: &str) -> Certificate {
    let path = format!("{}/tests/fixtures/{name}.pem", env!("CARGO_MANIFEST_DIR"));
    Certificate::from_pem(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn every_accepted_pair_of_key_and_signature_verifies() {
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut pair = |leaf: &str, ca: &str| pairs.push((leaf.to_owned(), ca.to_owned()));
    for leaf in ["v1", "v3", "names", "every-attribute", "bmp", "teletex", "P-256-sha384", "P-256-sha512"] {
        pair(&format!("device-{leaf}"), "ca");
    }
    for hash in ["sha256", "sha384", "sha512"] {
        pair(&format!("device-rsa-{hash}"), "ca-rsa");
        pair(&format!("device-pss-{hash}"), "ca-rsa");
        pair(&format!("device-P-384-{hash}"), "ca-P-384");
        pair(&format!("device-P-521-{hash}"), "ca-P-521");
    }
    pair("device-pss-key", "ca-pss");
    pair("ca-pss-bound", "ca-pss-bound");
    pair("ca", "ca");
    for (leaf, ca) in pairs {
        assert_eq!(issued_by(&certificate(&leaf), &certificate(&ca)), Ok(()), "{leaf} by {ca}");
    }
}

#[test]
fn one_ca_verifies_signatures_of_several_kinds_in_any_order() {
    let ca = certificate("ca-rsa");
    for leaf in ["rsa-sha256", "pss-sha512", "rsa-sha384", "rsa-sha256", "pss-sha256"] {
        assert_eq!(issued_by(&certificate(&format!("device-{leaf}")), &ca), Ok(()), "{leaf}");
    }
}

#[test]
fn an_impostor_with_the_same_name_is_found_out_by_key_identifier_or_signature() {
    let impostor = certificate("ca-impostor");
    assert_eq!(certificate("ca").subject(), impostor.subject());
    let with_identifier = certificate("device-v3");
    assert_eq!(issued_by(&with_identifier, &impostor), Err(IssuerError::KeyIdentifierMismatch));
    let without = certificate("device-v1");
    assert_eq!(without.authority_key_identifier(), None);
    assert_eq!(issued_by(&without, &impostor), Err(IssuerError::BadSignature));
}

#[test]
fn a_ca_of_another_name_is_not_the_issuer() {
    assert_eq!(issued_by(&certificate("device-v3"), &certificate("ca-rsa")), Err(IssuerError::NameMismatch));
}

#[test]
fn weak_signatures_are_refused_although_they_would_verify() {
    let cases = [
        ("refused-sha1-rsa", "ca-rsa"),
        ("refused-md5-rsa", "ca-rsa"),
        ("refused-sha224-rsa", "ca-rsa"),
        ("refused-sha1-ecdsa", "ca"),
        ("refused-sha1-pss", "ca-rsa"),
        ("refused-mgf1-sha1-pss", "ca-rsa"),
        ("refused-salt-pss", "ca-rsa"),
        ("refused-by-rsa-1024", "ca-rsa-1024"),
        ("refused-ed25519", "ca-ed25519"),
        ("refused-dsa-sha256", "ca-dsa"),
    ];
    for (leaf, ca) in cases {
        let result = issued_by(&certificate(leaf), &certificate(ca));
        assert_eq!(result, Err(IssuerError::UnsupportedAlgorithm), "{leaf}");
    }
}

#[test]
fn a_changed_certificate_does_not_verify() {
    let ca = certificate("ca");
    for leaf in ["device-v1", "device-v3"] {
        let der = certificate(leaf).der().to_vec();
        for index in 0..der.len() {
            let mut changed = der.clone();
            changed[index] ^= 0x01;
            if let Ok(changed) = Certificate::from_der(&changed) {
                assert!(issued_by(&changed, &ca).is_err(), "{leaf}, byte {index}");
            }
        }
    }
}

#[test]
fn the_twin_of_an_ecdsa_signature_verifies_and_each_knows_the_other() {
    let (leaf, ca) = (certificate("device-v1"), certificate("ca"));
    let twin = Certificate::from_der(&twin::with_twin_signature(leaf.der())).unwrap();
    assert_eq!(issued_by(&twin, &ca), Ok(()), "the twin is a valid signature");
    assert_eq!(leaf.twin(ca.key_algorithm()), Some(twin.id()));
    assert_eq!(twin.twin(ca.key_algorithm()), Some(leaf.id()));
}

#[test]
fn signatures_of_every_curve_have_a_twin_and_others_none() {
    for (leaf, ca) in [("P-256-sha384", "ca"), ("P-384-sha256", "ca-P-384"), ("P-521-sha512", "ca-P-521")] {
        let (leaf, ca) = (certificate(&format!("device-{leaf}")), certificate(ca));
        assert!(leaf.twin(ca.key_algorithm()).is_some_and(|twin| twin != leaf.id()));
        assert_eq!(leaf.twin(certificate("ca-rsa").key_algorithm()), None, "another kind of key");
    }
    for leaf in ["rsa-sha256", "pss-sha512"] {
        let leaf = certificate(&format!("device-{leaf}"));
        for ca in ["ca", "ca-P-384", "ca-P-521", "ca-rsa"] {
            assert_eq!(leaf.twin(certificate(ca).key_algorithm()), None);
        }
    }
}
