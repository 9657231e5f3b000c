//! `$jitp/certificates/renew/<fmt>`: the next certificate of a device that is connected with an ACTIVE one
//! (`docs/renewal.md`).
use super::Request;
use crate::enforcement::Identity;
use crate::record::{Details, Event};
use jitp_provisioner::fleet::{FleetOperation, FleetRefusal};
use jitp_provisioner::{EnrollmentError, Provisioner, Renewal};
use serde::Serialize;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Accepted<'a> {
    certificate_id: String,
    certificate_pem: &'a str,
    /// When the old certificate is retired at the latest, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    retires_at: Option<i64>,
}

const FAILURES: &str = "RenewCertificateFailed";

pub(super) async fn serve(
    provisioner: &Provisioner,
    identity: &Identity,
    request: &Request,
) -> Result<Vec<u8>, FleetRefusal> {
    let encoding = request.api.encoding();
    let csr = encoding
        .read(&request.payload)
        .and_then(|mut members| members.text("certificateSigningRequest"))
        .and_then(|csr| csr.ok_or_else(|| "certificateSigningRequest is missing".to_owned()))
        .map_err(|why| failed(identity, FleetRefusal::malformed(&why)))?;
    // The rate is that of signing; a renewal signs no more than a request with a claim.
    if !provisioner.take_fleet_rate(FleetOperation::CreateCertificateFromCsr) {
        return Err(failed(identity, FleetRefusal::throttled()));
    }
    let renewal = Renewal {
        certificate_id: identity.certificate,
        csr,
        same_subject: true,
        client_id: identity.client_id.to_string(),
        source_ip: identity.source.ip().to_string(),
        trace: identity.trace.to_string(),
    };
    let renewed = provisioner
        .renew(&renewal)
        .await
        .map_err(|error| failed(identity, FleetRefusal::from(EnrollmentError::from(error))))?;
    let certificate = &renewed.certificate;
    let details = Details { device_certificate: Some(certificate.certificate_id), ..Details::default() };
    identity.succeeded(Event::RenewCertificate, details);
    let accepted = Accepted {
        certificate_id: certificate.certificate_id.to_string(),
        certificate_pem: &certificate.pem(),
        retires_at: renewed.retires_at.map(|at| at.unix_seconds()),
    };
    Ok(encoding.write(&accepted).unwrap_or_default())
}

fn failed(identity: &Identity, refusal: FleetRefusal) -> FleetRefusal {
    metrics::counter!(FAILURES).increment(1);
    let details = Details {
        reason: Some(refusal.error.code()),
        details: Some(&refusal.details()),
        ..Details::default()
    };
    identity.failed(Event::RenewCertificate, details);
    refusal
}
