use super::*;
use CertificateStatus::{Active, Inactive, PendingActivation, PendingTransfer, Revoked};
use jitp_provisioner::registry::{RegisterCertificate, UpdateCaCertificate};

impl Fixture {
    /// A registered certificate of no CA.
    pub async fn certificate(&self, name: &str, status: CertificateStatus) -> CertificateId {
        let certificate = leaf(&authority("Elsewhere"), name).to_pem();
        let request = RegisterCertificate { certificate, of_ca: false, ca_certificate: None, status };
        self.registry.register_certificate(request).await.unwrap().certificate_id
    }
}

#[tokio::test]
async fn the_status_changes_as_the_state_machine_allows() {
    let fixture = Fixture::new().await;
    for (from, to, expected) in [
        (Inactive, Active, None),
        (Active, Inactive, None),
        (Active, Revoked, None),
        (Inactive, Revoked, None),
        (Active, Active, None),
        (Revoked, Revoked, None),
        (Revoked, Active, Some("CS")),
        (Revoked, Inactive, Some("CS")),
        (Active, PendingActivation, Some("IR")),
        (Active, PendingTransfer, Some("IR")),
    ] {
        let id = fixture.certificate("d", from).await;
        let before = fixture.revision();
        let result = fixture.registry.update_certificate(id, to).await;
        let after = fixture.registry.certificate(id).await.unwrap();
        match expected {
            Some(expected) => {
                assert_eq!((kind(result), after.status), (expected, from), "{from:?} to {to:?}")
            }
            None => {
                result.unwrap();
                assert_eq!(after.status, to);
                let changes = if from == to {
                    vec![]
                } else {
                    vec![format!("certificate Some({from:?}) to Some({to:?})")]
                };
                assert_eq!(fixture.happened(before).await, changes);
            }
        }
    }
}

#[tokio::test]
async fn a_certificate_is_registered_under_the_ca_that_signed_it() {
    let fixture = Fixture::new().await;
    let (ca, record) = fixture.ca("Plant").await;
    let device = leaf(&ca, "d");
    let register = async |certificate: String, ca_certificate: Option<String>| {
        let request = RegisterCertificate { certificate, of_ca: true, ca_certificate, status: Inactive };
        fixture.registry.register_certificate(request).await
    };
    assert_eq!(kind(register(device.to_pem(), None).await), "CS", "the CA is INACTIVE");
    let active = UpdateCaCertificate { new_status: Some(CaStatus::Active), ..UpdateCaCertificate::default() };
    fixture.registry.update_ca_certificate(record.certificate_id, active).await.unwrap();
    let registered = register(device.to_pem(), None).await.unwrap();
    assert_eq!(registered.ca_certificate_id, Some(record.certificate_id));
    assert_eq!((registered.status, registered.mode), (Inactive, CertificateMode::SniOnly));
    assert_eq!(kind(register(device.to_pem(), None).await), "AE");
    let impostor = authority("Plant");
    assert_eq!(kind(register(leaf(&impostor, "d").to_pem(), None).await), "CV");
    assert_eq!(kind(register(leaf(&authority("Unknown"), "d").to_pem(), None).await), "CV");
    fixture.ca("Plant").await;
    let second = leaf(&ca, "e").to_pem();
    assert_eq!(kind(register(second.clone(), None).await), "CC");
    register(second, Some(record.pem.clone())).await.unwrap();
    let listed = fixture.registry.list_certificates(Some(record.certificate_id), &first(9)).await.unwrap();
    assert_eq!(listed.items.len(), 2);
    assert_eq!(fixture.registry.list_certificates(None, &first(9)).await.unwrap().items.len(), 2);
}

#[tokio::test]
async fn a_certificate_is_deleted_only_when_nothing_hangs_on_it() {
    let fixture = Fixture::new().await;
    let registry = &fixture.registry;
    let id = fixture.certificate("d", Active).await;
    let thing = fixture.thing("pump").await;
    let policy = fixture.policy("p").await;
    registry.attach_thing_principal(&thing, id, PrincipalType::NonExclusiveThing).await.unwrap();
    registry.attach_policy(&policy, PolicyTarget::Certificate(id)).await.unwrap();
    assert_eq!(kind(registry.delete_certificate(id, true).await), "CS");
    registry.update_certificate(id, Revoked).await.unwrap();
    assert_eq!(kind(registry.delete_certificate(id, true).await), "DC", "attached to a thing");
    registry.detach_thing_principal(&thing, id).await.unwrap();
    assert_eq!(kind(registry.delete_certificate(id, false).await), "DC", "policies are attached");
    registry.delete_certificate(id, true).await.unwrap();
    assert_eq!(kind(registry.certificate(id).await), "NF");
    assert!(registry.list_targets_for_policy(&policy, &first(9)).await.unwrap().items.is_empty());
    registry.delete_policy(&policy).await.unwrap();
}

/// Anyone who holds a certificate can give an ECDSA signature a twin that verifies as well, and so the certificate
/// another id.
#[tokio::test]
async fn the_same_content_under_another_signature_is_no_other_certificate() {
    let fixture = Fixture::new().await;
    let device = leaf(&authority("Elsewhere"), "d");
    let twin = jitp_certs::Certificate::from_der(&twin::with_twin_signature(device.der())).unwrap();
    assert_ne!(twin.id(), device.id());
    let register = async |certificate: &jitp_certs::Certificate| {
        let request = RegisterCertificate {
            certificate: certificate.to_pem(),
            of_ca: false,
            ca_certificate: None,
            status: Revoked,
        };
        fixture.registry.register_certificate(request).await
    };
    register(&device).await.unwrap();
    assert_eq!(kind(register(&twin).await), "CC");
    fixture.registry.delete_certificate(device.id(), false).await.unwrap();
    register(&twin).await.unwrap();
}
