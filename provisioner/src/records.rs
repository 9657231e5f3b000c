//! What the registry stores, each with a format version that is read strictly.
use crate::clock::Timestamp;
use crate::names::{
    AttributeName, AttributeValue, BillingGroupName, CertificateId, CertificateProviderName, PolicyName,
    TemplateName, ThingGroupName, ThingName, ThingTypeName,
};
pub use jitp_templates::PrincipalType;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Status of a certificate (`spec/jitp.md` section 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs)]
pub enum CertificateStatus {
    Active,
    Inactive,
    Revoked,
    PendingActivation,
    PendingTransfer,
}
/// Status of a CA certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs)]
pub enum CaStatus {
    Active,
    Inactive,
}
/// How a CA's ownership was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs)]
pub enum CertificateMode {
    #[default]
    Default,
    SniOnly,
}
/// What a CA does with unknown certificates that it signed (`spec/jitp.md` section 2).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(missing_docs)]
pub struct RegistrationConfig {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_name: Option<TemplateName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_body: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<String>,
}
/// A registered CA certificate.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(missing_docs)]
pub struct CaCertificateRecord {
    pub certificate_id: CertificateId,
    pub pem: String,
    pub status: CaStatus,
    pub auto_registration: bool,
    pub mode: CertificateMode,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registration_config: Option<RegistrationConfig>,
    pub created_at: Timestamp,
    pub modified_at: Timestamp,
    /// Rises with every update: `customerVersion`.
    pub version: u32,
    pub generation_id: String,
    /// Provisioning budget: runs per second; `None` is the configured default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs_per_second: Option<u32>,
    /// Provisioning budget: runs in all; `None` is unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_runs: Option<u64>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}
/// A device certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct CertificateRecord {
    pub certificate_id: CertificateId,
    pub der: Arc<[u8]>,
    pub status: CertificateStatus,
    pub mode: CertificateMode,
    pub ca_certificate_id: Option<CertificateId>,
    pub created_at: Timestamp,
    pub modified_at: Timestamp,
    pub version: u32,
    pub generation_id: String,
    /// Why the last provisioning run failed; cleared by a success.
    pub last_error: Option<String>,
    /// The certificate that this one renews, until this one connects: then that one is retired.
    pub retires: Option<CertificateId>,
}
impl CertificateRecord {
    /// The certificate as PEM text.
    pub fn pem(&self) -> String {
        jitp_certs::Certificate::pem_of(&self.der)
    }

    /// The certificate. `Internal` if what is stored is none.
    pub(crate) fn parsed(&self) -> Result<jitp_certs::Certificate, crate::error::RegistryError> {
        jitp_certs::Certificate::from_der(&self.der).map_err(|error| {
            crate::error::RegistryError::Internal(format!(
                "the stored certificate {} cannot be read: {error}",
                self.certificate_id
            ))
        })
    }
}
/// A thing.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(missing_docs)]
pub struct ThingRecord {
    pub name: ThingName,
    /// UUID.
    pub thing_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thing_type: Option<ThingTypeName>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<AttributeName, AttributeValue>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub billing_group: Option<BillingGroupName>,
    /// Starts at 1, rises by 1 per update.
    pub version: u64,
    pub created_at: Timestamp,
}
/// A thing type.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(missing_docs)]
pub struct ThingTypeRecord {
    pub name: ThingTypeName,
    pub thing_type_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub searchable_attributes: Vec<AttributeName>,
    /// What MQTT 5 messages of its things would carry along; kept for tools, the broker adds nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub propagating_attributes: Vec<PropagatingAttribute>,
    /// When it was deprecated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deprecated_at: Option<Timestamp>,
    pub created_at: Timestamp,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}
/// An attribute that a thing type names as a user property of MQTT 5 messages.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(missing_docs)]
pub struct PropagatingAttribute {
    pub user_property_key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thing_attribute: Option<AttributeName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_attribute: Option<String>,
}
/// A thing group.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(missing_docs)]
pub struct ThingGroupRecord {
    pub name: ThingGroupName,
    pub thing_group_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<ThingGroupName>,
    /// Root first, the direct parent last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ancestors: Vec<ThingGroupName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<AttributeName, AttributeValue>,
    /// A dynamic group: the query whose answer its things are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    pub version: u64,
    pub created_at: Timestamp,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}
