//! Policies and their versions (`spec/control-plane.md` section 7).
use super::page::{Page, PageRequest, record_page};
use super::tags::{self, Tags};
use super::{Registry, Result};
use crate::arn::ResourceKind;
use crate::change::{Change, Operation};
use crate::error::RegistryError;
use crate::names::PolicyName;
use crate::records::{PolicyRecord, PolicyVersionRecord};
use crate::store::Table;
use crate::stored::{Stored, decode, key_prefix};
use crate::transact::transact;
use crate::tx::Tx;
use jitp_policies::Document;

const MOST_VERSIONS: usize = 5;

/// Creates a policy with its first version.
pub(crate) async fn create(
    tx: &mut Tx,
    name: &PolicyName,
    document: &str,
    tags: &Tags,
) -> Result<PolicyRecord> {
    check_document(document)?;
    tags::check(tags)?;
    if tx.exists::<PolicyRecord>(name).await? {
        return Err(RegistryError::AlreadyExists {
            kind: PolicyRecord::KIND,
            id: name.to_string(),
            arn: tx.arn(ResourceKind::Policy, name.as_str()).to_string(),
            hint: ": create a new version of it instead".into(),
        });
    }
    let record = PolicyRecord {
        name: name.clone(),
        default_version: 1,
        next_version: 2,
        created_at: tx.now(),
        modified_at: tx.now(),
        generation_id: uuid::Uuid::new_v4().to_string(),
        tags: tags.clone(),
    };
    put_version(tx, name, 1, document)?;
    tx.made("policyVersionId", 1);
    tx.put(&record)?;
    tx.record(Change::Policy { operation: Operation::Created, policy: name.clone() });
    Ok(record)
}

/// Adds a version.
pub(crate) async fn create_version(
    tx: &mut Tx,
    name: &PolicyName,
    document: &str,
    set_as_default: bool,
) -> Result<PolicyVersionRecord> {
    check_document(document)?;
    let mut record: PolicyRecord = tx.require(name).await?;
    let present = versions(tx, name).await?.len();
    if present >= MOST_VERSIONS {
        return Err(RegistryError::VersionsLimitExceeded(format!(
            "policy {name} has {present} versions, and {MOST_VERSIONS} are allowed: delete one that is not the default"
        )));
    }
    let number = record.next_version;
    let version = put_version(tx, name, number, document)?;
    tx.made("policyVersionId", number);
    record.next_version += 1;
    if set_as_default {
        record.default_version = number;
    }
    updated(tx, record)?;
    Ok(version)
}

/// Makes a version the one that is in force.
pub(crate) async fn set_default_version(tx: &mut Tx, name: &PolicyName, version: u32) -> Result<()> {
    let mut record: PolicyRecord = tx.require(name).await?;
    tx.require::<PolicyVersionRecord>(&(name.clone(), version)).await?;
    if record.default_version == version {
        return Ok(());
    }
    record.default_version = version;
    updated(tx, record)
}

/// Deletes a version that is not the default.
pub(crate) async fn delete_version(tx: &mut Tx, name: &PolicyName, version: u32) -> Result<()> {
    let record: PolicyRecord = tx.require(name).await?;
    let id = (name.clone(), version);
    tx.require::<PolicyVersionRecord>(&id).await?;
    if record.default_version == version {
        return Err(RegistryError::DeleteConflict(format!(
            "version {version} is the default version of policy {name}: make another one the default, or delete the \
             policy"
        )));
    }
    tx.delete::<PolicyVersionRecord>(&id);
    updated(tx, record)
}

/// Deletes a policy that is attached nowhere and has only its default version.
pub(crate) async fn delete(tx: &mut Tx, name: &PolicyName) -> Result<()> {
    tx.require::<PolicyRecord>(name).await?;
    if !tx.is_empty(Table::TargetsOfPolicy, &key_prefix(name.as_str())).await? {
        return Err(RegistryError::DeleteConflict(format!(
            "policy {name} is still attached: detach it from all its targets before deleting it"
        )));
    }
    let versions = versions(tx, name).await?;
    if versions.len() > 1 {
        return Err(RegistryError::DeleteConflict(format!(
            "policy {name} has {} versions: delete all but the default one before deleting it",
            versions.len()
        )));
    }
    for version in versions {
        tx.delete::<PolicyVersionRecord>(&(name.clone(), version.version));
    }
    tx.delete::<PolicyRecord>(name);
    tx.record(Change::Policy { operation: Operation::Deleted, policy: name.clone() });
    Ok(())
}

