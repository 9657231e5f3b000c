//! `$aws/certificates/create-from-csr/<fmt>`: a certificate for a key that stays on the device, pending
//! (`spec/fleet-provisioning.md` sections 3 and 4).
use super::Request;
use super::no_credentials::no_credentials;
use crate::enforcement::Identity;
use crate::record::{Details, Event};
use jitp_provisioner::Provisioner;
use jitp_provisioner::fleet::{FleetOperation, FleetRefusal};
use serde::Serialize;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Accepted<'a> {
    certificate_ownership_token: &'a str,
    certificate_id: String,
    certificate_pem: &'a str,
}

const FAILURES: &str = "CreateCertificateFromCsrFailed";

pub(super) async fn serve(
    provisioner: &Provisioner,
    identity: &Identity,
    request: &Request,
) -> Result<Vec<u8>, FleetRefusal> {
    let encoding = request.api.encoding();
    let refused = |refusal| no_credentials(identity, FAILURES, refusal);
    let csr = encoding
        .read(&request.payload)
        .and_then(|mut members| members.text("certificateSigningRequest"))
        .and_then(|csr| csr.ok_or_else(|| "certificateSigningRequest is missing".to_owned()))
        .map_err(|why| refused(FleetRefusal::malformed(&why)))?;
    if !provisioner.take_fleet_rate(FleetOperation::CreateCertificateFromCsr) {
        return Err(refused(FleetRefusal::throttled()));
    }
    let now = provisioner.clock().now();
    let certificate = provisioner
        .create_pending_certificate_from_csr(&csr, identity.certificate, &identity.client_id, now)
        .await
        .map_err(|error| refused(FleetRefusal::from(error)))?;
    let details = Details {
        device_certificate: Some(certificate.certificate_id),
        details: Some(&"a certificate was made for the device's key; RegisterThing decides about it"),
        ..Details::default()
    };
    identity.succeeded(Event::GetDeviceCredentials, details);
    let accepted = Accepted {
        certificate_ownership_token: certificate.ownership_token.expose(),
        certificate_id: certificate.certificate_id.to_string(),
        certificate_pem: &certificate.certificate_pem,
    };
    Ok(encoding.write(&accepted).unwrap_or_default())
}
