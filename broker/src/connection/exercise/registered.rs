//! Devices that may connect without having to be provisioned.
use jitp_provisioner::Provisioner;
use jitp_provisioner::certs::Certificate;
use jitp_provisioner::names::PolicyName;
use jitp_provisioner::records::{CertificateStatus, PolicyTarget};
use jitp_provisioner::registry::RegisterCertificate;

/// Registers a device's certificate, with a policy of its own that is this document.
pub(super) async fn register(provisioner: &Provisioner, device: &Certificate, policy: &str, document: &str) {
    let request = RegisterCertificate {
        certificate: device.to_pem(),
        of_ca: false,
        ca_certificate: None,
        status: CertificateStatus::Active,
    };
    let policy: PolicyName = policy.parse().unwrap();
    let registry = provisioner.registry();
    registry.register_certificate(request).await.unwrap();
    registry.create_policy(policy.clone(), document).await.unwrap();
    registry.attach_policy(&policy, PolicyTarget::Certificate(device.id())).await.unwrap();
}
