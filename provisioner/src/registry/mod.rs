//! The registry: every operation of the control plane, its rules written once over the store.
mod identity;

use crate::arn::{Arn, ResourceKind};
use crate::change::ChangeFeed;
use crate::clock::Clock;
use crate::error::RegistryError;
use crate::names::{
    AttributeName, AttributeValue, BillingGroupName, CertificateId, PolicyName, TemplateName, ThingGroupName,
    ThingName, ThingTypeName,
};
use crate::provisioner::{Health, Options};
use crate::records::*;
use crate::store::Store;
use crate::store::sled::{DiskGuard, SledOptions, SledStore, free_bytes};
use crate::stored::Stored;
use crate::transact::transact;
use crate::tx::Tx;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

type Result<T> = std::result::Result<T, RegistryError>;

/// A page of a list, and the cursor of the next one (`None`: this was the last). A cursor is a key, so it stays right
/// while things come and go.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub next: Option<String>,
}
/// Where a list starts and how it runs.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct PageRequest {
    /// The `next` of the page before.
    pub after: Option<String>,
    /// 1 to 250.
    pub limit: usize,
    pub ascending: bool,
}

/// RegisterCACertificate.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs)]
pub struct RegisterCaCertificate {
    pub ca_certificate: String,
    pub verification_certificate: Option<String>,
    pub mode: CertificateMode,
    pub set_as_active: bool,
    pub allow_auto_registration: bool,
    pub registration_config: Option<RegistrationConfig>,
    pub tags: BTreeMap<String, String>,
}
/// UpdateCACertificate; absent members leave the attribute unchanged.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs)]
pub struct UpdateCaCertificate {
    pub new_status: Option<CaStatus>,
    pub new_auto_registration: Option<bool>,
    pub registration_config: Option<RegistrationConfig>,
    pub remove_auto_registration: bool,
}
/// CreateThing.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs)]
pub struct CreateThing {
    pub thing_type: Option<ThingTypeName>,
    pub attributes: BTreeMap<AttributeName, AttributeValue>,
    pub billing_group: Option<BillingGroupName>,
}
/// UpdateThing.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs)]
pub struct UpdateThing {
    pub thing_type: Option<ThingTypeName>,
    pub remove_thing_type: bool,
    pub attributes: Option<BTreeMap<AttributeName, AttributeValue>>,
    pub merge: bool,
    pub expected_version: Option<u64>,
}
/// CreateProvisioningTemplate.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct CreateTemplate {
    pub name: TemplateName,
    pub template_type: TemplateType,
    pub body: String,
    pub description: Option<String>,
    pub enabled: bool,
    pub role_arn: String,
    pub hook: Option<ProvisioningHook>,
}
/// Which things ListThings lists.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs)]
pub struct ThingFilter {
    pub thing_type: Option<ThingTypeName>,
    pub attribute: Option<(AttributeName, String)>,
    /// The attribute's value is a prefix.
    pub prefix: bool,
}

/// Every operation of the control plane. Obtained from [`crate::Provisioner::registry`].
#[derive(Clone)]
pub struct Registry {
    store: Arc<dyn Store>,
    options: Arc<Options>,
    clock: Arc<dyn Clock>,
    changes: ChangeFeed,
}

impl Registry {
    /// Opens, or creates, the registry in a directory (`<dir>/registry`). Fails clearly when another process has it
    /// open, when its format is newer, or when account or region differ from those of the first start.
    pub async fn open(dir: &Path, options: Options, clock: Arc<dyn Clock>) -> Result<Self> {
        let guard = DiskGuard::new(options.min_free_disk, free_bytes);
        Self::open_guarded(dir, options, clock, guard).await
    }
    /// The same with another way to find out how full the disk is.
    pub(crate) async fn open_guarded(
        dir: &Path,
        options: Options,
        clock: Arc<dyn Clock>,
        guard: DiskGuard,
    ) -> Result<Self> {
        let sled = SledOptions { cache_bytes: options.cache_bytes, guard, clock: Arc::clone(&clock) };
        let store = Arc::new(SledStore::open(dir, sled).await?);
        Self::over(store, options, clock).await
    }
    /// The registry over a store.
    pub(crate) async fn over(store: Arc<dyn Store>, options: Options, clock: Arc<dyn Clock>) -> Result<Self> {
        let changes = ChangeFeed::new(Arc::clone(&store), Arc::clone(&clock));
        let registry = Self { store, options: Arc::new(options), clock, changes };
        transact!(registry, |tx| identity::claim(tx))?;
        Ok(registry)
    }
    /// What happened, in order.
    pub fn changes(&self) -> &ChangeFeed {
        &self.changes
    }
    /// The options in force.
    pub fn options(&self) -> &Options {
        &self.options
    }
    /// The clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }
    /// Can it be written?
    pub fn health(&self) -> Health {
        self.store.health()
    }
    /// Waits for commits under way, flushes and closes. Later calls fail with `Unavailable`.
    pub async fn close(&self) -> Result<()> {
        Ok(self.store.close().await?)
    }

