//! Certificates that the broker issues: to operators, to devices with a claim, and the claims themselves.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]
mod support;

use async_trait::async_trait;
use jitp_certs::{Attribute, Authority, Certificate, KeyKind, KeyPair, issued_by};
use jitp_provisioner::issuing::{
    Issuer, IssuingCa, IssuingError, IssuingOptions, NotIssued, Order, OwnershipTokenError,
};
use jitp_provisioner::names::{CertificateId, CertificateProviderName, TemplateName};
use jitp_provisioner::records::{CertificateMode, CertificateStatus, PolicyTarget, TemplateType};
use jitp_provisioner::registry::{CreateCertificateProvider, CreateTemplate};
use jitp_provisioner::{
    Callback, Callbacks, Change, ConnectContext, Options, Provisioner, ReasonCode, RegistryError, Timestamp,
};
use std::sync::Arc;
use support::*;

const HOUR: u64 = 3_600_000;

/// EC keys, which take no time.
fn quick() -> Options {
    Options {
        issuing: IssuingOptions { keys: KeyKind::EcP256, ..IssuingOptions::default() },
        ..Options::default()
    }
}
fn csr(name: &str) -> String {
    let pair = KeyPair::generate(KeyKind::EcP256).unwrap();
    pair.sign_request(&[(Attribute::CommonName, name.into())]).unwrap()
}
fn claim_id() -> CertificateId {
    CertificateId::from_bytes([9; 32])
}
fn device(pem: &str) -> Device {
    let certificate = Certificate::from_pem(pem).unwrap();
    Device {
        name: "bootstrap".into(),
        der: certificate.der().to_vec(),
        pem: pem.into(),
        id: certificate.id(),
    }
}

#[tokio::test]
async fn an_operator_gets_a_pair_as_aws_gives_it_and_its_device_connects() {
    let site = Site::new().await;
    let issued = site.provisioner.create_keys_and_certificate(true).await.unwrap();
    let pem = issued.certificate.pem();
    let certificate = Certificate::from_pem(&pem).unwrap();
    assert_eq!(certificate.subject().to_string(), "CN=AWS IoT Certificate");
    assert_eq!(certificate.validity().not_after, 2_524_607_999);
    assert_eq!(issued.certificate.mode, CertificateMode::Default);
    assert_eq!(issued.certificate.ca_certificate_id, None);
    assert!(pem.len() < 2000, "{}", pem.len());
    issued_by(&certificate, site.provisioner.issuing_ca()).unwrap();
    let key = issued.keys.private_key.to_traditional_pem();
    assert!(key.starts_with("-----BEGIN RSA PRIVATE KEY-----\n"));
    assert!(!format!("{issued:?}").contains("PRIVATE"));
    let id = issued.certificate.certificate_id;
    assert_eq!(site.registry().certificate(id).await.unwrap(), issued.certificate);
    let change = Change::Certificate { certificate_id: id, from: None, to: Some(CertificateStatus::Active) };
    assert!(site.changes().await.contains(&change));
    site.admitted(&device(&pem)).await;
}

#[tokio::test]
async fn a_signing_request_keeps_its_key_and_subject_and_gives_another_certificate_each_time() {
    let site = Site::with(quick()).await;
    let request = csr("pump-7");
    let one = site.provisioner.create_certificate_from_csr(&request, false).await.unwrap();
    let other = site.provisioner.create_certificate_from_csr(&request, true).await.unwrap();
    assert_ne!(one.certificate_id, other.certificate_id);
    assert_eq!((one.status, other.status), (CertificateStatus::Inactive, CertificateStatus::Active));
    let [one, other] = [one, other].map(|record| Certificate::from_der(&record.der).unwrap());
    assert_eq!(one.subject().to_string(), "CN=pump-7");
    assert_eq!(one.public_key_info(), other.public_key_info());
}

