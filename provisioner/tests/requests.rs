//! Certificates of requests: known ones are let in, nothing is provisioned for the others.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failed unwrap is a failed test"
)]
mod support;

use jitp_provisioner::records::CertificateStatus;
use jitp_provisioner::{Admission, Presentation, ReasonCode};
use support::{Device, SOURCE, Site, authority, plain};

async fn request(site: &Site, device: &Device) -> Result<bool, ReasonCode> {
    let chain = [&device.der[..]];
    let presentation = Presentation {
        chain: &chain,
        leaf: None,
        client_id: "",
        source: SOURCE,
        server_name: Some("broker.example"),
        trace: "",
    };
    match site.provisioner.authenticate(&presentation).await {
        Admission::Admitted(principal) => Ok(principal.provisioned_now),
        Admission::Refused(refusal) => Err(refusal.reason),
    }
}

#[tokio::test]
async fn a_request_provisions_nothing_and_follows_the_status_of_its_certificate() {
    let site = Site::new().await;
    let ca = authority("Plant");
    site.register(&ca, Some(&plain())).await;
    let device = Device::new(&ca, "pump-1");
    assert_eq!(request(&site, &device).await, Err(ReasonCode::CertificateNotRegistered));
    assert_eq!(site.status(&device).await, None);

    site.admitted(&device).await;
    assert_eq!(request(&site, &device).await, Ok(false));
    site.registry().update_certificate(device.id, CertificateStatus::Revoked).await.unwrap();
    assert_eq!(request(&site, &device).await, Err(ReasonCode::CertificateRevoked));
}
