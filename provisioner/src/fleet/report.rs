//! What the log and the metrics say of a RegisterThing (`spec/events.md` section 6, `spec/fleet-provisioning.md`
//! section 10).
use super::Fleet;
use crate::admission::report::provision_device;
use crate::attempt::{Attempt, Outcome};

/// A `ProvisionDevice` record and a count. `template_exists`: what a device makes up is no label.
pub(super) fn run(fleet: &Fleet, attempt: &Attempt, template_exists: bool) {
    provision_device(attempt, &uuid::Uuid::new_v4().to_string());
    if attempt.outcome == Outcome::Provisioned {
        if let Some(claim) = attempt.claim_certificate_id {
            let claim = fleet.claims.label(claim);
            metrics::counter!("ApproximateNumberOfThingsRegistered", "claimCertificateId" => claim)
                .increment(1);
        }
    } else {
        let template = attempt.template_name.as_ref().filter(|_| template_exists);
        let template = template.map(ToString::to_string).unwrap_or_default();
        metrics::counter!("RegisterThingFailed", "templateName" => template).increment(1);
    }
}
