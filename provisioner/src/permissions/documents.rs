//! Policy documents, parsed once each.
use crate::cache::Cache;
use crate::error::RegistryError;
use crate::names::PolicyName;
use crate::records::{PolicyRecord, PolicyVersionRecord};
use crate::shared_records::SharedRecords;
use crate::tx::Tx;
use jitp_policies::{AttachedPolicy, Document};
use std::sync::Arc;

/// Most parsed documents kept.
const KEPT: usize = 10_000;

/// Name, generation and version.
type DocumentKey = (PolicyName, String, u32);

/// Parsed documents by the life of a policy and its version: a version is never edited, and a policy that was deleted
/// and created again has another generation.
pub(crate) struct Documents {
    records: SharedRecords<PolicyRecord>,
    parsed: Cache<DocumentKey, AttachedPolicy>,
}

impl Documents {
    pub(crate) fn new() -> Self {
        Self { records: SharedRecords::new(KEPT), parsed: Cache::new(KEPT) }
    }

    /// The default version of a policy; `None` if the policy does not exist (any more).
    ///
    /// # Errors
    /// A stored document that cannot be read is an error and never left out: it may hold a Deny.
    pub(crate) async fn default_version(
        &self,
        tx: &mut Tx,
        name: &PolicyName,
    ) -> Result<Option<AttachedPolicy>, RegistryError> {
        let Some(policy) = tx.get_shared(name, &self.records).await? else { return Ok(None) };
        let version = policy.default_version;
        let key = (name.clone(), policy.generation_id.clone(), version);
        if let Some(parsed) = self.parsed.get(&key) {
            return Ok(Some(parsed));
        }
        let stored: PolicyVersionRecord = tx.require(&(name.clone(), version)).await?;
        let document = Document::parse(&stored.document).map_err(|error| {
            let message =
                format!("version {version} of policy {name} cannot be read: {error}; write a new version");
            RegistryError::Internal(message)
        })?;
        let parsed = AttachedPolicy { name: name.as_str().into(), version, document: Arc::new(document) };
        self.parsed.put(key, parsed.clone());
        Ok(Some(parsed))
    }
}