    /// A unit of work. Dropping it undoes it.
    pub(crate) fn begin(&self) -> Tx {
        Tx::new(Arc::clone(&self.store), Arc::clone(&self.options), self.clock.now())
    }
    /// Reads in one unit of work.
    pub(crate) async fn read<R: Stored>(&self, id: &R::Id) -> Result<R> {
        self.begin().require(id).await
    }
    /// The store, for what has no rules.
    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }
}

#[allow(missing_docs)]
impl Registry {
    /// The ARN of a resource of this registry.
    pub fn arn(&self, kind: ResourceKind, name: &str) -> Arn {
        Arn {
            region: self.options.region.clone(),
            account: self.options.account.clone(),
            kind,
            name: name.into(),
        }
    }
    pub fn account(&self) -> &str {
        &self.options.account
    }
    pub fn region(&self) -> &str {
        &self.options.region
    }

    // CA certificates and registration code (spec/jitp.md section 2, spec/control-plane.md section 2)
    pub async fn register_ca_certificate(&self, _r: RegisterCaCertificate) -> Result<CaCertificateRecord> {
        unimplemented!()
    }
    pub async fn ca_certificate(&self, _id: CertificateId) -> Result<CaCertificateRecord> {
        unimplemented!()
    }
    pub async fn update_ca_certificate(&self, _id: CertificateId, _u: UpdateCaCertificate) -> Result<()> {
        unimplemented!()
    }
    pub async fn delete_ca_certificate(&self, _id: CertificateId) -> Result<()> {
        unimplemented!()
    }
    pub async fn list_ca_certificates(
        &self,
        _template: Option<&TemplateName>,
        _page: &PageRequest,
    ) -> Result<Page<CaCertificateRecord>> {
        unimplemented!()
    }
    pub async fn registration_code(&self) -> Result<String> {
        unimplemented!()
    }
    pub async fn delete_registration_code(&self) -> Result<()> {
        unimplemented!()
    }

    // Certificates
    pub async fn certificate(&self, _id: CertificateId) -> Result<CertificateRecord> {
        unimplemented!()
    }
    pub async fn update_certificate(&self, _id: CertificateId, _status: CertificateStatus) -> Result<()> {
        unimplemented!()
    }
    pub async fn delete_certificate(&self, _id: CertificateId, _force: bool) -> Result<()> {
        unimplemented!()
    }
    pub async fn list_certificates(
        &self,
        _ca: Option<CertificateId>,
        _page: &PageRequest,
    ) -> Result<Page<CertificateRecord>> {
        unimplemented!()
    }

    // Things and principals
    pub async fn create_thing(&self, _name: ThingName, _t: CreateThing) -> Result<ThingRecord> {
        unimplemented!()
    }
    pub async fn thing(&self, _name: &ThingName) -> Result<ThingRecord> {
        unimplemented!()
    }
    pub async fn update_thing(&self, _name: &ThingName, _u: UpdateThing) -> Result<()> {
        unimplemented!()
    }
    pub async fn delete_thing(&self, _name: &ThingName, _expected_version: Option<u64>) -> Result<()> {
        unimplemented!()
    }
    pub async fn list_things(&self, _filter: &ThingFilter, _page: &PageRequest) -> Result<Page<ThingRecord>> {
        unimplemented!()
    }
    pub async fn attach_thing_principal(
        &self,
        _thing: &ThingName,
        _certificate: CertificateId,
        _kind: PrincipalType,
    ) -> Result<()> {
        unimplemented!()
    }
    pub async fn detach_thing_principal(
        &self,
        _thing: &ThingName,
        _certificate: CertificateId,
    ) -> Result<()> {
        unimplemented!()
    }
    pub async fn list_thing_principals(
        &self,
        _thing: &ThingName,
        _page: &PageRequest,
    ) -> Result<Page<(CertificateId, PrincipalType)>> {
        unimplemented!()
    }
    pub async fn list_principal_things(
        &self,
        _certificate: CertificateId,
        _page: &PageRequest,
    ) -> Result<Page<(ThingName, PrincipalType)>> {
        unimplemented!()
    }
    pub async fn list_groups_of_thing(
        &self,
        _thing: &ThingName,
        _page: &PageRequest,
    ) -> Result<Page<ThingGroupName>> {
        unimplemented!()
    }

