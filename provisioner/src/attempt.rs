//! The attempt log: every admission that was not a plain success, and every provisioning run. Durable and bounded.
pub(crate) mod log;

use crate::clock::Timestamp;
use crate::names::{CertificateId, TemplateName, ThingName};
use crate::numbered_log::Numbered;
use crate::reason::ReasonCode;
use std::collections::BTreeMap;

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The template ran and was committed.
    Provisioned,
    /// The device was not let in.
    Refused,
}

/// By which way a device tried to join.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AttemptKind {
    /// It connected: its certificate is known, or its CA provisions it.
    #[default]
    Connection,
    /// RegisterThing over MQTT, on the connection of a claim certificate.
    Fleet,
    /// An operator approved a certificate that waits, with a template.
    Approval,
}

impl AttemptKind {
    fn is_connection(&self) -> bool {
        *self == Self::Connection
    }
}

/// One attempt (`spec/jitp.md` section 7). Carries no secret.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct Attempt {
    /// Rises with every attempt; the cursor of lists and tails.
    pub sequence: u64,
    pub timestamp: Timestamp,
    /// Left out where it is [`AttemptKind::Connection`].
    #[serde(default, skip_serializing_if = "AttemptKind::is_connection")]
    pub kind: AttemptKind,
    pub outcome: Outcome,
    pub reason: ReasonCode,
    /// One sentence for an operator: what happened, where, what to do next.
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_id: Option<CertificateId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_certificate_id: Option<CertificateId>,
    /// Whose connection asked, of [`AttemptKind::Fleet`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim_certificate_id: Option<CertificateId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    pub source_ip: String,
    pub source_port: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// `None` with a `templateVersion` of `None` and a template run: the CA carries its template inline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_name: Option<TemplateName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_version: Option<u32>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thing_name: Option<ThingName>,
    /// Logical name of the template's resource that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_resource: Option<String>,
    /// JSON path in the template that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json_path: Option<String>,
    pub duration_micros: u64,
}

/// Which attempts to list. All given members must match.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs)]
pub struct AttemptFilter {
    pub outcome: Option<Outcome>,
    pub reason: Option<ReasonCode>,
    pub certificate_id: Option<CertificateId>,
    pub ca_certificate_id: Option<CertificateId>,
    pub client_id: Option<String>,
    pub since: Option<Timestamp>,
}

impl Numbered for Attempt {
    type Filter = AttemptFilter;

    fn numbered(self, sequence: u64) -> Self {
        Self { sequence, ..self }
    }
    fn sequence(&self) -> u64 {
        self.sequence
    }
    fn timestamp(&self) -> Timestamp {
        self.timestamp
    }
    fn matches(&self, filter: &AttemptFilter) -> bool {
        filter.outcome.is_none_or(|outcome| self.outcome == outcome)
            && filter.reason.is_none_or(|reason| self.reason == reason)
            && filter.certificate_id.is_none_or(|id| self.certificate_id == Some(id))
            && filter.ca_certificate_id.is_none_or(|id| self.ca_certificate_id == Some(id))
            && filter.client_id.as_deref().is_none_or(|id| self.client_id.as_deref() == Some(id))
            && filter.since.is_none_or(|since| self.timestamp >= since)
    }
}
