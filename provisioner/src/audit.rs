//! The audit log: every call of the API that changes something, or tried to. Durable and bounded.
//!
//! The record of a call that changes something is part of the commit that changes it.
mod call;
pub(crate) mod log;

use crate::clock::Timestamp;
use crate::numbered_log::Numbered;
pub use call::AuditedCall;
pub(crate) use call::Entry;
pub use log::AuditLog;
use std::collections::BTreeMap;

/// One audited call. Carries no secret: of its inputs and outputs only those that identify what was acted on.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuditRecord {
    /// Rises with every record; the cursor of lists and tails.
    pub sequence: u64,
    /// When the call was done or refused.
    pub timestamp: Timestamp,
    /// Whose call it was.
    pub access_key_id: String,
    /// Name of the operation.
    pub operation: String,
    /// What it acted on and what it made: names and ids by the name of the input or output that held them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub resources: BTreeMap<String, String>,
    /// Where the call came from.
    pub source_ip: String,
    /// What the caller says it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// As in the reply's header `x-amzn-RequestId`.
    pub request_id: String,
    /// Name of the exception that it was answered with; `None`: it was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// From the first byte of its body until it was handed to the disk, or refused, in microseconds.
    pub duration_micros: u64,
}

/// Which records to list. All given members must match.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs)]
pub struct AuditFilter {
    pub access_key_id: Option<String>,
    pub operation: Option<String>,
    pub since: Option<Timestamp>,
}

impl Numbered for AuditRecord {
    type Filter = AuditFilter;

    fn numbered(self, sequence: u64) -> Self {
        Self { sequence, ..self }
    }
    fn sequence(&self) -> u64 {
        self.sequence
    }
    fn timestamp(&self) -> Timestamp {
        self.timestamp
    }
    fn matches(&self, filter: &AuditFilter) -> bool {
        filter.access_key_id.as_ref().is_none_or(|id| self.access_key_id == *id)
            && filter.operation.as_ref().is_none_or(|name| self.operation == *name)
            && filter.since.is_none_or(|since| self.timestamp >= since)
    }
}
