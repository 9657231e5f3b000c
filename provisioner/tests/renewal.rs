//! A device renews its certificate.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]
mod support;

use jitp_certs::{Attribute, Certificate, KeyKind, KeyPair};
use jitp_provisioner::issuing::{IssuingError, IssuingOptions};
use jitp_provisioner::records::CertificateStatus::{Active, Inactive, Revoked};
use jitp_provisioner::{AuditFilter, Options, ReasonCode, RegistryError, Renewal, Renewed, Timestamp};
use std::time::Duration;
use support::*;

const DAY: u64 = 24 * 3_600_000;

/// A registry with a device that was provisioned by its CA's template, and is in a group.
async fn provisioned(options: Options) -> (Site, Device) {
    let site = Site::with(options).await;
    let ca = authority("Plant");
    site.create_group("pumps", None).await;
    site.register(&ca, Some(&template(r#","ThingGroups":["pumps"]"#, ""))).await;
    let device = Device::new(&ca, "pump-1");
    site.admitted(&device).await;
    (site, device)
}
fn key() -> KeyPair {
    KeyPair::generate(KeyKind::EcP256).unwrap()
}
fn csr(key: &KeyPair, name: &str) -> String {
    key.sign_request(&[(Attribute::CommonName, name.into())]).unwrap()
}
async fn renew(site: &Site, device: &Device, csr: &str) -> Result<Renewed, IssuingError> {
    let renewal = Renewal {
        certificate_id: device.id,
        csr: csr.into(),
        same_subject: true,
        client_id: device.name.clone(),
        source_ip: "10.1.2.3".into(),
        trace: "trace-1".into(),
    };
    site.provisioner.renew(&renewal).await
}
fn successor(renewed: &Renewed) -> Device {
    let pem = renewed.certificate.pem();
    let certificate = Certificate::from_pem(&pem).unwrap();
    Device { name: "pump-1".into(), der: certificate.der().to_vec(), pem, id: certificate.id() }
}

#[tokio::test]
async fn the_new_certificate_has_what_the_old_one_has_and_retires_it_when_it_connects() {
    let (site, old) = provisioned(Options::default()).await;
    let policies = site.policies_of(&old).await;
    assert_eq!(policies.len(), 1);
    let renewed = renew(&site, &old, &csr(&key(), "pump-1")).await.unwrap();
    assert_eq!(renewed.retires_at, Some(Timestamp(NOW + 7 * DAY)));
    let new = successor(&renewed);
    assert_ne!(new.id, old.id);
    assert_eq!(site.things_of(&new).await, ["pump-1"]);
    assert_eq!(site.policies_of(&new).await, policies);
    assert_eq!(site.groups_of("pump-1").await, ["pumps"]);
    assert_eq!(site.status(&old).await, Some(Active), "until the new one has connected");
    site.admitted(&old).await;

    site.pass(1000);
    let principal = site.admitted(&new).await;
    assert!(!principal.provisioned_now);
    assert_eq!(site.status(&old).await, Some(Inactive));
    assert_eq!(site.refused(&old).await.reason, ReasonCode::CertificateInactive);

    // An operator may bring it back; it is not retired again by what happened before.
    site.registry().update_certificate(old.id, Active).await.unwrap();
    site.admitted(&new).await;
    site.pass(8 * DAY);
    site.provisioner.collect_expired().await.unwrap();
    assert_eq!(site.status(&old).await, Some(Active));

    let chain = site.registry().renewal_chain(new.id).await.unwrap();
    assert_eq!(chain.iter().map(|link| link.certificate_id).collect::<Vec<_>>(), [old.id, new.id]);
    assert_eq!(chain, site.registry().renewal_chain(old.id).await.unwrap());
    assert_eq!(
        (chain[0].renewed_at, chain[0].retired_at),
        (Some(Timestamp(NOW)), Some(Timestamp(NOW + 1000)))
    );
    let audited = site.provisioner.audit().records().list(&AuditFilter::default(), None, 10).await.unwrap();
    assert_eq!(audited.len(), 1);
    assert_eq!(audited[0].operation, "RenewCertificate");
    assert_eq!(audited[0].access_key_id, format!("cert/{}", old.id));
    assert_eq!(audited[0].resources["newCertificateId"], new.id.to_string());
}

#[tokio::test]
async fn the_old_certificate_is_retired_when_the_grace_period_is_over_also_after_a_restart() {
    let (site, old) = provisioned(Options::default()).await;
    renew(&site, &old, &csr(&key(), "pump-1")).await.unwrap();
    let site = site.reopened(Options::default()).await;
    site.pass(7 * DAY - 1);
    site.provisioner.collect_expired().await.unwrap();
    assert_eq!(site.status(&old).await, Some(Active));
    site.pass(1);
    site.provisioner.collect_expired().await.unwrap();
    assert_eq!(site.status(&old).await, Some(Inactive));
}

#[tokio::test]
async fn without_a_grace_period_only_the_new_certificate_retires_the_old_one() {
    let issuing = IssuingOptions { renewal_grace: Duration::ZERO, ..IssuingOptions::default() };
    let (site, old) = provisioned(Options { issuing, ..Options::default() }).await;
    let renewed = renew(&site, &old, &csr(&key(), "pump-1")).await.unwrap();
    assert_eq!(renewed.retires_at, None);
    site.pass(300 * DAY);
    site.provisioner.collect_expired().await.unwrap();
    assert_eq!(site.status(&old).await, Some(Active));
    site.admitted(&successor(&renewed)).await;
    assert_eq!(site.status(&old).await, Some(Inactive));
}

#[tokio::test]
async fn a_repeated_request_is_answered_the_same_and_another_key_replaces_what_was_never_used() {
    let (site, old) = provisioned(Options::default()).await;
    let (first, second) = (key(), key());
    let renewed = renew(&site, &old, &csr(&first, "pump-1")).await.unwrap();
    let again = renew(&site, &old, &csr(&first, "pump-1")).await.unwrap();
    assert_eq!(again, renewed);
    let unused = successor(&renewed);
    let other = successor(&renew(&site, &old, &csr(&second, "pump-1")).await.unwrap());
    assert_eq!(site.status(&unused).await, Some(Inactive));
    assert_eq!(site.status(&old).await, Some(Active));
    site.admitted(&other).await;
    let Err(IssuingError::Registry(RegistryError::CertificateState(why))) =
        renew(&site, &old, &csr(&second, "pump-1")).await
    else {
        panic!("renewed although it is retired")
    };
    assert!(why.contains("only an ACTIVE certificate is renewed"), "{why}");
    site.registry().update_certificate(old.id, Active).await.unwrap();
    let Err(IssuingError::Registry(RegistryError::CertificateConflict(why))) =
        renew(&site, &old, &csr(&second, "pump-1")).await
    else {
        panic!("renewed twice")
    };
    assert!(why.contains(&other.id.to_string()), "{why}");
    let third = successor(&renew(&site, &other, &csr(&key(), "pump-1")).await.unwrap());
    let chain = site.registry().renewal_chain(other.id).await.unwrap();
    assert_eq!(
        chain.iter().map(|link| link.certificate_id).collect::<Vec<_>>(),
        [old.id, other.id, third.id]
    );
}

#[tokio::test]
async fn the_same_request_at_the_same_time_gets_one_certificate() {
    let (site, old) = provisioned(Options::default()).await;
    let csr = csr(&key(), "pump-1");
    let (one, other) = tokio::join!(renew(&site, &old, &csr), renew(&site, &old, &csr));
    assert_eq!(one.unwrap(), other.unwrap());
    let audited = site.provisioner.audit().records().list(&AuditFilter::default(), None, 10).await.unwrap();
    assert_eq!(audited.len(), 1);
}

#[tokio::test]
async fn what_cannot_be_renewed_changes_nothing() {
    let (site, old) = provisioned(Options::default()).await;
    let refused = |result: Result<Renewed, IssuingError>| result.unwrap_err().to_string();
    let why = refused(renew(&site, &old, &csr(&key(), "pump-2")).await);
    assert!(why.contains("CN=pump-2") && why.contains("CN=pump-1"), "{why}");
    assert!(matches!(renew(&site, &old, "nonsense").await, Err(IssuingError::Request(_))));
    let stranger = Device::new(&authority("Elsewhere"), "stranger");
    let why = refused(renew(&site, &stranger, &csr(&key(), "stranger")).await);
    assert!(why.contains(&stranger.id.to_string()), "{why}");
    site.registry().update_certificate(old.id, Revoked).await.unwrap();
    let why = refused(renew(&site, &old, &csr(&key(), "pump-1")).await);
    assert!(why.contains("Revoked"), "{why}");
    assert_eq!(site.registry().list_certificates(None, &all()).await.unwrap().items.len(), 1);
}
