//! Certificates of other makers: fields, ids, what is refused and why.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed unwrap is a failed test")]
use jitp_certs::{
    AlternativeName, Attribute, Certificate, CertificateErrorKind, CertificateId, KeyAlgorithm,
    SignatureAlgorithm, check_issuing_ca,
};
use proptest::prelude::*;

fn fixture(file: &str) -> String {
    std::fs::read_to_string(format!("{}/tests/fixtures/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}
fn certificate(name: &str) -> Certificate {
    Certificate::from_pem(&fixture(&format!("{name}.pem"))).unwrap()
}
/// Name and OpenSSL's fingerprint of every certificate among the fixtures.
fn all() -> Vec<(String, CertificateId)> {
    let line = |line: &str| {
        let (digest, file) = line.split_once(' ').unwrap();
        (file.trim_end_matches(".pem").to_owned(), digest.parse().unwrap())
    };
    fixture("fingerprints.txt").lines().map(line).collect()
}

#[test]
fn the_id_is_openssls_fingerprint() {
    let all = all();
    assert!(all.len() > 50);
    for (name, fingerprint) in all {
        let certificate = certificate(&name);
        assert_eq!(certificate.id(), fingerprint, "{name}");
        assert_eq!(CertificateId::of_der(certificate.der()), fingerprint, "{name}");
    }
}

#[test]
fn pem_and_der_round_trip_whatever_the_line_endings() {
    for (name, fingerprint) in all() {
        let certificate = certificate(&name);
        assert_eq!(certificate.to_pem(), fixture(&format!("{name}.pem")), "{name}");
        assert_eq!(Certificate::from_der(certificate.der()).unwrap(), certificate);
        let windows = format!("Bag Attributes\r\n{}\r\n", certificate.to_pem().replace('\n', "\r\n"));
        assert_eq!(Certificate::from_pem(&windows).unwrap().id(), fingerprint, "{name}");
    }
}

#[test]
fn a_v1_leaf_as_openssl_makes_it_is_read() {
    let leaf = certificate("device-v1");
    assert_eq!(leaf.version(), 1);
    assert_eq!(leaf.subject().first(Attribute::CommonName), Some("sensor-1"));
    assert_eq!(leaf.serial_number().len(), 24);
    assert_eq!(leaf.authority_key_identifier(), None);
    assert_eq!(leaf.subject_key_identifier(), None);
    assert_eq!(leaf.subject_alternative_names(), []);
    leaf.check_algorithms().unwrap();
}

#[test]
fn every_attribute_of_a_subject_is_read() {
    let subject = certificate("device-every-attribute");
    let subject = subject.subject();
    let expected = [
        (Attribute::DistinguishedNameQualifier, "q-7"),
        (Attribute::Country, "CH"),
        (Attribute::Organization, "Blue Gate Ltd"),
        (Attribute::OrganizationalUnit, "first"),
        (Attribute::State, "Zürich"),
        (Attribute::CommonName, "Gerät 7"),
        (Attribute::SerialNumber, "SN-0007"),
        (Attribute::Title, "gateway"),
        (Attribute::Surname, "Müller"),
        (Attribute::GivenName, "Ada"),
        (Attribute::Initials, "AM"),
        (Attribute::Pseudonym, "seven"),
        (Attribute::GenerationQualifier, "II"),
    ];
    for (attribute, value) in expected {
        assert_eq!(subject.first(attribute), Some(value), "{attribute:?}");
    }
    assert_eq!(subject.all(Attribute::OrganizationalUnit).collect::<Vec<_>>(), ["first", "second"]);
    assert_eq!(
        subject.to_string(),
        "emailAddress=a@plant.example,1.3.6.1.4.1.99999.7=4711,generationQualifier=II,pseudonym=seven,initials=AM,\
         GN=Ada,SN=Müller,title=gateway,serialNumber=SN-0007+CN=Gerät 7,L=Winterthur,ST=Zürich,OU=second,OU=first,\
         O=Blue Gate Ltd,C=CH,dnQualifier=q-7"
    );
}

#[test]
fn old_string_types_become_utf_8() {
    let organization =
        |name| certificate(name).subject().first(Attribute::Organization).map(str::to_owned).unwrap();
    assert_eq!(organization("device-bmp"), "Żółw €");
    assert_eq!(organization("device-teletex"), "Müller & Söhne");
    assert_eq!(organization("device-universal"), "Zürich 😀");
}

#[test]
fn an_empty_subject_has_no_attributes() {
    let subject = certificate("device-empty-subject").subject().clone();
    assert!(Attribute::ALL.into_iter().all(|attribute| subject.first(attribute).is_none()));
    assert_eq!(subject.to_string(), "");
}

#[test]
fn alternative_names_of_the_five_kinds_are_text_and_others_are_left_out() {
    use AlternativeName::{DirectoryName, DnsName, IpAddress, Rfc822Name, UniformResourceIdentifier};
    let leaf = certificate("device-names");
    assert_eq!(
        leaf.subject_alternative_names(),
        [
            Rfc822Name("device@plant.example".into()),
            DnsName("device.plant.example".into()),
            DirectoryName("CN=directory name,O=Plant\\, Inc.".into()),
            UniformResourceIdentifier("urn:device:7".into()),
            IpAddress("192.0.2.7".into()),
            IpAddress("2001:db8::7".into()),
        ]
    );
    assert_eq!(
        leaf.issuer_alternative_names(),
        [Rfc822Name("ca@plant.example".into()), UniformResourceIdentifier("https://plant.example/ca".into())]
    );
    assert_eq!(certificate("device-empty-names").subject_alternative_names(), []);
}

#[test]
fn malformed_extensions_leave_a_certificate_readable_but_make_no_ca() {
    let leaf = certificate("device-broken-extensions");
    assert_eq!(leaf.subject_key_identifier(), None);
    assert_eq!(leaf.authority_key_identifier(), None);
    assert_eq!(leaf.subject_alternative_names(), []);
    let error = check_issuing_ca(&certificate("ca-broken-extensions")).unwrap_err();
    assert_eq!(error.kind(), CertificateErrorKind::NotACa);
}

#[test]
fn keys_and_signatures_are_told_apart() {
    use KeyAlgorithm::{EcP256, EcP384, EcP521, Rsa, RsaPss};
    use SignatureAlgorithm::*;
    let cases = [
        ("ca", EcP256, EcdsaSha256),
        ("ca-P-384", EcP384, EcdsaSha384),
        ("ca-P-521", EcP521, EcdsaSha384),
        ("device-P-256-sha512", EcP256, EcdsaSha512),
        ("device-rsa-sha256", Rsa { bits: 2048 }, RsaPkcs1Sha256),
        ("device-rsa-sha384", Rsa { bits: 2048 }, RsaPkcs1Sha384),
        ("device-rsa-sha512", Rsa { bits: 2048 }, RsaPkcs1Sha512),
        ("device-pss-sha256", EcP256, RsaPssSha256),
        ("device-pss-sha384", EcP256, RsaPssSha384),
        ("device-pss-key", RsaPss { bits: 2048 }, RsaPssSha512),
        ("ca-pss-bound", RsaPss { bits: 2048 }, RsaPssSha256),
    ];
    for (name, key, signature) in cases {
        let certificate = certificate(name);
        assert_eq!(certificate.key_algorithm(), key, "{name}");
        assert_eq!(certificate.signature_algorithm(), signature, "{name}");
    }
}

#[test]
fn accepted_algorithms_are_those_of_the_specification() {
    for (name, _) in all() {
        let accepted = certificate(&name).check_algorithms().is_ok();
        let refused_ca = ["ca-rsa-1024", "ca-ed25519", "ca-dsa"].contains(&name.as_str());
        let refused = refused_ca || name.starts_with("refused-") && name != "refused-by-rsa-1024";
        assert_eq!(accepted, !refused, "{name}");
    }
}

#[test]
fn a_refused_algorithm_is_named() {
    let cases = [
        ("refused-sha1-rsa", "sha1WithRSAEncryption is refused"),
        ("refused-md5-rsa", "md5WithRSAEncryption is refused"),
        ("refused-sha224-rsa", "sha224WithRSAEncryption is refused"),
        ("refused-sha1-ecdsa", "ecdsa-with-SHA1 is refused"),
        ("refused-sha1-pss", "RSASSA-PSS with SHA-1"),
        ("refused-mgf1-sha1-pss", "RSASSA-PSS with SHA-1 or with unequal"),
        ("refused-salt-pss", "RSASSA-PSS with a salt of 20 bytes instead of 32"),
        ("refused-ed25519", "Ed25519 is refused"),
        ("refused-dsa-sha256", "dsa-with-SHA256 is refused"),
        ("refused-rsa-1024", "an RSA key of 1024 bits is refused"),
        ("refused-secp256k1", "an EC key on secp256k1 is refused"),
        ("refused-explicit-curve", "an EC key with explicit curve parameters is refused"),
        ("refused-ed25519-key", "a key of type Ed25519 is refused"),
        ("refused-dsa-key", "a key of type DSA is refused"),
    ];
    for (name, expected) in cases {
        let error = certificate(name).check_algorithms().unwrap_err();
        assert_eq!(error.kind(), CertificateErrorKind::UnsupportedAlgorithm);
        assert!(error.to_string().starts_with(expected), "{name}: {error}");
    }
}

#[test]
fn a_ca_must_be_v3_with_ca_true_and_may_not_lack_key_cert_sign() {
    for name in ["ca", "ca-without-key-usage", "ca-rsa", "ca-pss", "ca-P-384", "ca-P-521"] {
        check_issuing_ca(&certificate(name)).unwrap();
    }
    let cases = [
        ("ca-v1", CertificateErrorKind::NotACa, "this one is v1"),
        ("ca-not-ca", CertificateErrorKind::NotACa, "cA=FALSE"),
        ("ca-without-key-cert-sign", CertificateErrorKind::NotACa, "lacks keyCertSign"),
        ("ca-broken-extensions", CertificateErrorKind::NotACa, "cannot be read"),
        ("device-names", CertificateErrorKind::NotACa, "has no basicConstraints"),
        ("device-v3", CertificateErrorKind::NotACa, "cA=FALSE"),
        ("ca-rsa-1024", CertificateErrorKind::UnsupportedAlgorithm, "1024 bits"),
        ("ca-ed25519", CertificateErrorKind::UnsupportedAlgorithm, "Ed25519"),
    ];
    for (name, kind, text) in cases {
        let error = check_issuing_ca(&certificate(name)).unwrap_err();
        assert_eq!(error.kind(), kind, "{name}");
        assert!(error.to_string().contains(text), "{name}: {error}");
    }
}

#[test]
fn pem_that_is_not_one_certificate_says_what_was_found() {
    let (ca, key) = (fixture("ca.pem"), fixture("ca.key"));
    let error = |text: &str| Certificate::from_pem(text).unwrap_err();
    let cases = [
        (String::new(), CertificateErrorKind::NotOneCertificate, "no PEM block found"),
        (key.clone(), CertificateErrorKind::NotOneCertificate, "PEM line 1: found a PRIVATE KEY block"),
        (format!("{ca}{key}"), CertificateErrorKind::NotOneCertificate, "found a PRIVATE KEY block"),
        (fixture("csr.pem"), CertificateErrorKind::NotOneCertificate, "found a CERTIFICATE REQUEST block"),
        (
            format!("{ca}{ca}"),
            CertificateErrorKind::NotOneCertificate,
            "found 2 certificates, on PEM lines 1, 12",
        ),
        (ca.replace("-----END", "----END"), CertificateErrorKind::Malformed, "PEM line 11: base64 error"),
        (ca.replace('\n', "\\n"), CertificateErrorKind::Malformed, "written as \\n"),
        (format!("{ca}{}", " ".repeat(65_536)), CertificateErrorKind::TooLarge, "longer than 65536"),
    ];
    for (text, kind, expected) in cases {
        let error = error(&text);
        assert_eq!((error.kind(), error.to_string().contains(expected)), (kind, true), "{error}");
    }
    let lines: Vec<&str> = ca.lines().collect();
    let short = [&lines[..3], &lines[4..]].concat().join("\n");
    assert_eq!(error(&short).kind(), CertificateErrorKind::Malformed);
}

#[test]
fn der_with_anything_after_it_or_beyond_any_size_is_refused() {
    let der = certificate("ca").der().to_vec();
    let error = Certificate::from_der(&[&der[..], b"\0"].concat()).unwrap_err();
    assert_eq!(error.to_string(), "1 bytes follow the certificate; send it alone");
    let error = Certificate::from_der(&vec![0x30; 65_537]).unwrap_err();
    assert_eq!(error.kind(), CertificateErrorKind::TooLarge);
    let error = Certificate::from_der(fixture("ca.pem").as_bytes()).unwrap_err();
    assert!(error.to_string().contains("PEM text"));
}

/// The bytes outside the signed part: outer header, algorithm identifier, signature's header.
#[test]
fn a_certificate_cannot_be_given_another_id_by_encoding_it_differently() {
    let der = certificate("device-v3").der().to_vec();
    assert_eq!(der[..2], [0x30, 0x82], "a length of two bytes");
    let mut long = vec![0x30, 0x83, 0];
    long.extend_from_slice(&der[2..]);
    let error = Certificate::from_der(&long).unwrap_err();
    assert_eq!(error.kind(), CertificateErrorKind::Malformed);

    // ecdsa-with-SHA256 stands in the signed part and again behind it.
    let oid = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
    let outer = der.windows(oid.len()).rposition(|window| window == oid).unwrap();
    let mut other = der.clone();
    other[outer + oid.len() - 1] = 0x03;
    let error = Certificate::from_der(&other).unwrap_err();
    assert!(error.to_string().contains("is not the signed one"), "{error}");

    // The signature's BIT STRING follows: tag, length, unused bits.
    let mut unused = der.clone();
    assert_eq!(unused[outer + oid.len()], 0x03);
    unused[outer + oid.len() + 2] = 1;
    assert!(Certificate::from_der(&unused).is_err());

    // Something behind the signature, inside the outer SEQUENCE.
    let mut longer = [&der[..], &[0x05, 0x00]].concat();
    let length = u16::try_from(longer.len() - 4).unwrap().to_be_bytes();
    longer[2..4].copy_from_slice(&length);
    assert!(Certificate::from_der(&longer).is_err());
}

#[test]
fn an_extension_that_occurs_twice_is_refused() {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
    let names = rcgen::CustomExtension::from_oid_content(&[2, 5, 29, 17], vec![0x30, 0]);
    params.custom_extensions.push(names);
    let error = Certificate::from_der(params.self_signed(&key).unwrap().der()).unwrap_err();
    assert_eq!(error.to_string(), "the extension subjectAltName occurs twice");
}

#[test]
fn a_certificate_of_another_encoder_is_read() {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params =
        rcgen::CertificateParams::new(vec!["a.example".to_owned(), "192.0.2.1".to_owned()]).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, "other");
    params.not_before = rcgen::date_time_ymd(2024, 1, 1);
    params.not_after = rcgen::date_time_ymd(4096, 1, 1);
    params.serial_number = Some(vec![0, 0x8f, 0].into());
    let certificate = Certificate::from_der(params.self_signed(&key).unwrap().der()).unwrap();
    assert_eq!(certificate.serial_number(), "8f00");
    assert_eq!(certificate.validity().not_before, 1_704_067_200);
    assert_eq!(certificate.validity().not_after, 67_090_118_400);
    assert_eq!(
        certificate.subject_alternative_names(),
        [AlternativeName::DnsName("a.example".into()), AlternativeName::IpAddress("192.0.2.1".into())]
    );
    assert!(certificate.check_validity(1_704_067_199).is_err());
    certificate.check_validity(1_704_067_200).unwrap();
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(der: Vec<u8>) {
        let _ = Certificate::from_der(&der);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text: String) {
        let _ = Certificate::from_pem(&text);
    }
}
