//! The registry: every operation of the control plane, its rules written once over the store.
//!
//! An operation is a function over `&mut Tx`, so that a template run can do several of them in one commit; the method of
//! [`Registry`] beside it does it in a commit of its own, anew if others were faster.
mod attributes;
pub(crate) mod billing_groups;
pub(crate) mod ca_certificates;
pub(crate) mod certificate_providers;
pub(crate) mod certificates;
mod description;
pub(crate) mod dynamic_groups;
pub(crate) mod events;
mod identity;
mod indexing;
mod logging;
mod page;
pub(crate) mod pending;
pub(crate) mod policies;
pub(crate) mod policy_attachments;
pub(crate) mod principals;
pub(crate) mod registration_code;
mod search;
mod tags;
pub(crate) mod templates;
mod thing_group_tree;
pub(crate) mod thing_groups;
pub(crate) mod thing_types;
pub(crate) mod things;

pub(crate) use attributes::{Attributes, updated as updated_attributes};
pub use ca_certificates::{RegisterCaCertificate, UpdateCaCertificate};
pub use certificate_providers::CreateCertificateProvider;
pub use certificates::RegisterCertificate;
pub(crate) use page::filtered_page;
pub use page::{Page, PageRequest};
pub use search::FoundThing;
pub use tags::Tags;
pub use templates::{CreateTemplate, UpdateTemplate};
pub use thing_groups::{CreateThingGroup, ThingGroupFilter, UpdateThingGroup};
pub use thing_types::ThingTypeProperties;
pub use things::{CreateThing, ThingFilter, UpdateThing};

use self::dynamic_groups::DynamicQueries;
use crate::arn::{Arn, ResourceKind};
use crate::audit::AuditedCall;
use crate::change::ChangeFeed;
use crate::clock::Clock;
use crate::connectivity::Connectivity;
use crate::error::RegistryError;
use crate::provisioner::{Health, Options};
use crate::store::sled::{DiskGuard, SledOptions, SledStore, free_bytes};
use crate::store::{Gate, Retention, Store};
use crate::stored::Stored;
use crate::transact::transact;
use crate::tx::{Memory, Tx};
use std::path::Path;
use std::sync::Arc;

type Result<T> = std::result::Result<T, RegistryError>;

/// Every operation of the control plane. Cheap to clone. Obtained from [`crate::Provisioner::registry`].
///
/// Errors: the variant says what kind of no it is (`spec/control-plane.md` lists them per operation), its text what to
/// do; [`RegistryError::Unavailable`] when the store cannot be written, and [`RegistryError::ConflictingUpdate`] when
/// others changed the same resources in every one of many tries.
#[derive(Clone)]
pub struct Registry {
    store: Arc<Gate>,
    options: Arc<Options>,
    clock: Arc<dyn Clock>,
    changes: ChangeFeed,
    connectivity: Connectivity,
    dynamic_queries: Arc<DynamicQueries>,
    /// On whose behalf units of work are done.
    call: Option<Arc<AuditedCall>>,
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
        let sled = SledOptions {
            cache_bytes: options.cache_bytes,
            guard,
            retention: Retention::default(),
            clock: Arc::clone(&clock),
        };
        let store = Arc::new(SledStore::open(dir, sled).await?);
        Self::over(store, options, clock).await
    }
    /// The registry over a store.
    pub(crate) async fn over(
        engine: Arc<dyn Store>,
        options: Options,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let store = Arc::new(Gate::new(engine));
        let changes = ChangeFeed::new(Arc::clone(&store) as Arc<dyn Store>, Arc::clone(&clock));
        let registry = Self {
            store,
            options: Arc::new(options),
            clock,
            changes,
            connectivity: Connectivity::default(),
            dynamic_queries: Arc::new(DynamicQueries::new()),
            call: None,
        };
        transact!(registry, |tx| identity::claim(tx))?;
        pending::index(&registry).await?;
        Ok(registry)
    }
    /// The same registry for one call: what is committed by way of it carries the call's record.
    pub(crate) fn on_behalf_of(&self, call: &Arc<AuditedCall>) -> Self {
        Self { call: Some(Arc::clone(call)), ..self.clone() }
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
    /// Who is connected, as this process sees it.
    pub fn connectivity(&self) -> &Connectivity {
        &self.connectivity
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
        let (options, queries) = (Arc::clone(&self.options), Arc::clone(&self.dynamic_queries));
        Tx::new(Arc::clone(&self.store) as Arc<dyn Store>, options, queries, self.clock.now())
            .on_behalf_of(self.call.as_ref())
    }
    /// A unit of work that knows what another one knew.
    pub(crate) fn resume(&self, memory: Memory) -> Tx {
        let mut tx = self.begin();
        tx.remember(memory);
        tx
    }
    /// The store, for what has no rules.
    pub(crate) fn store(&self) -> &dyn Store {
        self.store.as_ref()
    }
    /// The store, for what concerns all of it.
    pub(crate) fn gate(&self) -> &Arc<Gate> {
        &self.store
    }
    /// The records that a page of an index names; what has just gone is left out.
    async fn records_of<R: Stored>(&self, ids: Page<R::Id>) -> Result<Page<R>>
    where
        R::Id: Sized,
    {
        let mut items = Vec::with_capacity(ids.items.len());
        let mut tx = self.begin();
        for id in &ids.items {
            items.extend(tx.get(id).await?);
        }
        Ok(Page { items, next: ids.next })
    }

    /// The ARN of a resource of this registry.
    pub fn arn(&self, kind: ResourceKind, name: &str) -> Arn {
        Arn { region: self.region().into(), account: self.account().into(), kind, name: name.into() }
    }
    /// The account: 12 digits.
    pub fn account(&self) -> &str {
        &self.options.account
    }
    /// The region.
    pub fn region(&self) -> &str {
        &self.options.region
    }
}
