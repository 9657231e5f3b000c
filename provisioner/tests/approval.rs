//! Certificates that registered themselves and wait for an operator: listed, approved, rejected.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]
mod support;

use jitp_provisioner::names::{CertificateId, TemplateName};
use jitp_provisioner::records::{CertificateStatus, TemplateType};
use jitp_provisioner::registry::{CreateTemplate, PageRequest};
use jitp_provisioner::{Approval, Options, Outcome, ReasonCode, RegistryError};
use support::*;

async fn waiting(site: &Site, ca: Option<CertificateId>) -> Vec<CertificateId> {
    let page = site.registry().list_pending_certificates(ca, &all()).await.unwrap();
    page.items.into_iter().map(|record| record.certificate_id).collect()
}

fn sorted(mut ids: Vec<CertificateId>) -> Vec<CertificateId> {
    ids.sort();
    ids
}

async fn create_template(site: &Site, name: &str, body: &str) {
    let template = CreateTemplate {
        name: TemplateName::new(name).unwrap(),
        template_type: TemplateType::Jitp,
        body: body.into(),
        description: None,
        enabled: true,
        role_arn: "arn:aws:iam::000000000000:role/provisioner".into(),
        hook: None,
        tags: Default::default(),
    };
    site.registry().create_template(template).await.unwrap();
}

#[tokio::test]
async fn what_waits_is_listed_by_its_ca_until_somebody_decides() {
    let site = Site::new().await;
    let (a, b) = (authority("A"), authority("B"));
    let (a_id, b_id) = (site.register(&a, None).await, site.register(&b, None).await);
    let devices: Vec<Device> = (0..5).map(|n| Device::new(&a, &format!("a-{n}"))).collect();
    let other = Device::new(&b, "b-0");
    for device in devices.iter().chain([&other]) {
        site.refused(device).await;
    }
    let of_a = sorted(devices.iter().map(|device| device.id).collect());
    assert_eq!(waiting(&site, Some(a_id)).await, of_a);
    assert_eq!(waiting(&site, Some(b_id)).await, [other.id]);
    assert_eq!(sorted(waiting(&site, None).await), sorted([of_a.clone(), vec![other.id]].concat()));
    let mut found = Vec::new();
    let mut request = PageRequest { after: None, limit: 2, ascending: true };
    loop {
        let page = site.registry().list_pending_certificates(Some(a_id), &request).await.unwrap();
        found.extend(page.items.into_iter().map(|record| record.certificate_id));
        let Some(next) = page.next else { break };
        request.after = Some(next);
    }
    assert_eq!(found, of_a);

    // Every way out of waiting leads out of the list.
    site.provisioner.approve_certificate(devices[0].id, &Approval::default()).await.unwrap();
    site.provisioner.reject_certificate(devices[1].id, false).await.unwrap();
    site.provisioner.reject_certificate(devices[2].id, true).await.unwrap();
    site.registry().update_certificate(devices[3].id, CertificateStatus::Inactive).await.unwrap();
    site.registry().delete_certificate(devices[4].id, false).await.unwrap();
    assert!(waiting(&site, Some(a_id)).await.is_empty());
    let statuses = [
        Some(CertificateStatus::Active),
        Some(CertificateStatus::Inactive),
        Some(CertificateStatus::Revoked),
        Some(CertificateStatus::Inactive),
        None,
    ];
    for (device, status) in devices.iter().zip(statuses) {
        assert_eq!(site.status(device).await, status);
    }
    // It knocks again, and waits again; the list outlives a restart.
    site.refused(&devices[4]).await;
    let site = site.reopened(Options::default()).await;
    assert_eq!(waiting(&site, Some(a_id)).await, [devices[4].id]);
}

#[tokio::test]
async fn a_device_that_its_template_lets_in_never_waits_and_one_that_it_refuses_does() {
    let site = Site::new().await;
    let ca = authority("Plant");
    let id = site.register(&ca, Some(&template(r#","ThingGroups":["line"]"#, ""))).await;
    let device = Device::new(&ca, "pump-1");
    site.refused(&device).await;
    assert_eq!(waiting(&site, Some(id)).await, [device.id]);
    site.create_group("line", None).await;
    site.pass(10_000);
    site.admitted(&device).await;
    site.admitted(&Device::new(&ca, "pump-2")).await;
    assert!(waiting(&site, Some(id)).await.is_empty());
}

#[tokio::test]
async fn approving_attaches_policies_and_lets_the_device_in() {
    let site = Site::new().await;
    let ca = authority("Plant");
    site.register(&ca, None).await;
    site.create_policy("device", ALLOW_ALL).await;
    let device = Device::new(&ca, "pump-1");
    assert_eq!(site.refused(&device).await.reason, ReasonCode::RegisteredPendingActivation);
    let absent = Approval { policies: vec![policy("absent")], ..Approval::default() };
    let refused = site.provisioner.approve_certificate(device.id, &absent).await.unwrap_err();
    assert!(matches!(refused, RegistryError::NotFound { .. }), "{refused}");
    assert_eq!(site.status(&device).await, Some(CertificateStatus::PendingActivation), "all or nothing");
    let approval = Approval { policies: vec![policy("device")], ..Approval::default() };
    let decided = site.provisioner.approve_certificate(device.id, &approval).await.unwrap();
    assert_eq!((decided.certificate.status, decided.thing), (CertificateStatus::Active, None));
    assert_eq!(site.policies_of(&device).await, ["device"]);
    site.admitted(&device).await;
    let again = site.provisioner.approve_certificate(device.id, &approval).await.unwrap_err();
    assert!(matches!(again, RegistryError::CertificateState(_)), "{again}");
    let unknown = Device::new(&ca, "unknown");
    let unknown = site.provisioner.reject_certificate(unknown.id, false).await.unwrap_err();
    assert!(matches!(unknown, RegistryError::NotFound { .. }), "{unknown}");
}

#[tokio::test]
async fn approving_with_a_template_is_a_run_like_that_of_a_first_connection() {
    let site = Site::new().await;
    let ca = authority("Plant");
    site.register(&ca, None).await;
    create_template(&site, "plant", &template(r#","ThingGroups":["line"]"#, "")).await;
    let device = Device::new(&ca, "pump-1");
    site.refused(&device).await;
    let approval = Approval { template: Some(TemplateName::new("plant").unwrap()), policies: Vec::new() };
    let failed = site.provisioner.approve_certificate(device.id, &approval).await.unwrap_err();
    assert!(matches!(&failed, RegistryError::RegistrationFailure(m) if m.contains("line")), "{failed}");
    assert!(site.thing("pump-1").await.is_none(), "all or nothing");
    site.create_group("line", None).await;
    let decided = site.provisioner.approve_certificate(device.id, &approval).await.unwrap();
    assert_eq!(decided.thing, Some(thing("pump-1")));
    assert_eq!(decided.certificate.status, CertificateStatus::Active);
    assert_eq!(
        (site.things_of(&device).await, site.groups_of("pump-1").await),
        (vec!["pump-1".into()], vec!["line".into()])
    );
    let attempt = site.attempt_of(&device, ReasonCode::Provisioned).await;
    assert_eq!(attempt.outcome, Outcome::Provisioned);
    assert_eq!((attempt.template_name, attempt.template_version), (approval.template, Some(1)));
    assert_eq!(attempt.parameters["AWS::IoT::Certificate::CommonName"], "pump-1");
    site.admitted(&device).await;
}
