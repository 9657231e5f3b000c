//! What the log and the metrics say of an attempt (`spec/events.md` section 6).
use crate::attempt::{Attempt, Outcome};

/// A provisioning run of a first connection has ended: a `ProvisionDevice` record and a `ProvisionThing.…` count of its CA.
pub(crate) fn run(account: &str, attempt: &Attempt) {
    provision_device(account, attempt);
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
pub(crate) fn provision_device(account: &str, attempt: &Attempt) {
    macro_rules! provision_device {
        ($record:ident, $status:literal) => {
            tracing::$record!(
                eventType = "ProvisionDevice",
                status = $status,
                accountId = account,
                traceId = %uuid::Uuid::new_v4(),
                provisioningTemplateName = attempt.template_name.as_ref().map(|name| name.as_str()),
                provisioningTemplateVersion = attempt.template_version,
                deviceCertificateId = attempt.certificate_id.map(tracing::field::display),
                caCertificateId = attempt.ca_certificate_id.map(tracing::field::display),
                principalId = attempt.claim_certificate_id.map(tracing::field::display),
                clientId = attempt.client_id.as_deref(),
                sourceIp = %attempt.source_ip,
                sourcePort = attempt.source_port,
                errorCode = %attempt.reason,
                resource = attempt.failing_resource.as_deref(),
                jsonPath = attempt.json_path.as_deref(),
                details = %attempt.message,
            )
        };
    }
    match attempt.outcome {
        Outcome::Provisioned => provision_device!(info, "Success"),
        _ => provision_device!(error, "Failure"),
    }
}

/// A connection was not let in: a `Connection.AuthNError` record and count.
pub(crate) fn refusal(account: &str, attempt: &Attempt) {
    metrics::counter!("Connection.AuthNError", "reason" => attempt.reason.as_str()).increment(1);
    tracing::error!(
        eventType = "Connection.AuthNError",
        status = "Failure",
        accountId = account,
        traceId = %uuid::Uuid::new_v4(),
        protocol = "MQTT",
        authenticationType = "AWS_X509",
        clientId = attempt.client_id.as_deref(),
        principalId = attempt.certificate_id.map(|id| id.to_string()),
        sourceIp = %attempt.source_ip,
        sourcePort = attempt.source_port,
        serverNameIndication = attempt.server_name.as_deref(),
        reason = attempt.reason.as_str(),
        details = %attempt.message,
    );
}