/// A billing group.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(missing_docs)]
pub struct BillingGroupRecord {
    pub name: BillingGroupName,
    pub billing_group_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    pub version: u64,
    pub created_at: Timestamp,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}
/// A policy; its documents are [`PolicyVersionRecord`]s.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(missing_docs)]
pub struct PolicyRecord {
    pub name: PolicyName,
    pub default_version: u32,
    /// The number the next version gets; never reused.
    pub next_version: u32,
    pub created_at: Timestamp,
    pub modified_at: Timestamp,
    pub generation_id: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}
/// One version of a policy.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(missing_docs)]
pub struct PolicyVersionRecord {
    pub policy: PolicyName,
    pub version: u32,
    pub document: String,
    pub created_at: Timestamp,
}
/// Who may run a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs)]
pub enum TemplateType {
    #[default]
    FleetProvisioning,
    Jitp,
}
/// A template's hook (stored; called by fleet provisioning).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(missing_docs)]
pub struct ProvisioningHook {
    pub payload_version: String,
    pub target_arn: String,
}
/// A provisioning template; its bodies are [`TemplateVersionRecord`]s.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(missing_docs)]
pub struct TemplateRecord {
    pub name: TemplateName,
    pub template_type: TemplateType,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    pub enabled: bool,
    pub role_arn: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook: Option<ProvisioningHook>,
    pub default_version: u32,
    pub next_version: u32,
    pub created_at: Timestamp,
    pub modified_at: Timestamp,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}
/// One version of a template.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(missing_docs)]
pub struct TemplateVersionRecord {
    pub template: TemplateName,
    pub version: u32,
    pub body: String,
    pub created_at: Timestamp,
}
/// The program that signs what devices ask for with a signing request.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(missing_docs)]
pub struct CertificateProviderRecord {
    pub name: CertificateProviderName,
    /// Which program.
    pub function_arn: String,
    /// Of the call that created it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_token: Option<String>,
    pub created_at: Timestamp,
    pub modified_at: Timestamp,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}
/// What a policy can be attached to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub enum PolicyTarget {
    Certificate(CertificateId),
    ThingGroup(ThingGroupName),
}
/// What of things can be searched.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(missing_docs)]
pub struct IndexingConfiguration {
    /// Things of the registry.
    pub registry: bool,
    /// Whether they are connected.
    pub connectivity: bool,
    /// Fields that a tool has asked to index, with their types; kept for it. Every attribute can be searched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub custom_fields: Vec<IndexedField>,
}
/// A field of an index.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(missing_docs)]
pub struct IndexedField {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `Number`, `String` or `Boolean`.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<FieldType>,
}
/// The type of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[allow(missing_docs)]
pub enum FieldType {
    Number,
    String,
    Boolean,
}
/// How much AWS would log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs)]
pub enum LogLevel {
    Debug,
    Info,
    Error,
    Warn,
    Disabled,
}
/// Logging options, as tools set them.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(missing_docs)]
pub struct LoggingOptions {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_log_level: Option<LogLevel>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disable_all_logs: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_configurations: Option<Vec<LogEventConfiguration>>,
}
/// How much AWS would log of one kind of event.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(missing_docs)]
pub struct LogEventConfiguration {
    pub event_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_level: Option<LogLevel>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_destination: Option<String>,
}
/// Which registry events are published (`spec/events.md` section 1). Keys as in the API; absent is `false`.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(missing_docs)]
pub struct EventConfigurations {
    pub enabled: BTreeMap<String, bool>,
    pub created_at: Timestamp,
    pub modified_at: Timestamp,
}
impl EventConfigurations {
    /// Every key of `spec/control-plane.md` section 9.
    pub const KEYS: [&'static str; 11] = [
        "THING",
        "THING_GROUP",
        "THING_TYPE",
        "THING_GROUP_MEMBERSHIP",
        "THING_GROUP_HIERARCHY",
        "THING_TYPE_ASSOCIATION",
        "JOB",
        "JOB_EXECUTION",
        "POLICY",
        "CERTIFICATE",
        "CA_CERTIFICATE",
    ];
    /// Is this key switched on?
    pub fn is_enabled(&self, key: &str) -> bool {
        self.enabled.get(key).copied().unwrap_or(false)
    }
}
