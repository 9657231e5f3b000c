use super::*;
use jitp_provisioner::registry::{CreateTemplate, UpdateCaCertificate};

fn request(pem: String) -> RegisterCaCertificate {
    RegisterCaCertificate { ca_certificate: pem, ..RegisterCaCertificate::default() }
}
fn without_proof(pem: String) -> RegisterCaCertificate {
    RegisterCaCertificate { mode: CertificateMode::SniOnly, ..request(pem) }
}
fn template(name: &str, template_type: TemplateType) -> CreateTemplate {
    CreateTemplate {
        name: name.parse().unwrap(),
        template_type,
        body: JITP_BODY.into(),
        description: None,
        enabled: true,
        role_arn: ROLE.into(),
        hook: None,
        tags: Default::default(),
    }
}
fn by_name(name: &str) -> RegistrationConfig {
    RegistrationConfig { template_name: Some(name.parse().unwrap()), template_body: None, role_arn: None }
}

#[tokio::test]
async fn a_ca_is_registered_with_proof_of_its_key_inactive_unless_asked_otherwise() {
    let fixture = Fixture::new().await;
    let ca = authority("Plant");
    let code = fixture.registry.registration_code().await.unwrap();
    let proof = ca.issue_verification(&code, VALIDITY).unwrap().certificate.to_pem();
    let with_proof =
        RegisterCaCertificate { verification_certificate: Some(proof), ..request(ca.certificate().to_pem()) };
    let record = fixture.registry.register_ca_certificate(with_proof).await.unwrap();
    assert_eq!(record.certificate_id, ca.certificate().id());
    assert_eq!((record.status, record.auto_registration, record.version), (CaStatus::Inactive, false, 1));
    assert_eq!(fixture.registry.ca_certificate(record.certificate_id).await.unwrap(), record);
    assert_eq!(record.created_at, Timestamp(NOW));
}

#[tokio::test]
async fn the_proof_must_be_signed_by_the_ca_and_carry_the_registration_code() {
    let fixture = Fixture::new().await;
    let (ca, other) = (authority("Plant"), authority("Plant"));
    let register = async |proof: Option<String>, mode| {
        let request = RegisterCaCertificate {
            verification_certificate: proof,
            mode,
            ..request(ca.certificate().to_pem())
        };
        kind(fixture.registry.register_ca_certificate(request).await)
    };
    let proof = |by: &Authority, code: &str| {
        Some(by.issue_verification(code, VALIDITY).unwrap().certificate.to_pem())
    };
    assert_eq!(register(proof(&ca, "guess"), CertificateMode::Default).await, "RV", "there is no code yet");
    let code = fixture.registry.registration_code().await.unwrap();
    assert_eq!(register(None, CertificateMode::Default).await, "IR");
    assert_eq!(register(Some("no PEM".into()), CertificateMode::Default).await, "CV");
    assert_eq!(register(proof(&other, &code), CertificateMode::Default).await, "CV");
    assert_eq!(register(proof(&ca, "guess"), CertificateMode::Default).await, "RV");
    assert_eq!(register(proof(&ca, &code), CertificateMode::SniOnly).await, "IR");
    let stale = proof(&ca, &code);
    fixture.registry.delete_registration_code().await.unwrap();
    assert_eq!(register(stale, CertificateMode::Default).await, "RV");
}

#[tokio::test]
async fn the_registration_code_is_64_hex_digits_and_stays_until_deleted() {
    let fixture = Fixture::new().await;
    assert_eq!(kind(fixture.registry.delete_registration_code().await), "NF");
    let code = fixture.registry.registration_code().await.unwrap();
    assert!(code.len() == 64 && code.bytes().all(|b| b.is_ascii_hexdigit()));
    assert_eq!(fixture.registry.registration_code().await.unwrap(), code);
    fixture.registry.delete_registration_code().await.unwrap();
    assert_ne!(fixture.registry.registration_code().await.unwrap(), code);
}

#[tokio::test]
async fn what_is_no_ca_certificate_is_refused() {
    let fixture = Fixture::new().await;
    let ca = authority("Plant");
    let expired = Authority::create(
        &[(Attribute::CommonName, "Old".into())],
        Validity { not_before: 1_500_000_000, not_after: 1_600_000_000 },
        KeyKind::EcP256,
    )
    .unwrap();
    for pem in ["".into(), "text".into(), leaf(&ca, "d").to_pem(), expired.certificate().to_pem()] {
        assert_eq!(kind(fixture.registry.register_ca_certificate(without_proof(pem)).await), "CV");
    }
}

#[tokio::test]
async fn a_ca_is_registered_once_and_a_subject_ten_times() {
    let fixture = Fixture::new().await;
    for _ in 0..10 {
        fixture.ca("Plant").await;
    }
    let (_, other) = fixture.ca("Other").await;
    let eleventh = without_proof(authority("Plant").certificate().to_pem());
    assert_eq!(kind(fixture.registry.register_ca_certificate(eleventh.clone()).await), "LE");
    let again = without_proof(other.pem.clone());
    let error = fixture.registry.register_ca_certificate(again).await.unwrap_err();
    let RegistryError::AlreadyExists { id, arn, .. } = error else { panic!("{error:?}") };
    assert_eq!(id, other.certificate_id.to_string());
    assert_eq!(arn, format!("arn:aws:iot:us-east-1:000000000000:cacert/{id}"));
    let page = fixture.registry.list_ca_certificates(None, &first(250)).await.unwrap();
    let plant = page.items.iter().find(|c| c.certificate_id != other.certificate_id).unwrap();
    fixture.registry.delete_ca_certificate(plant.certificate_id).await.unwrap();
    fixture.registry.register_ca_certificate(eleventh).await.unwrap();
}

