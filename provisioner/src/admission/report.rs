//! What the log and the metrics say of an attempt (`spec/events.md` section 6).
use crate::attempt::{Attempt, Outcome};

/// A provisioning run has ended: a `ProvisionDevice` record and a `ProvisionThing.…` count
/// of its CA.
pub(crate) fn run(account: &str, attempt: &Attempt) {
    let ca = attempt.ca_certificate_id.map(|id| id.to_string()).unwrap_or_default();
    let template = attempt.template_name.as_ref().map(|name| name.as_str()).unwrap_or_default();
    let certificate = attempt.certificate_id.map(|id| id.to_string()).unwrap_or_default();
    let succeeded = attempt.outcome == Outcome::Provisioned;
    macro_rules! provision_device {
        ($record:ident, $status:literal) => {
            tracing::$record!(
                eventType = "ProvisionDevice",
                status = $status,
                accountId = account,
                traceId = %uuid::Uuid::new_v4(),
                provisioningTemplateName = template,
                provisioningTemplateVersion = attempt.template_version,
                deviceCertificateId = %certificate,
                caCertificateId = %ca,
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
    if succeeded {
        provision_device!(info, "Success");
    } else {
        provision_device!(error, "Failure");
    }
    let count = match (succeeded, attempt.reason.is_server_error()) {
        (true, _) => metrics::counter!("ProvisionThing.Success", "caCertificateId" => ca),
        (false, true) => metrics::counter!("ProvisionThing.ServerError", "caCertificateId" => ca),
        (false, false) => metrics::counter!("ProvisionThing.ClientError", "caCertificateId" => ca),
    };
    count.increment(1);
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