/// All versions, oldest first; at most 5.
pub(crate) async fn versions(tx: &mut Tx, name: &PolicyName) -> Result<Vec<PolicyVersionRecord>> {
    let rows = tx.rows(Table::PolicyVersions, &key_prefix(name.as_str())).await?;
    rows.iter().map(|(key, value)| Ok(decode(Table::PolicyVersions, key, value)?)).collect()
}

/// The version in force.
pub(crate) async fn default_version(tx: &mut Tx, name: &PolicyName) -> Result<PolicyVersionRecord> {
    let record: PolicyRecord = tx.require(name).await?;
    tx.require(&(name.clone(), record.default_version)).await
}

fn check_document(document: &str) -> Result<()> {
    Document::parse(document).map(|_| ()).map_err(|e| RegistryError::MalformedPolicy(e.to_string()))
}

fn put_version(tx: &mut Tx, name: &PolicyName, version: u32, document: &str) -> Result<PolicyVersionRecord> {
    let record = PolicyVersionRecord {
        policy: name.clone(),
        version,
        document: document.into(),
        created_at: tx.now(),
    };
    tx.put(&record)?;
    Ok(record)
}

fn updated(tx: &mut Tx, mut record: PolicyRecord) -> Result<()> {
    record.modified_at = tx.now();
    tx.put(&record)?;
    tx.record(Change::Policy { operation: Operation::Updated, policy: record.name });
    Ok(())
}

impl Registry {
    /// CreatePolicy without tags.
    pub async fn create_policy(&self, name: PolicyName, document: &str) -> Result<PolicyRecord> {
        self.create_tagged_policy(name, document, Tags::new()).await
    }
    /// CreatePolicy.
    pub async fn create_tagged_policy(
        &self,
        name: PolicyName,
        document: &str,
        tags: Tags,
    ) -> Result<PolicyRecord> {
        transact!(self, |tx| create(tx, &name, document, &tags))
    }
    /// GetPolicy.
    pub async fn policy(&self, name: &PolicyName) -> Result<PolicyRecord> {
        self.begin().require(name).await
    }
    /// GetPolicyVersion.
    pub async fn policy_version(&self, name: &PolicyName, version: u32) -> Result<PolicyVersionRecord> {
        self.begin().require(&(name.clone(), version)).await
    }
    /// CreatePolicyVersion.
    pub async fn create_policy_version(
        &self,
        name: &PolicyName,
        document: &str,
        set_as_default: bool,
    ) -> Result<PolicyVersionRecord> {
        transact!(self, |tx| create_version(tx, name, document, set_as_default))
    }
    /// SetDefaultPolicyVersion.
    pub async fn set_default_policy_version(&self, name: &PolicyName, version: u32) -> Result<()> {
        transact!(self, |tx| set_default_version(tx, name, version))
    }
    /// DeletePolicyVersion.
    pub async fn delete_policy_version(&self, name: &PolicyName, version: u32) -> Result<()> {
        transact!(self, |tx| delete_version(tx, name, version))
    }
    /// ListPolicyVersions, oldest first.
    pub async fn list_policy_versions(&self, name: &PolicyName) -> Result<Vec<PolicyVersionRecord>> {
        let mut tx = self.begin();
        tx.require::<PolicyRecord>(name).await?;
        versions(&mut tx, name).await
    }
    /// DeletePolicy.
    pub async fn delete_policy(&self, name: &PolicyName) -> Result<()> {
        transact!(self, |tx| delete(tx, name))
    }
    /// ListPolicies, by name.
    pub async fn list_policies(&self, request: &PageRequest) -> Result<Page<PolicyRecord>> {
        record_page(self.store(), request).await
    }
}
