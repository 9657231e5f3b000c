//! What the log and the metrics say of an attempt (`spec/events.md` section 6).
use crate::attempt::{Attempt, Outcome};

/// A provisioning run of a first connection has ended: a `ProvisionDevice` record and a `ProvisionThing.…` count of its CA.
pub(crate) fn run(attempt: &Attempt, trace: &str) {
    provision_device(attempt, trace);
    let ca = attempt.ca_certificate_id.map(|id| id.to_string()).unwrap_or_default();
    let succeeded = attempt.outcome == Outcome::Provisioned;
    let count = match (succeeded, attempt.reason.is_server_error()) {
        (true, _) => metrics::counter!("ProvisionThing.Success", "caCertificateId" => ca),
        (false, true) => metrics::counter!("ProvisionThing.ServerError", "caCertificateId" => ca),
        (false, false) => metrics::counter!("ProvisionThing.ClientError", "caCertificateId" => ca),
    };
    count.increment(1);
}

/// The record of a provisioning run, however the device came to it. What it does not have is left out.
pub(crate) fn provision_device(attempt: &Attempt, trace: &str) {
    let succeeded = attempt.outcome == Outcome::Provisioned;
    macro_rules! provision_device {
        ($record:ident, $status:literal) => {
            tracing::$record!(
                eventType = "ProvisionDevice",
                status = $status,
                traceId = trace,
                provisioningTemplateName = attempt.template_name.as_ref().map(|name| name.as_str()),
                provisioningTemplateVersion = attempt.template_version,
                deviceCertificateId = attempt.certificate_id.map(tracing::field::display),
                caCertificateId = attempt.ca_certificate_id.map(tracing::field::display),
                principalId = attempt.claim_certificate_id.map(tracing::field::display),
                clientId = attempt.client_id.as_deref(),
                sourceIp = %attempt.source_ip,
                sourcePort = attempt.source_port,
                reason = attempt.reason.as_str(),
                errorCode = (!succeeded).then_some(attempt.reason.as_str()),
                resource = attempt.failing_resource.as_deref(),
                jsonPath = attempt.json_path.as_deref(),
                details = %attempt.message,
            )
        };
    }
    match succeeded {
        true => provision_device!(info, "Success"),
        false => provision_device!(error, "Failure"),
    }
}

/// A connection was not let in: a `Connection.AuthNError` count. The record of that name is the broker's.
pub(crate) fn refusal(attempt: &Attempt) {
    metrics::counter!("Connection.AuthNError", "reason" => attempt.reason.as_str()).increment(1);
}
