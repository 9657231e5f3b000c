//! What a template wants, with every value filled in. Says nothing of what exists already.
use crate::{
    AttributeName, AttributeValue, BillingGroupName, PolicyName, ThingGroupName, ThingName, ThingTypeName,
};
use std::collections::BTreeMap;

/// The resources that one run shall bring about. Serialises for `jitp simulate --json`.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct Plan {
    pub thing: Option<ThingPlan>,
    pub certificate: Option<CertificatePlan>,
    pub policies: Vec<PolicyPlan>,
    /// `DeviceConfiguration`, evaluated; empty when absent.
    pub device_configuration: BTreeMap<String, serde_json::Value>,
}

/// What to do with a property of a resource that exists already (`spec/templates.md` section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs)]
pub enum Override {
    DoNothing,
    Replace,
    Fail,
    Merge,
}

/// The thing.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct ThingPlan {
    pub logical_name: String,
    pub name: ThingName,
    pub attributes: Option<BTreeMap<AttributeName, AttributeValue>>,
    pub thing_type: Option<ThingTypeName>,
    pub groups: Option<Vec<ThingGroupName>>,
    pub billing_group: Option<BillingGroupName>,
    /// `None`: the template does not say; the caller's default applies.
    pub attributes_override: Option<Override>,
    pub thing_type_override: Option<Override>,
    pub groups_override: Option<Override>,
}

/// `Status` in a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs)]
pub enum CertificateStatus {
    Active,
    Inactive,
}
/// `ThingPrincipalType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs)]
pub enum PrincipalType {
    #[default]
    NonExclusiveThing,
    ExclusiveThing,
}
/// Where the certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub enum CertificateSource {
    /// 64 lower-case hex digits.
    Id(String),
    SigningRequest(String),
    #[serde(rename_all = "camelCase")]
    Pem {
        certificate: String,
        ca_certificate: Option<String>,
    },
}
/// The certificate.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct CertificatePlan {
    pub logical_name: String,
    pub source: CertificateSource,
    /// As written; `None` when absent (then a new or pending certificate becomes ACTIVE).
    pub status: Option<CertificateStatus>,
    pub status_override: Option<Override>,
    pub principal_type: PrincipalType,
}
/// Where a policy comes from.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub enum PolicySource {
    Existing,
    /// Create it with this document if it does not exist.
    Inline {
        document: String,
    },
}
/// One policy to attach to the certificate.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct PolicyPlan {
    pub logical_name: String,
    pub name: PolicyName,
    pub source: PolicySource,
}
