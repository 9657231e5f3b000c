//! What is provisioned: a thing named by a parameter, a certificate, and the policy that all share unless told otherwise.
use super::site::POLICY;
use serde_json::{Value, json};

const COMMON_NAME: &str = "AWS::IoT::Certificate::CommonName";
const ID: &str = "AWS::IoT::Certificate::Id";

/// For first connections: the thing is named by the common name, and so is its policy.
pub fn policy_each() -> Value {
    jitp(&json!({ "Ref": COMMON_NAME }))
}

/// For certificates that are approved.
pub fn approved() -> Value {
    jitp(&json!(POLICY))
}

/// For fleet provisioning: the thing is named by `Serial`.
pub fn fleet() -> Value {
    template(
        &json!({ "Serial": { "Type": "String" } }),
        "Serial",
        &json!({ "CertificateId": { "Ref": ID }, "Status": "ACTIVE" }),
        &json!(POLICY),
    )
}

/// For RegisterThing and bulk: the thing is named by `ThingName`, and `CSR` is signed.
pub fn signed() -> Value {
    template(
        &json!({ "ThingName": { "Type": "String" }, "CSR": { "Type": "String" } }),
        "ThingName",
        &json!({ "CertificateSigningRequest": { "Ref": "CSR" }, "Status": "ACTIVE" }),
        &json!(POLICY),
    )
}

fn jitp(policy: &Value) -> Value {
    template(
        &json!({ COMMON_NAME: { "Type": "String" }, ID: { "Type": "String" } }),
        COMMON_NAME,
        &json!({ "CertificateId": { "Ref": ID }, "Status": "ACTIVE" }),
        policy,
    )
}

fn template(parameters: &Value, name: &str, certificate: &Value, policy: &Value) -> Value {
    json!({
        "Parameters": parameters,
        "Resources": {
            "thing": { "Type": "AWS::IoT::Thing", "Properties": { "ThingName": { "Ref": name } } },
            "certificate": { "Type": "AWS::IoT::Certificate", "Properties": certificate },
            "policy": { "Type": "AWS::IoT::Policy", "Properties": { "PolicyName": policy } },
        },
    })
}
