//! What an authority issues is accepted by this crate, and by OpenSSL's rules as far as they can be seen here.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed unwrap is a failed test")]
use jitp_certs::{
    AlternativeName, Attribute, Authority, Certificate, CertificateErrorKind, IssuerError, KeyAlgorithm,
    KeyKind, LeafRequest, PrivateKeyPem, SignatureAlgorithm, Validity, check_issuing_ca, issued_by,
};

const DECADE: Validity = Validity { not_before: 1_700_000_000, not_after: 2_015_360_000 };

fn name(common_name: &str) -> Vec<(Attribute, String)> {
    vec![(Attribute::Organization, "Plant A".to_owned()), (Attribute::CommonName, common_name.to_owned())]
}
fn authority(key: KeyKind) -> Authority {
    Authority::create(&name("Device CA"), DECADE, key).unwrap()
}
fn device(common_name: &str) -> LeafRequest {
    LeafRequest { subject: name(common_name), validity: DECADE, key: KeyKind::EcP256 }
}
fn fixture(file: &str) -> String {
    std::fs::read_to_string(format!("{}/tests/fixtures/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

#[test]
fn an_authority_of_every_kind_of_key_issues_what_verifies_under_it() {
    use SignatureAlgorithm::{EcdsaSha256, EcdsaSha384, EcdsaSha512, RsaPkcs1Sha256};
    let cases = [
        (KeyKind::EcP256, KeyAlgorithm::EcP256, EcdsaSha256),
        (KeyKind::EcP384, KeyAlgorithm::EcP384, EcdsaSha384),
        (KeyKind::EcP521, KeyAlgorithm::EcP521, EcdsaSha512),
        (KeyKind::Rsa2048, KeyAlgorithm::Rsa { bits: 2048 }, RsaPkcs1Sha256),
        (KeyKind::Rsa3072, KeyAlgorithm::Rsa { bits: 3072 }, RsaPkcs1Sha256),
    ];
    for (kind, key, signature) in cases {
        let ca = authority(kind);
        check_issuing_ca(ca.certificate()).unwrap();
        assert_eq!(ca.certificate().key_algorithm(), key);
        issued_by(ca.certificate(), ca.certificate()).unwrap();
        let leaf = ca.issue_device(&device("sensor-1")).unwrap().certificate;
        assert_eq!(leaf.signature_algorithm(), signature);
        leaf.check_algorithms().unwrap();
        issued_by(&leaf, ca.certificate()).unwrap();
    }
}

#[test]
fn a_device_certificate_says_what_was_asked() {
    let ca = authority(KeyKind::EcP256);
    let request = LeafRequest {
        subject: vec![
            (Attribute::Country, "CH".to_owned()),
            (Attribute::OrganizationalUnit, "first".to_owned()),
            (Attribute::OrganizationalUnit, "second".to_owned()),
            (Attribute::CommonName, "Gerät 7".to_owned()),
        ],
        validity: DECADE,
        key: KeyKind::Rsa2048,
    };
    let device = ca.issue_device(&request).unwrap();
    let leaf = &device.certificate;
    assert_eq!(leaf.version(), 3);
    assert_eq!(leaf.subject().to_string(), "CN=Gerät 7,OU=second,OU=first,C=CH");
    assert_eq!(leaf.subject().all(Attribute::OrganizationalUnit).collect::<Vec<_>>(), ["first", "second"]);
    assert_eq!(leaf.issuer(), ca.certificate().subject());
    assert_eq!(leaf.validity(), DECADE);
    assert_eq!(leaf.key_algorithm(), KeyAlgorithm::Rsa { bits: 2048 });
    assert!(!leaf.is_ca());
    assert_eq!(leaf.authority_key_identifier(), ca.certificate().subject_key_identifier());
    assert!(leaf.authority_key_identifier().is_some());
    assert_ne!(leaf.subject_key_identifier(), leaf.authority_key_identifier());
    assert_eq!(check_issuing_ca(leaf).unwrap_err().kind(), CertificateErrorKind::NotACa);
    assert!(device.private_key.expose().starts_with("-----BEGIN PRIVATE KEY-----\n"));
}

#[test]
fn serial_numbers_are_positive_random_and_at_most_16_bytes() {
    let ca = authority(KeyKind::EcP256);
    let key = PrivateKeyPem::generate(KeyKind::EcP256).unwrap();
    let serials: std::collections::HashSet<String> = (0..64)
        .map(|_| {
            let leaf = ca.issue_device_for_key(&device("x"), key.expose()).unwrap().certificate;
            assert!(leaf.serial_number().len() <= 32);
            assert!(u128::from_str_radix(leaf.serial_number(), 16).unwrap() <= u128::MAX >> 1);
            leaf.serial_number().to_owned()
        })
        .collect();
    assert_eq!(serials.len(), 64);
}

#[test]
fn an_existing_key_is_kept() {
    let ca = authority(KeyKind::EcP256);
    let first = ca.issue_device(&device("x")).unwrap();
    let second = ca.issue_device_for_key(&device("y"), first.private_key.expose()).unwrap();
    assert_eq!(first.certificate.public_key_info(), second.certificate.public_key_info());
    assert_ne!(first.certificate.id(), second.certificate.id());
    assert_eq!(first.private_key.to_der(), second.private_key.to_der());
}

#[test]
fn a_server_certificate_has_its_names_and_addresses() {
    let ca = authority(KeyKind::EcP256);
    let names = ["broker.plant.example".to_owned(), "*.iot.plant.example".to_owned()];
    let addresses = ["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()];
    let server = ca.issue_server(&names, &addresses, DECADE).unwrap().certificate;
    issued_by(&server, ca.certificate()).unwrap();
    assert_eq!(
        server.subject_alternative_names(),
        [
            AlternativeName::DnsName("broker.plant.example".to_owned()),
            AlternativeName::DnsName("*.iot.plant.example".to_owned()),
            AlternativeName::IpAddress("127.0.0.1".to_owned()),
            AlternativeName::IpAddress("::1".to_owned()),
        ]
    );
    assert_eq!(server.subject().first(Attribute::CommonName), Some("broker.plant.example"));
    let only_address = ca.issue_server(&[], &addresses[..1], DECADE).unwrap().certificate;
    assert_eq!(only_address.subject().first(Attribute::CommonName), Some("127.0.0.1"));
    let long = format!("{}.example", "a".repeat(60));
    let long = ca.issue_server(&[long], &[], DECADE).unwrap().certificate;
    assert_eq!(long.subject().to_string(), "");
    for wrong in ["", "a b", "bücher.example", "host:8883", "a..b", "https://x"] {
        let error = ca.issue_server(&[wrong.to_owned()], &[], DECADE).unwrap_err();
        assert_eq!(error.kind(), CertificateErrorKind::Issue, "{wrong:?}");
    }
    assert!(ca.issue_server(&[], &[], DECADE).is_err());
}

#[test]
fn a_verification_certificate_carries_the_registration_code() {
    let ca = authority(KeyKind::EcP256);
    let code = "a914".repeat(16);
    let verification = ca.issue_verification(&code, DECADE).unwrap().certificate;
    assert_eq!(verification.subject().first(Attribute::CommonName), Some(code.as_str()));
    issued_by(&verification, ca.certificate()).unwrap();
}

#[test]
fn alternative_names_of_a_device_are_read_back() {
    let names = [
        AlternativeName::Rfc822Name("device@plant.example".to_owned()),
        AlternativeName::UniformResourceIdentifier("urn:device:7".to_owned()),
    ];
    let ca = authority(KeyKind::EcP256);
    let leaf = ca.issue_device_with_names(&device("x"), &names).unwrap().certificate;
    assert_eq!(leaf.subject_alternative_names(), names);
    let directory = [AlternativeName::DirectoryName("CN=x".to_owned())];
    assert!(ca.issue_device_with_names(&device("x"), &directory).is_err());
}

#[test]
fn an_impostor_with_the_same_name_did_not_issue() {
    let (ca, impostor) = (authority(KeyKind::EcP256), authority(KeyKind::EcP256));
    let leaf = ca.issue_device(&device("x")).unwrap().certificate;
    assert_eq!(ca.certificate().subject(), impostor.certificate().subject());
    assert_eq!(issued_by(&leaf, impostor.certificate()), Err(IssuerError::KeyIdentifierMismatch));
    let other = Authority::create(&name("Other CA"), DECADE, KeyKind::EcP256).unwrap();
    assert_eq!(issued_by(&leaf, other.certificate()), Err(IssuerError::NameMismatch));
}

#[test]
fn a_reissued_authority_with_the_same_key_still_verifies() {
    let ca = authority(KeyKind::EcP384);
    let leaf = ca.issue_device(&device("x")).unwrap().certificate;
    let later = Validity { not_before: DECADE.not_after, not_after: DECADE.not_after + 1000 };
    let again = Authority::create_for_key(&name("Device CA"), later, ca.private_key().expose()).unwrap();
    assert_ne!(again.certificate().id(), ca.certificate().id());
    issued_by(&leaf, again.certificate()).unwrap();
}

#[test]
fn an_intermediate_authority_issues_and_its_root_did_not_issue_the_leaf() {
    let root = authority(KeyKind::EcP384);
    let intermediate = root.issue_authority(&name("Line 4"), DECADE, KeyKind::EcP256).unwrap();
    check_issuing_ca(intermediate.certificate()).unwrap();
    issued_by(intermediate.certificate(), root.certificate()).unwrap();
    let leaf = intermediate.issue_device(&device("x")).unwrap().certificate;
    issued_by(&leaf, intermediate.certificate()).unwrap();
    assert_eq!(issued_by(&leaf, root.certificate()), Err(IssuerError::NameMismatch));
}

#[test]
fn an_authority_survives_being_written_and_read() {
    let ca = authority(KeyKind::Rsa2048);
    let again = Authority::from_pem(&ca.certificate().to_pem(), ca.private_key().expose()).unwrap();
    assert_eq!(again.certificate(), ca.certificate());
    issued_by(&again.issue_device(&device("x")).unwrap().certificate, ca.certificate()).unwrap();
}

#[test]
fn an_authority_of_another_maker_is_read_in_every_key_format() {
    let certificate = fixture("ca.pem");
    for key in ["key-pkcs8.pem", "key-sec1.pem", "ca.key"] {
        let ca = Authority::from_pem(&certificate, &fixture(key)).unwrap();
        issued_by(&ca.issue_device(&device("x")).unwrap().certificate, ca.certificate()).unwrap();
    }
    let rsa = Authority::from_pem(&fixture("ca-rsa.pem"), &fixture("key-pkcs1.pem")).unwrap();
    assert!(rsa.private_key().expose().starts_with("-----BEGIN PRIVATE KEY-----\n"));
    issued_by(&rsa.issue_device(&device("x")).unwrap().certificate, rsa.certificate()).unwrap();
    let error = Authority::from_pem(&certificate, &fixture("key-encrypted.pem")).unwrap_err();
    assert!(error.to_string().contains("is encrypted"), "{error}");
}

#[test]
fn an_issuer_name_that_no_encoder_here_writes_is_kept_byte_for_byte() {
    // Multi-valued RDNs, BMPStrings, a repeated attribute: only the raw bytes can be right.
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.distinguished_name = rcgen::DistinguishedName::new();
    let bmp = rcgen::DnValue::BmpString("Żółw".try_into().unwrap());
    params.distinguished_name.push(rcgen::DnType::CommonName, bmp);
    let certificate = params.self_signed(&key).unwrap();
    let ca = Authority::from_pem(&certificate.pem(), &key.serialize_pem()).unwrap();
    let leaf = ca.issue_device(&device("x")).unwrap().certificate;
    assert_eq!(leaf.issuer().der(), ca.certificate().subject().der());
    issued_by(&leaf, ca.certificate()).unwrap();
}

#[test]
fn a_key_of_another_certificate_and_a_certificate_that_is_no_ca_are_refused() {
    let (ca, other) = (authority(KeyKind::EcP256), authority(KeyKind::EcP256));
    let error = Authority::from_pem(&ca.certificate().to_pem(), other.private_key().expose()).unwrap_err();
    assert_eq!(error.kind(), CertificateErrorKind::PrivateKey);
    assert_eq!(
        error.to_string(),
        "the private key is not the one of the CA certificate CN=Device CA,O=Plant A"
    );
    let leaf = ca.issue_device(&device("x")).unwrap();
    let error = Authority::from_pem(&leaf.certificate.to_pem(), leaf.private_key.expose()).unwrap_err();
    assert_eq!(error.kind(), CertificateErrorKind::NotACa);
}

#[test]
fn impossible_validities_are_refused() {
    let ca = authority(KeyKind::EcP256);
    for (not_before, not_after) in [(10, 9), (i64::MIN, 0), (0, i64::MAX)] {
        let request = LeafRequest { validity: Validity { not_before, not_after }, ..device("x") };
        assert_eq!(ca.issue_device(&request).unwrap_err().kind(), CertificateErrorKind::Issue);
    }
    let aws = Validity { not_before: 0, not_after: 2_524_607_999 };
    let leaf = ca.issue_device(&LeafRequest { validity: aws, ..device("x") }).unwrap().certificate;
    assert_eq!(leaf.validity(), aws);
}

#[test]
fn a_request_keeps_its_subject_and_key_and_two_postings_make_two_certificates() {
    let ca = authority(KeyKind::EcP256);
    let csr = fixture("csr.pem");
    let first = ca.issue_for_csr(&csr, DECADE).unwrap();
    let second = ca.issue_for_csr(&csr, DECADE).unwrap();
    assert_eq!(first.subject().to_string(), "CN=Gerät,OU=b,OU=a,C=CH");
    assert_eq!(first.public_key_info(), second.public_key_info());
    let same_key = Certificate::from_pem(&fixture("device-v3.pem")).unwrap();
    assert_eq!(first.public_key_info(), same_key.public_key_info());
    assert_ne!(first.id(), second.id());
    assert!(!first.is_ca());
    issued_by(&first, ca.certificate()).unwrap();
    ca.issue_for_csr(&fixture("csr-rsa.pem"), DECADE).unwrap();
}

#[test]
fn requests_that_are_damaged_foreign_or_weak_are_refused() {
    let ca = authority(KeyKind::EcP256);
    let kind = |text: &str| ca.issue_for_csr(text, DECADE).unwrap_err().kind();
    assert_eq!(kind(&fixture("csr-ed25519.pem")), CertificateErrorKind::UnsupportedAlgorithm);
    assert_eq!(kind(&fixture("ca.pem")), CertificateErrorKind::Request);
    assert_eq!(kind(""), CertificateErrorKind::Request);
    assert_eq!(kind(&"a".repeat(4097)), CertificateErrorKind::TooLarge);
    // Any one character of the base64 changed breaks the DER or the signature.
    let csr = fixture("csr.pem");
    for index in (30..csr.len() - 40).step_by(7).filter(|index| csr.as_bytes()[*index] != b'\n') {
        let mut damaged = csr.clone().into_bytes();
        damaged[index] = if damaged[index] == b'A' { b'B' } else { b'A' };
        let damaged = String::from_utf8(damaged).unwrap();
        assert!(ca.issue_for_csr(&damaged, DECADE).is_err(), "character {index}");
    }
}