#[tokio::test]
async fn a_registration_config_is_checked_before_it_is_stored() {
    let fixture = Fixture::new().await;
    fixture.registry.create_template(template("jitp", TemplateType::Jitp)).await.unwrap();
    fixture.registry.create_template(template("fleet", TemplateType::FleetProvisioning)).await.unwrap();
    let body = |body: &str, role: Option<&str>| RegistrationConfig {
        template_name: None,
        template_body: Some(body.into()),
        role_arn: role.map(Into::into),
    };
    let both = RegistrationConfig { template_body: Some(JITP_BODY.into()), ..by_name("jitp") };
    let neither = RegistrationConfig { template_name: None, template_body: None, role_arn: None };
    let cases = [
        (by_name("jitp"), None),
        (by_name("fleet"), Some("IR")),
        (by_name("missing"), Some("NF")),
        (body(JITP_BODY, Some(ROLE)), None),
        (body(JITP_BODY, None), Some("IR")),
        (body(JITP_BODY, Some("short")), Some("IR")),
        (body("{}", Some(ROLE)), Some("IR")),
        (body("no json", Some(ROLE)), Some("IR")),
        (both, Some("IR")),
        (neither, Some("IR")),
    ];
    let (_, ca) = fixture.ca("Updated").await;
    for (config, expected) in cases {
        let new = RegisterCaCertificate {
            registration_config: Some(config.clone()),
            ..without_proof(authority("Plant").certificate().to_pem())
        };
        let update = UpdateCaCertificate {
            registration_config: Some(config.clone()),
            ..UpdateCaCertificate::default()
        };
        let registered = fixture.registry.register_ca_certificate(new).await;
        let updated = fixture.registry.update_ca_certificate(ca.certificate_id, update).await;
        match expected {
            None => {
                assert_eq!(registered.unwrap().registration_config, Some(config.clone()));
                updated.unwrap();
                let stored = fixture.registry.ca_certificate(ca.certificate_id).await.unwrap();
                assert_eq!(stored.registration_config, Some(config));
            }
            Some(expected) => {
                assert_eq!((kind(registered), kind(updated)), (expected, expected), "{config:?}");
            }
        }
    }
}

#[tokio::test]
async fn an_update_changes_what_it_names_and_removing_auto_registration_removes_its_config() {
    let fixture = Fixture::new().await;
    fixture.registry.create_template(template("jitp", TemplateType::Jitp)).await.unwrap();
    let (_, ca) = fixture.ca("Plant").await;
    let id = ca.certificate_id;
    let update = async |u: UpdateCaCertificate| fixture.registry.update_ca_certificate(id, u).await;
    let look = async || fixture.registry.ca_certificate(id).await.unwrap();
    update(UpdateCaCertificate::default()).await.unwrap();
    assert_eq!(look().await.version, 1, "nothing was named, nothing changed");
    fixture.later(5);
    update(UpdateCaCertificate {
        new_auto_registration: Some(true),
        registration_config: Some(by_name("jitp")),
        ..UpdateCaCertificate::default()
    })
    .await
    .unwrap();
    let after = look().await;
    assert_eq!((after.status, after.auto_registration, after.version), (CaStatus::Inactive, true, 2));
    assert_eq!(after.modified_at, Timestamp(NOW + 5_000));
    update(UpdateCaCertificate { remove_auto_registration: true, ..UpdateCaCertificate::default() })
        .await
        .unwrap();
    assert_eq!((look().await.registration_config, look().await.auto_registration), (None, false));
    let contradiction = UpdateCaCertificate {
        remove_auto_registration: true,
        new_auto_registration: Some(true),
        ..UpdateCaCertificate::default()
    };
    assert_eq!(kind(update(contradiction).await), "IR");
}

#[tokio::test]
async fn a_ca_is_deleted_only_when_inactive_and_is_found_by_its_template() {
    let fixture = Fixture::new().await;
    fixture.registry.create_template(template("jitp", TemplateType::Jitp)).await.unwrap();
    let name: TemplateName = "jitp".parse().unwrap();
    let new = RegisterCaCertificate {
        registration_config: Some(by_name("jitp")),
        set_as_active: true,
        ..without_proof(authority("Plant").certificate().to_pem())
    };
    let ca = fixture.registry.register_ca_certificate(new).await.unwrap();
    fixture.ca("Other").await;
    let found = fixture.registry.list_ca_certificates(Some(&name), &first(9)).await.unwrap();
    assert_eq!(found.items, std::slice::from_ref(&ca));
    assert_eq!(kind(fixture.registry.delete_template(&name).await), "DC");
    assert_eq!(kind(fixture.registry.delete_ca_certificate(ca.certificate_id).await), "CS");
    let inactive =
        UpdateCaCertificate { new_status: Some(CaStatus::Inactive), ..UpdateCaCertificate::default() };
    fixture.registry.update_ca_certificate(ca.certificate_id, inactive).await.unwrap();
    fixture.registry.delete_ca_certificate(ca.certificate_id).await.unwrap();
    assert_eq!(kind(fixture.registry.ca_certificate(ca.certificate_id).await), "NF");
    assert_eq!(kind(fixture.registry.delete_ca_certificate(ca.certificate_id).await), "NF");
    assert!(fixture.registry.list_ca_certificates(Some(&name), &first(9)).await.unwrap().items.is_empty());
    fixture.registry.delete_template(&name).await.unwrap();
}
