//! Policy documents, parsed once each.
use crate::cache::Cache;
use crate::error::RegistryError;
use crate::names::PolicyName;
use crate::records::PolicyRecord;
use crate::registry::policies;
use crate::tx::Tx;
use jitp_policies::{AttachedPolicy, Document};
use std::sync::Arc;

/// Most parsed documents kept.
const KEPT: usize = 10_000;

/// Parsed documents by the life of a policy and its version: a version is never edited, and a policy that was deleted
/// and created again has another generation.
pub(crate) struct Documents {
    parsed: Cache<(PolicyName, String, u32), AttachedPolicy>,
}

impl Documents {
    pub(crate) fn new() -> Self {
        Self { parsed: Cache::new(KEPT) }
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
        let Some(policy) = tx.get::<PolicyRecord>(name).await? else { return Ok(None) };
        let version = policy.default_version;
        let key = (name.clone(), policy.generation_id, version);
        if let Some(parsed) = self.parsed.get(&key) {
            return Ok(Some(parsed));
        }
        let stored = policies::default_version(tx, name).await?;
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
