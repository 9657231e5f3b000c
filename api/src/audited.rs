//! What the audit log says of a call: who, what, from where, with which result. Never a secret: inputs and outputs are
//! taken by name out of a list of those that identify something.
use std::collections::BTreeMap;
use std::net::IpAddr;

use jitp_provisioner::AuditRecord;
use serde_json::{Map, Value};

use crate::call::Call;
use crate::error::ApiError;
use crate::reply::Reply;

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
/// Members of a reply that name what a call made.
const OUTPUTS: [&str; 12] = [
    "accessKeyId",
    "billingGroupName",
    "certificateId",
    "policyName",
    "policyVersionId",
    "taskId",
    "templateName",
    "thingGroupName",
    "thingName",
    "thingTypeName",
    "transferredCertificateArn",
    "versionId",
];
/// The longest value that is kept, in characters.
const LONGEST_VALUE: usize = 256;

/// A call that changes something, on its way.
pub(crate) struct Audited {
    record: AuditRecord,
}

impl Audited {
    /// What is known before the call runs.
    pub fn begin(access_key_id: &str, operation: &str, source: Option<IpAddr>, request_id: &str) -> Self {
        Self {
            record: AuditRecord {
                sequence: 0,
                timestamp: jitp_provisioner::Timestamp::default(),
                access_key_id: access_key_id.to_string(),
                operation: operation.to_string(),
                resources: BTreeMap::new(),
                source_ip: source.map_or_else(String::new, |source| source.to_string()),
                user_agent: None,
                request_id: request_id.to_string(),
                error: None,
                duration_micros: 0,
            },
        }
    }

    /// What the request says that it acts on.
    pub fn read_call(&mut self, call: &Call) {
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
        self.record.user_agent = call.raw_header("user-agent").map(bounded);
    }

    /// How it ended. The record is ready to be entered.
    pub fn end(mut self, result: &Result<Reply, ApiError>, duration_micros: u64) -> AuditRecord {
        self.record.duration_micros = duration_micros;
        match result {
            Err(error) => self.record.error = Some(error.exception().to_string()),
            Ok(Reply::Json(bytes)) => {
                let members: Map<String, Value> = serde_json::from_slice(bytes).unwrap_or_default();
                for name in OUTPUTS {
                    if let Some(value) = members.get(name) {
                        self.note_json(name, value);
                    }
                }
            }
            Ok(Reply::Lines(_) | Reply::Empty) => {}
        }
        self.record
    }

    fn note_json(&mut self, name: &str, value: &Value) {
        match value {
            Value::String(text) => self.note(name, text),
            Value::Bool(_) | Value::Number(_) => self.note(name, &value.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => {}
        }
    }
    fn note(&mut self, name: &str, value: &str) {
        self.record.resources.insert(name.to_string(), bounded(value));
    }
}

fn bounded(text: &str) -> String {
    text.chars().take(LONGEST_VALUE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn audited() -> Audited {
        Audited::begin("AKIA", "CreateKeysAndCertificate", None, "id")
    }

    #[test]
    fn of_a_reply_only_what_names_something_is_kept() {
        let reply = json!({
            "certificateId": "5f0c",
            "certificatePem": "-----BEGIN CERTIFICATE-----",
            "keyPair": {"PublicKey": "p", "PrivateKey": "hush"},
            "secretAccessKey": "hush",
            "accessKeyId": "AKIB",
        });
        let record = audited().end(&Ok(Reply::members(reply)), 7);
        let expected = [("accessKeyId", "AKIB"), ("certificateId", "5f0c")];
        assert_eq!(record.resources, expected.map(|(n, v)| (n.to_string(), v.to_string())).into());
        assert!(!serde_json::to_string(&record).unwrap().contains("hush"));
    }

    #[test]
    fn a_refused_call_has_the_name_of_its_exception_and_nothing_that_the_message_echoes() {
        let record = audited().end(&Err(ApiError::invalid("caCertificate", "-----BEGIN PRIVATE KEY")), 7);
        assert_eq!(record.error.as_deref(), Some("InvalidRequestException"));
        assert!(!serde_json::to_string(&record).unwrap().contains("PRIVATE"));
    }

    #[test]
    fn values_are_bounded() {
        let reply = json!({"thingName": "x".repeat(1_000_000)});
        let record = audited().end(&Ok(Reply::members(reply)), 7);
        assert_eq!(record.resources["thingName"].len(), LONGEST_VALUE);
    }

    #[test]
    fn no_listed_name_is_that_of_a_secret() {
        for name in INPUTS.iter().chain(&HEADERS).chain(&OUTPUTS) {
            let lower = name.to_lowercase();
            for part in ["secret", "private", "pem", "token", "body", "document", "csr", "parameters"] {
                assert!(!lower.contains(part), "{name}");
            }
        }
    }
}
