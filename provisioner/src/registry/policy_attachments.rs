//! Policies attached to certificates and thing groups (`spec/control-plane.md` section 7).
//!
//! Attaching reads the policy and writes only rows of its target, so that a million devices that share a policy do not
//! contend for it.
use super::page::{Page, PageRequest, name_in_key, page, strange_key};
use super::{Registry, Result};
use crate::change::Change;
use crate::error::RegistryError;
use crate::names::{CertificateId, PolicyName};
use crate::records::{CertificateRecord, PolicyRecord, PolicyTarget, ThingGroupRecord};
use crate::store::{Key, Table};
use crate::stored::key_prefix;
use crate::transact::transact;
use crate::tx::Tx;

const MOST_PER_CERTIFICATE: usize = 10;
const CERTIFICATE: u8 = b'c';
const THING_GROUP: u8 = b'g';

/// Attaches a policy; again is no change.
pub(crate) async fn attach(tx: &mut Tx, policy: &PolicyName, target: &PolicyTarget) -> Result<()> {
    tx.require_exists::<PolicyRecord>(policy).await?;
    check_target(tx, target).await?;
    let attached = policies_of(tx, target).await?;
    if attached.contains(policy) {
        return Ok(());
    }
    let most = match target {
        PolicyTarget::Certificate(_) => MOST_PER_CERTIFICATE,
        PolicyTarget::ThingGroup(_) => tx.options().policies_per_group,
    };
    if attached.len() >= most {
        return Err(RegistryError::LimitExceeded(format!(
            "{} policies are attached to {}, and {most} are allowed: detach one first",
            attached.len(),
            shown(target)
        )));
    }
    tx.put_row(Table::PoliciesOfTarget, by_target_key(target, policy), Vec::new());
    tx.put_row(Table::TargetsOfPolicy, by_policy_key(policy, target), Vec::new());
    tx.record(Change::PolicyAttachment { attached: true, policy: policy.clone(), target: target.clone() });
    Ok(())
}

/// Detaches a policy; it need not be attached.
pub(crate) async fn detach(tx: &mut Tx, policy: &PolicyName, target: &PolicyTarget) -> Result<()> {
    let key = by_target_key(target, policy);
    if tx.row(Table::PoliciesOfTarget, &key).await?.is_none() {
        return Ok(());
    }
    tx.delete_row(Table::PoliciesOfTarget, key);
    tx.delete_row(Table::TargetsOfPolicy, by_policy_key(policy, target));
    tx.record(Change::PolicyAttachment { attached: false, policy: policy.clone(), target: target.clone() });
    Ok(())
}

/// The policies attached to a target, by name.
pub(crate) async fn policies_of(tx: &mut Tx, target: &PolicyTarget) -> Result<Vec<PolicyName>> {
    let prefix = target_prefix(target);
    let table = Table::PoliciesOfTarget;
    let rows = match target {
        PolicyTarget::Certificate(id) => tx.rows_of::<CertificateRecord>(id, table, &prefix).await?,
        PolicyTarget::ThingGroup(name) => tx.rows_of::<ThingGroupRecord>(name, table, &prefix).await?,
    };
    rows.iter()
        .map(|(key, _)| name_in_key(table, key.strip_prefix(prefix.as_slice()).unwrap_or(key)))
        .collect()
}

async fn check_target(tx: &mut Tx, target: &PolicyTarget) -> Result<()> {
    match target {
        PolicyTarget::Certificate(id) => tx.require_exists::<CertificateRecord>(id).await,
        PolicyTarget::ThingGroup(name) => tx.require_exists::<ThingGroupRecord>(name).await,
    }
}

/// All keys of a target start with it, and no key of another target does.
fn target_prefix(target: &PolicyTarget) -> Key {
    let mut prefix = target_key(target);
    if let PolicyTarget::ThingGroup(_) = target {
        prefix.push(0);
    }
    prefix
}
fn target_key(target: &PolicyTarget) -> Key {
    match target {
        PolicyTarget::Certificate(id) => [&[CERTIFICATE][..], id.as_bytes()].concat(),
        PolicyTarget::ThingGroup(name) => [&[THING_GROUP][..], name.as_str().as_bytes()].concat(),
    }
}
fn by_target_key(target: &PolicyTarget, policy: &PolicyName) -> Key {
    [&target_prefix(target)[..], policy.as_str().as_bytes()].concat()
}
fn by_policy_key(policy: &PolicyName, target: &PolicyTarget) -> Key {
    [key_prefix(policy.as_str()), target_key(target)].concat()
}
fn target_in_key(key: &[u8]) -> Result<PolicyTarget> {
    let table = Table::TargetsOfPolicy;
    match key.split_first() {
        Some((&CERTIFICATE, id)) => {
            let id = id.try_into().map_err(|_| strange_key(table, key))?;
            Ok(PolicyTarget::Certificate(CertificateId::from_bytes(id)))
        }
        Some((&THING_GROUP, name)) => name_in_key(table, name).map(PolicyTarget::ThingGroup),
        _ => Err(strange_key(table, key)),
    }
}
fn shown(target: &PolicyTarget) -> String {
    match target {
        PolicyTarget::Certificate(id) => format!("certificate {id}"),
        PolicyTarget::ThingGroup(name) => format!("thing group {name}"),
    }
}

impl Registry {
    /// AttachPolicy.
    pub async fn attach_policy(&self, name: &PolicyName, target: PolicyTarget) -> Result<()> {
        transact!(self, |tx| attach(tx, name, &target))
    }
    /// DetachPolicy.
    pub async fn detach_policy(&self, name: &PolicyName, target: &PolicyTarget) -> Result<()> {
        transact!(self, |tx| detach(tx, name, target))
    }
    /// ListAttachedPolicies, by name.
    pub async fn list_attached_policies(
        &self,
        target: &PolicyTarget,
        request: &PageRequest,
    ) -> Result<Page<PolicyName>> {
        check_target(&mut self.begin(), target).await?;
        let table = Table::PoliciesOfTarget;
        page(self.store(), table, &target_prefix(target), request, |key, _| name_in_key(table, key).map(Some))
            .await
    }
    /// ListTargetsForPolicy, certificates first.
    pub async fn list_targets_for_policy(
        &self,
        name: &PolicyName,
        request: &PageRequest,
    ) -> Result<Page<PolicyTarget>> {
        self.begin().require_exists::<PolicyRecord>(name).await?;
        let prefix = key_prefix(name.as_str());
        page(self.store(), Table::TargetsOfPolicy, &prefix, request, |key, _| target_in_key(key).map(Some))
            .await
    }
}