#[tokio::test]
async fn a_request_that_is_not_acceptable_is_refused_with_a_reason() {
    let site = Site::with(quick()).await;
    let good = csr("pump-7");
    let forged = {
        let (head, tail) = good.split_at(good.len() / 2);
        let swapped = if tail.starts_with('A') { "B" } else { "A" };
        format!("{head}{swapped}{}", &tail[1..])
    };
    let long = csr(&"x".repeat(1500));
    for (request, expected) in [
        ("", "found 0 PEM blocks"),
        ("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n", "not a cert"),
        (forged.as_str(), ""),
        (long.as_str(), "shorter subject"),
        (&" ".repeat(5000), "longer than 4096"),
    ] {
        match site.provisioner.create_certificate_from_csr(request, true).await {
            Err(IssuingError::Request(why)) => assert!(why.contains(expected), "{why}"),
            other => panic!("{other:?}"),
        }
    }
    assert!(site.registry().list_certificates(None, &all()).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn the_profile_and_the_ca_are_the_operators() {
    let ca = authority("Works");
    let options = IssuingOptions {
        ca: Some(IssuingCa { certificate: ca.certificate().to_pem(), private_key: ca.private_key().clone() }),
        lifetime: Some(std::time::Duration::from_secs(3600)),
        subject: vec![(Attribute::Organization, "Works".into())],
        ..quick().issuing
    };
    let site = Site::with(Options { issuing: options, ..Options::default() }).await;
    let issued = site.provisioner.create_keys_and_certificate(false).await.unwrap();
    let certificate = Certificate::from_der(&issued.certificate.der).unwrap();
    issued_by(&certificate, ca.certificate()).unwrap();
    assert_eq!(certificate.subject().to_string(), "O=Works");
    assert_eq!(certificate.validity().not_after, Timestamp(NOW + HOUR).unix_seconds());
}

/// Answers with whatever it has been given.
struct Stubborn(Certificate);
#[async_trait]
impl Issuer for Stubborn {
    async fn issue(&self, _: &Order) -> Result<Certificate, NotIssued> {
        Ok(self.0.clone())
    }
}
struct Broken;
#[async_trait]
impl Issuer for Broken {
    async fn issue(&self, _: &Order) -> Result<Certificate, NotIssued> {
        Err(NotIssued::Failed("the CA of the works does not answer".into()))
    }
}

#[tokio::test]
async fn an_issuer_that_gives_something_else_than_was_ordered_is_not_believed() {
    let site = Site::with(quick()).await;
    let other = site.provisioner.create_certificate_from_csr(&csr("pump-1"), true).await.unwrap();
    let other = Certificate::from_der(&other.der).unwrap();
    site.provisioner.replace_issuer(Box::new(Stubborn(other)));
    let refused = site.provisioner.create_certificate_from_csr(&csr("pump-1"), true).await;
    assert!(matches!(&refused, Err(IssuingError::Issuer(why)) if why.contains("another key")), "{refused:?}");
    site.provisioner.replace_issuer(Box::new(Broken));
    let refused = site.provisioner.create_keys_and_certificate(true).await;
    assert!(matches!(&refused, Err(IssuingError::Issuer(why)) if why.contains("the works")), "{refused:?}");
}

const ARN: &str = "arn:aws:lambda:us-east-1:000000000000:function:sign";

/// A CA of the operator's behind an ARN.
struct Works(Authority);
#[async_trait]
impl Callback for Works {
    async fn call(&self, question: &[u8]) -> Result<Vec<u8>, String> {
        let question: serde_json::Value = serde_json::from_slice(question).unwrap();
        let csr = question["certificateSigningRequest"].as_str().unwrap();
        let issued = self.0.issue_for_csr(csr, validity()).unwrap();
        Ok(serde_json::json!({"certificatePem": issued.to_pem()}).to_string().into_bytes())
    }
}
fn with_works(issuer: Option<&str>) -> (Options, Certificate) {
    let works = authority("Works");
    let certificate = works.certificate().clone();
    let callbacks = Callbacks::default().with(ARN, Arc::new(Works(works)), 4);
    let issuing = IssuingOptions { issuer: issuer.map(str::to_owned), ..quick().issuing };
    (Options { issuing, callbacks, ..Options::default() }, certificate)
}

#[tokio::test]
async fn a_certificate_provider_signs_the_requests_of_devices_and_nothing_else() {
    let (options, works) = with_works(None);
    let site = Site::with(options).await;
    let mut provider = CreateCertificateProvider {
        name: CertificateProviderName::new("works").unwrap(),
        function_arn: "arn:aws:lambda:us-east-1:000000000000:function:other".into(),
        client_token: None,
        tags: Default::default(),
    };
    let refused = site.registry().create_certificate_provider(provider.clone()).await.unwrap_err();
    assert!(refused.to_string().contains(ARN), "it says which there are: {refused}");
    provider.function_arn = ARN.into();
    site.registry().create_certificate_provider(provider).await.unwrap();

    let (p, now, csr) = (&site.provisioner, Timestamp(NOW), csr("pump-1"));
    let by_device = p.create_pending_certificate_from_csr(&csr, claim_id(), "boot", now).await.unwrap();
    issued_by(&Certificate::from_pem(&by_device.certificate_pem).unwrap(), &works).unwrap();
    let by_operator = p.create_certificate_from_csr(&csr, false).await.unwrap();
    issued_by(&Certificate::from_der(&by_operator.der).unwrap(), p.issuing_ca()).unwrap();
    let pair = p.create_pending_keys_and_certificate(claim_id(), "boot", now).await.unwrap();
    issued_by(&Certificate::from_pem(&pair.certificate.certificate_pem).unwrap(), p.issuing_ca()).unwrap();

    let name = CertificateProviderName::new("works").unwrap();
    site.registry().delete_certificate_provider(&name).await.unwrap();
    let after = p.create_pending_certificate_from_csr(&csr, claim_id(), "boot", now).await.unwrap();
    issued_by(&Certificate::from_pem(&after.certificate_pem).unwrap(), p.issuing_ca()).unwrap();
}

#[tokio::test]
async fn an_issuer_of_the_operators_signs_everything_but_claims() {
    let (options, works) = with_works(Some(ARN));
    let site = Site::with(options).await;
    let p = &site.provisioner;
    let pair = p.create_keys_and_certificate(true).await.unwrap();
    issued_by(&Certificate::from_der(&pair.certificate.der).unwrap(), &works).unwrap();
    let pumps = template(&site, "pumps", TemplateType::FleetProvisioning).await;
    let claim = p.create_provisioning_claim(&pumps).await.unwrap();
    issued_by(&Certificate::from_pem(&claim.certificate_pem).unwrap(), p.issuing_ca()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (mut options, _) = with_works(Some("arn:aws:lambda:us-east-1:000000000000:function:none"));
    options.callbacks = Callbacks::default();
    let error = Provisioner::open(directory.path(), options, site.clock.clone()).await.unwrap_err();
    assert!(error.to_string().contains("there are none"), "{error}");
}

#[tokio::test]
async fn a_device_gets_a_pending_certificate_with_a_token_that_outlives_a_restart() {
    let site = Site::with(quick()).await;
    let now = Timestamp(NOW);
    let pair = site.provisioner.create_pending_keys_and_certificate(claim_id(), "boot-1", now).await.unwrap();
    let pending = pair.certificate;
    assert!(pair.private_key_pem.contains("PRIVATE KEY"));
    assert_eq!(
        site.refused(&device(&pending.certificate_pem)).await.reason,
        ReasonCode::CertificatePendingActivation
    );
    let site = site.reopened(quick()).await;
    let token = pending.ownership_token.expose().to_owned();
    let owned = site.provisioner.check_ownership_token(&token, now).await.unwrap();
    assert_eq!(
        (owned.certificate_id, owned.claim_certificate_id, owned.expires_at),
        (pending.certificate_id, claim_id(), Timestamp(NOW + HOUR))
    );
    let late = site.provisioner.check_ownership_token(&token, Timestamp(NOW + HOUR)).await;
    assert_eq!(late, Err(OwnershipTokenError::Expired));
    let foreign = Site::with(quick()).await.provisioner.check_ownership_token(&token, now).await;
    assert_eq!(foreign, Err(OwnershipTokenError::Invalid));
}

#[tokio::test]
async fn what_nobody_has_decided_about_when_its_token_ends_is_deleted_also_after_a_restart() {
    let site = Site::with(quick()).await;
    site.create_policy("p", ALLOW_ALL).await;
    let mut ids = Vec::new();
    for number in 0..4 {
        let name = format!("pump-{number}");
        let request = csr(&name);
        let made =
            site.provisioner.create_pending_certificate_from_csr(&request, claim_id(), &name, Timestamp(NOW));
        ids.push(made.await.unwrap().certificate_id);
    }
    let [left, activated, attached, deleted] = ids[..] else { panic!() };
    site.registry().update_certificate(activated, CertificateStatus::Active).await.unwrap();
    site.registry().attach_policy(&policy("p"), PolicyTarget::Certificate(attached)).await.unwrap();
    site.registry().delete_certificate(deleted, false).await.unwrap();

    site.pass(HOUR - 1);
    assert_eq!(site.provisioner.collect_expired().await.unwrap(), 0);
    assert!(site.registry().certificate(left).await.is_ok());
    let site = site.reopened(quick()).await;
    site.pass(1);
    site.provisioner.collect_expired().await.unwrap();
    assert!(matches!(site.registry().certificate(left).await, Err(RegistryError::NotFound { .. })));
    for (kept, status) in
        [(activated, CertificateStatus::Active), (attached, CertificateStatus::PendingActivation)]
    {
        assert_eq!(site.registry().certificate(kept).await.unwrap().status, status);
    }
    assert_eq!(site.provisioner.collect_expired().await.unwrap(), 0);
}

async fn template(site: &Site, name: &str, template_type: TemplateType) -> TemplateName {
    let name = TemplateName::new(name).unwrap();
    let body = r#"{"Resources":{"cert":{"Type":"AWS::IoT::Certificate","Properties":{
        "CertificateId":{"Ref":"AWS::IoT::Certificate::Id"}}}},
        "Parameters":{"AWS::IoT::Certificate::Id":{"Type":"String"}}}"#;
    let create = CreateTemplate {
        name: name.clone(),
        template_type,
        body: body.into(),
        description: None,
        enabled: true,
        role_arn: "arn:aws:iam::000000000000:role/provisioner".into(),
        hook: None,
        tags: Default::default(),
    };
    site.registry().create_template(create).await.unwrap();
    name
}

