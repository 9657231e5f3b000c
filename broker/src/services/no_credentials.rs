//! That a device got no certificate for its claim, in the log and in the metrics (`spec/fleet-provisioning.md` section 10).
use crate::enforcement::Identity;
use crate::record::{Details, Event};
use jitp_provisioner::fleet::FleetRefusal;

/// Logs a refusal and counts it under the operation's name; hands it back to be answered.
pub(super) fn no_credentials(
    identity: &Identity,
    counter: &'static str,
    refusal: FleetRefusal,
) -> FleetRefusal {
    metrics::counter!(counter).increment(1);
    let details = Details {
        reason: Some(refusal.error.code()),
        details: Some(&refusal.details()),
        ..Details::default()
    };
    identity.failed(Event::GetDeviceCredentials, details);
    refusal
}
