//! `$aws/provisioning-templates/<template>/provision/<fmt>`: the template runs for the certificate of a token
//! (`spec/fleet-provisioning.md` section 5). Attempt, log and metrics are the provisioner's matter.
use super::Request;
use super::members::Members;
use crate::enforcement::Identity;
use jitp_provisioner::Provisioner;
use jitp_provisioner::fleet::{FleetOperation, FleetRefusal, RegisterDevice};
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Accepted<'a> {
    device_configuration: &'a BTreeMap<String, serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thing_name: Option<&'a str>,
}

pub(super) async fn serve(
    provisioner: &Provisioner,
    identity: &Identity,
    request: &Request,
    template: &str,
) -> Result<Vec<u8>, FleetRefusal> {
    let encoding = request.api.encoding();
    let register = RegisterDevice {
        template,
        ownership_token: "",
        parameters: BTreeMap::new(),
        claim: identity.certificate,
        client_id: &identity.client_id,
        source: identity.source,
    };
    let refused = |refusal: FleetRefusal| {
        provisioner.refuse_device(&register, &refusal);
        refusal
    };
    let (token, parameters) = encoding
        .read(&request.payload)
        .and_then(read)
        .map_err(|why| refused(FleetRefusal::malformed(&why)))?;
    if !provisioner.take_fleet_rate(FleetOperation::RegisterThing) {
        return Err(refused(FleetRefusal::throttled()));
    }
    let register = RegisterDevice { ownership_token: &token, parameters, ..register };
    let device = provisioner.register_device(&register).await?;
    let accepted = Accepted {
        device_configuration: &device.device_configuration,
        thing_name: device.thing_name.as_ref().map(|name| name.as_str()),
    };
    Ok(encoding.write(&accepted).unwrap_or_default())
}

/// An absent token is an empty one: the answer to that is about the token.
fn read(mut members: Members) -> Result<(String, BTreeMap<String, String>), String> {
    let token = members.text("certificateOwnershipToken")?.unwrap_or_default();
    Ok((token, members.texts("parameters")?))
}