#[tokio::test]
async fn a_claim_connects_and_may_only_get_a_certificate_and_use_its_template() {
    use jitp_policies::Action::{Connect, Publish, Receive, Subscribe};
    let site = Site::with(quick()).await;
    let pumps = template(&site, "pumps", TemplateType::FleetProvisioning).await;
    let issued = site.provisioner.create_provisioning_claim(&pumps).await.unwrap();
    assert_eq!(issued.claim.expires_at, Timestamp(NOW + 300_000));
    let claim = device(&issued.certificate_pem);
    assert!(site.registry().list_certificates(None, &all()).await.unwrap().items.is_empty());
    assert!(matches!(site.registry().certificate(claim.id).await, Err(RegistryError::NotFound { .. })));

    let principal = site.admitted(&claim).await;
    assert_eq!(principal.claim.as_deref(), Some(&issued.claim));
    let connect = ConnectContext {
        client_id: "any".into(),
        source_ip: SOURCE.ip(),
        server_name: None,
        persistent: false,
        will_topic: None,
    };
    let granted = site.provisioner.permissions(&principal, &connect).await.unwrap().permissions;
    let provision = "$aws/provisioning-templates/pumps/provision/json";
    for (action, name, allowed) in [
        (Connect, "any", true),
        (Publish, "$aws/certificates/create/json", true),
        (Publish, "$aws/certificates/create-from-csr/cbor", true),
        (Publish, provision, true),
        (Receive, "$aws/certificates/create/json/accepted", true),
        (Receive, "$aws/provisioning-templates/pumps/provision/json/rejected", true),
        (Subscribe, "$aws/certificates/create/+/accepted", true),
        (Subscribe, "$aws/provisioning-templates/pumps/provision/json/accepted", true),
        (Subscribe, "$aws/#", false),
        (Subscribe, "#", false),
        (Publish, "$aws/provisioning-templates/valves/provision/json", false),
        (Publish, "$aws/provisioning-templates/pumps2/provision/json", false),
        (Publish, "telemetry", false),
        (Receive, "telemetry", false),
    ] {
        assert_eq!(granted.decide(action, name).is_allowed(), allowed, "{action:?} {name}");
    }
}

