//! `$aws/certificates/create/<fmt>`: a key and its certificate, pending (`spec/fleet-provisioning.md` sections 3 and 4).
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
    certificate_id: String,
    certificate_pem: &'a str,
    private_key: &'a str,
    certificate_ownership_token: &'a str,
}

const FAILURES: &str = "CreateKeysAndCertificateFailed";

/// The request has no payload; an empty map is as good.
pub(super) async fn serve(
    provisioner: &Provisioner,
    identity: &Identity,
    request: &Request,
) -> Result<Vec<u8>, FleetRefusal> {
    let encoding = request.api.encoding();
    let refused = |refusal| no_credentials(identity, FAILURES, refusal);
    if !request.payload.is_empty() {
        encoding.read(&request.payload).map_err(|why| refused(FleetRefusal::malformed(&why)))?;
    }
    if !provisioner.take_fleet_rate(FleetOperation::CreateKeysAndCertificate) {
        return Err(refused(FleetRefusal::throttled()));
    }
    let now = provisioner.clock().now();
    let made = provisioner
        .create_pending_keys_and_certificate(identity.certificate, &identity.client_id, now)
        .await
        .map_err(|error| refused(FleetRefusal::from(error)))?;
    let certificate = &made.certificate;
    let details = Details {
        device_certificate: Some(certificate.certificate_id),
        details: Some(&"a key and its certificate were made; RegisterThing decides about it"),
        ..Details::default()
    };
    identity.succeeded(Event::GetDeviceCredentials, details);
    let accepted = Accepted {
        certificate_id: certificate.certificate_id.to_string(),
        certificate_pem: &certificate.certificate_pem,
        private_key: &made.private_key_pem,
        certificate_ownership_token: certificate.ownership_token.expose(),
    };
    Ok(encoding.write(&accepted).unwrap_or_default())
}