    // Thing types, thing groups, billing groups
    pub async fn create_thing_type(
        &self,
        _name: ThingTypeName,
        _description: Option<String>,
        _searchable: Vec<AttributeName>,
    ) -> Result<ThingTypeRecord> {
        unimplemented!()
    }
    pub async fn thing_type(&self, _name: &ThingTypeName) -> Result<ThingTypeRecord> {
        unimplemented!()
    }
    pub async fn deprecate_thing_type(&self, _name: &ThingTypeName, _undo: bool) -> Result<()> {
        unimplemented!()
    }
    pub async fn delete_thing_type(&self, _name: &ThingTypeName) -> Result<()> {
        unimplemented!()
    }
    pub async fn create_thing_group(
        &self,
        _name: ThingGroupName,
        _parent: Option<ThingGroupName>,
        _description: Option<String>,
        _attributes: BTreeMap<AttributeName, AttributeValue>,
    ) -> Result<ThingGroupRecord> {
        unimplemented!()
    }
    pub async fn thing_group(&self, _name: &ThingGroupName) -> Result<ThingGroupRecord> {
        unimplemented!()
    }
    pub async fn delete_thing_group(
        &self,
        _name: &ThingGroupName,
        _expected_version: Option<u64>,
    ) -> Result<()> {
        unimplemented!()
    }
    pub async fn add_thing_to_group(&self, _thing: &ThingName, _group: &ThingGroupName) -> Result<()> {
        unimplemented!()
    }
    pub async fn remove_thing_from_group(&self, _thing: &ThingName, _group: &ThingGroupName) -> Result<()> {
        unimplemented!()
    }
    pub async fn create_billing_group(
        &self,
        _name: BillingGroupName,
        _description: Option<String>,
    ) -> Result<BillingGroupRecord> {
        unimplemented!()
    }

    // Policies
    pub async fn create_policy(&self, _name: PolicyName, _document: &str) -> Result<PolicyRecord> {
        unimplemented!()
    }
    pub async fn policy(&self, _name: &PolicyName) -> Result<PolicyRecord> {
        unimplemented!()
    }
    pub async fn policy_version(&self, _name: &PolicyName, _version: u32) -> Result<PolicyVersionRecord> {
        unimplemented!()
    }
    pub async fn create_policy_version(
        &self,
        _name: &PolicyName,
        _document: &str,
        _set_as_default: bool,
    ) -> Result<PolicyVersionRecord> {
        unimplemented!()
    }
    pub async fn set_default_policy_version(&self, _name: &PolicyName, _version: u32) -> Result<()> {
        unimplemented!()
    }
    pub async fn delete_policy_version(&self, _name: &PolicyName, _version: u32) -> Result<()> {
        unimplemented!()
    }
    pub async fn list_policy_versions(&self, _name: &PolicyName) -> Result<Vec<PolicyVersionRecord>> {
        unimplemented!()
    }
    pub async fn delete_policy(&self, _name: &PolicyName) -> Result<()> {
        unimplemented!()
    }
    pub async fn list_policies(&self, _page: &PageRequest) -> Result<Page<PolicyRecord>> {
        unimplemented!()
    }
    pub async fn attach_policy(&self, _name: &PolicyName, _target: PolicyTarget) -> Result<()> {
        unimplemented!()
    }
    pub async fn detach_policy(&self, _name: &PolicyName, _target: &PolicyTarget) -> Result<()> {
        unimplemented!()
    }
    pub async fn list_attached_policies(
        &self,
        _target: &PolicyTarget,
        _page: &PageRequest,
    ) -> Result<Page<PolicyName>> {
        unimplemented!()
    }
    pub async fn list_targets_for_policy(
        &self,
        _name: &PolicyName,
        _page: &PageRequest,
    ) -> Result<Page<PolicyTarget>> {
        unimplemented!()
    }

    // Provisioning templates
    pub async fn create_template(&self, _t: CreateTemplate) -> Result<TemplateRecord> {
        unimplemented!()
    }
    pub async fn template(&self, _name: &TemplateName) -> Result<TemplateRecord> {
        unimplemented!()
    }
    pub async fn template_version(
        &self,
        _name: &TemplateName,
        _version: u32,
    ) -> Result<TemplateVersionRecord> {
        unimplemented!()
    }
    pub async fn create_template_version(
        &self,
        _name: &TemplateName,
        _body: &str,
        _set_as_default: bool,
    ) -> Result<TemplateVersionRecord> {
        unimplemented!()
    }
    pub async fn set_default_template_version(&self, _name: &TemplateName, _version: u32) -> Result<()> {
        unimplemented!()
    }
    pub async fn delete_template(&self, _name: &TemplateName) -> Result<()> {
        unimplemented!()
    }
    pub async fn list_templates(&self, _page: &PageRequest) -> Result<Page<TemplateRecord>> {
        unimplemented!()
    }

    // Event configurations
    pub async fn event_configurations(&self) -> Result<EventConfigurations> {
        unimplemented!()
    }
    /// Partial update; an unknown key is refused.
    pub async fn update_event_configurations(&self, _changes: &BTreeMap<String, bool>) -> Result<()> {
        unimplemented!()
    }
}
