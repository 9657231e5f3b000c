//! What a template wants, with every value filled in. Says nothing of what exists already.
use crate::{
    AttributeName, AttributeValue, BillingGroupName, PolicyName, ThingGroupName, ThingName, ThingTypeName,
};
use std::collections::BTreeMap;

/// The resources that one run shall bring about. Serialises for `jitp simulate --json`.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The thing, if the template has one.
    pub thing: Option<ThingPlan>,
    /// The certificate; always present for JITP and fleet.
    pub certificate: Option<CertificatePlan>,
    /// The policies in document order, at most 10.
    pub policies: Vec<PolicyPlan>,
    /// `DeviceConfiguration`, evaluated; empty when absent. Strings have at most 4096 characters.
    pub device_configuration: BTreeMap<String, serde_json::Value>,
}

/// What to do with a property of a resource that exists already (`spec/templates.md` section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Override {
    /// Keep what is there.
    DoNothing,
    /// Set the template's value.
    Replace,
    /// Fail the run if the value would change.
    Fail,
    /// Unite; the template wins on the same key. Only for attributes and groups.
    Merge,
}

/// The thing.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ThingPlan {
    /// Its key under `Resources`.
    pub logical_name: String,
    /// `ThingName`.
    pub name: ThingName,
    /// `AttributePayload`, at most 50 entries; `None` when absent. More than 3 need a thing type: the
    /// provisioner checks.
    pub attributes: Option<BTreeMap<AttributeName, AttributeValue>>,
    /// `ThingTypeName`.
    pub thing_type: Option<ThingTypeName>,
    /// `ThingGroups`, at most 10, without duplicates, in document order; `None` when absent.
    pub groups: Option<Vec<ThingGroupName>>,
    /// `BillingGroup`.
    pub billing_group: Option<BillingGroupName>,
    /// `OverrideSettings.AttributePayload`; `None`: the template does not say and the site's default applies.
    pub attributes_override: Option<Override>,
    /// `OverrideSettings.ThingTypeName`, never [`Override::Merge`].
    pub thing_type_override: Option<Override>,
    /// `OverrideSettings.ThingGroups`.
    pub groups_override: Option<Override>,
}

/// `Status` in a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CertificateStatus {
    /// May connect.
    Active,
    /// Must not connect.
    Inactive,
}

/// `ThingPrincipalType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PrincipalType {
    /// The certificate may be attached to further things.
    #[default]
    NonExclusiveThing,
    /// The certificate belongs to this thing alone: attaching fails if it has another.
    ExclusiveThing,
}

/// Where the certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum CertificateSource {
    /// An existing certificate: 64 lower-case hexadecimal digits.
    Id(String),
    /// A certificate signing request that the broker shall sign: 1 to 4096 characters, supposedly PEM.
    SigningRequest(String),
    /// A certificate to register.
    #[serde(rename_all = "camelCase")]
    Pem {
        /// 1 to 65536 characters, supposedly PEM.
        certificate: String,
        /// Its issuer, likewise; needed when several CAs share the issuer's subject.
        ca_certificate: Option<String>,
    },
}

/// The certificate.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificatePlan {
    /// Its key under `Resources`.
    pub logical_name: String,
    /// The one source that the template names.
    pub source: CertificateSource,
    /// As written; `None` when absent (then a new or pending certificate becomes ACTIVE).
    pub status: Option<CertificateStatus>,
    /// `OverrideSettings.Status`, never [`Override::Merge`]; `None`: the template does not say.
    pub status_override: Option<Override>,
    /// `ThingPrincipalType`.
    pub principal_type: PrincipalType,
}

/// Where a policy comes from.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum PolicySource {
    /// It must exist.
    Existing,
    /// Create it with this document if no policy of that name exists.
    Inline {
        /// The document as the author wrote it: a string verbatim, an object without white space in document
        /// order.
        document: String,
    },
}

/// One policy to attach to the certificate.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyPlan {
    /// Its key under `Resources`.
    pub logical_name: String,
    /// `PolicyName`, or the generated name of an inline document.
    pub name: PolicyName,
    /// Existing or inline.
    pub source: PolicySource,
}
