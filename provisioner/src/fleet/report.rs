//! What the log and the metrics say of a RegisterThing (`spec/events.md` section 6, `spec/fleet-provisioning.md`
//! section 10).
use super::Fleet;
use crate::attempt::{Attempt, Outcome};

/// A `ProvisionDevice` record and a count. `template_exists`: what a device makes up is no label.
pub(super) fn run(fleet: &Fleet, account: &str, attempt: &Attempt, template_exists: bool) {
    let template = attempt.template_name.as_ref().map(|name| name.as_str());
    macro_rules! provision_device {
        ($record:ident, $status:literal) => {
            tracing::$record!(
                eventType = "ProvisionDevice",
                status = $status,
                accountId = account,
                traceId = %uuid::Uuid::new_v4(),
                provisioningTemplateName = template,
                provisioningTemplateVersion = attempt.template_version,
                deviceCertificateId = attempt.certificate_id.map(tracing::field::display),
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
    if attempt.outcome == Outcome::Provisioned {
        provision_device!(info, "Success");
        if let Some(claim) = attempt.claim_certificate_id {
            let claim = fleet.claims.label(claim);
            metrics::counter!("ApproximateNumberOfThingsRegistered", "claimCertificateId" => claim)
                .increment(1);
        }
    } else {
        provision_device!(error, "Failure");
        let template = template.filter(|_| template_exists).unwrap_or_default().to_owned();
        metrics::counter!("RegisterThingFailed", "templateName" => template).increment(1);
    }
}
