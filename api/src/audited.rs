//! What the audit log says of a call's request: who, what, from where. Never a secret: inputs are taken by name out of a list
//! of those that identify something. What the call makes, the registry adds.
use std::collections::BTreeMap;

use jitp_provisioner::{AuditRecord, Timestamp};
use serde_json::Value;

use crate::call::Call;
use crate::service::Origin;

/// Members of a request's query, headers or body that say what a call acts on, or how far.
const INPUTS: [&str; 37] = [
    "allowAutoRegistration",
    "billingGroupArn",
    "billingGroupName",
    "certificateMode",
    "cleanSession",
    "defaultVersionId",
    "enabled",
    "forceDelete",
    "inputFileBucket",
    "inputFileKey",
    "lambdaFunctionArn",
    "newAutoRegistrationStatus",
    "newStatus",
    "parentGroupName",
    "preventWillMessage",
    "principal",
    "provisioningRoleArn",
    "removeAutoRegistration",
    "removeThingType",
    "resourceArn",
    "role",
    "roleArn",
    "runsPerSecond",
    "setAsActive",
    "setAsDefault",
    "status",
    "target",
    "targetAwsAccount",
    "templateName",
    "thingArn",
    "thingGroupArn",
    "thingGroupName",
    "thingName",
    "thingTypeName",
    "totalRuns",
    "type",
    "undoDeprecate",
];
/// Headers that say on whom a call acts.
const HEADERS: [&str; 3] = ["x-amzn-principal", "x-amzn-iot-principal", "x-amzn-iot-policy"];
/// The longest value that is kept, in characters.
const LONGEST_VALUE: usize = 256;

/// The record of a call that changes something, as far as its request tells; `call`: if it could be read.
pub(crate) fn record(
    access_key_id: &str,
    operation: &str,
    origin: Option<&Origin>,
    call: Option<&Call>,
) -> AuditRecord {
    let mut resources = Resources::default();
    if let Some(call) = call {
        resources.read(call);
    }
    AuditRecord {
        sequence: 0,
        timestamp: Timestamp::default(),
        access_key_id: access_key_id.to_string(),
        operation: operation.to_string(),
        resources: resources.0,
        source_ip: origin.map_or_else(String::new, |origin| origin.source.to_string()),
        user_agent: call.and_then(|call| call.raw_header("user-agent")).map(bounded),
        request_id: origin.map_or_else(String::new, |origin| origin.request_id.clone()),
        error: None,
        duration_micros: 0,
    }
}

/// What a call acts on.
#[derive(Default)]
struct Resources(BTreeMap<String, String>);

impl Resources {
    fn read(&mut self, call: &Call) {
        for (name, value) in call.labels() {
            self.note(name, value);
        }
        for name in INPUTS {
            if let Some(value) = call.raw_query(name) {
                self.note(name, value);
            }
            if let Some(value) = call.raw_member(name) {
                self.note_json(name, value);
            }
        }
        for name in HEADERS {
            if let Some(value) = call.raw_header(name) {
                self.note(name, value);
            }
        }
    }
    fn note_json(&mut self, name: &str, value: &Value) {
        match value {
            Value::String(text) => self.note(name, text),
            Value::Bool(_) | Value::Number(_) => self.note(name, &value.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => {}
        }
    }
    fn note(&mut self, name: &str, value: &str) {
        self.0.insert(name.to_string(), bounded(value));
    }
}

fn bounded(text: &str) -> String {
    text.chars().take(LONGEST_VALUE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_short_values_are_kept_whole() {
        let mut resources = Resources::default();
        resources.note("thingName", &"x".repeat(1_000_000));
        resources.note_json("role", &json!({"nested": "document"}));
        resources.note_json("enabled", &json!(true));
        assert_eq!(resources.0["thingName"].len(), LONGEST_VALUE);
        assert_eq!(resources.0["enabled"], "true");
        assert!(!resources.0.contains_key("role"), "documents are not copied");
    }

    #[test]
    fn no_listed_name_is_that_of_a_secret() {
        for name in INPUTS.iter().chain(&HEADERS) {
            let lower = name.to_lowercase();
            for part in ["secret", "private", "pem", "token", "body", "document", "csr", "parameters"] {
                assert!(!lower.contains(part), "{name}");
            }
        }
    }
}