#[tokio::test]
async fn a_claim_ends_for_new_connections_then_for_open_ones_and_is_collected() {
    let site = Site::with(quick()).await;
    let pumps = template(&site, "pumps", TemplateType::FleetProvisioning).await;
    let issued = site.provisioner.create_provisioning_claim(&pumps).await.unwrap();
    let claim = device(&issued.certificate_pem);
    let principal = site.admitted(&claim).await;
    site.pass(300_000);
    assert_eq!(site.refused(&claim).await.reason, ReasonCode::CertificateNotRegistered);
    assert_eq!(site.provisioner.recheck(&principal).await.unwrap(), None, "the grace of open ones");
    let site = site.reopened(quick()).await;
    site.pass(60_000);
    let gone = Some(ReasonCode::CertificateNotRegistered);
    assert_eq!(site.provisioner.recheck(&principal).await.unwrap(), gone);
    site.provisioner.collect_expired().await.unwrap();
    let ended =
        Change::Certificate { certificate_id: claim.id, from: Some(CertificateStatus::Active), to: None };
    assert!(site.changes().await.contains(&ended));
    assert_eq!(site.refused(&claim).await.reason, ReasonCode::CertificateNotRegistered);
}

#[tokio::test]
async fn a_claim_needs_a_fleet_template() {
    let site = Site::with(quick()).await;
    let jitp = template(&site, "jitp", TemplateType::Jitp).await;
    let refused = site.provisioner.create_provisioning_claim(&jitp).await.unwrap_err();
    assert!(matches!(refused, IssuingError::Registry(RegistryError::InvalidRequest(_))), "{refused:?}");
    let missing = TemplateName::new("none").unwrap();
    let refused = site.provisioner.create_provisioning_claim(&missing).await.unwrap_err();
    assert!(matches!(refused, IssuingError::Registry(RegistryError::NotFound { .. })), "{refused:?}");
}
