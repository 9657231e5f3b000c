//! The handle that broker, api and cli share.
use crate::admission::cas::RegisteredCas;
use crate::admission::flights::Flights;
use crate::admission::run::Landing;
use crate::admission::templates::Templates;
use crate::admission::{Admission, Presentation, Principal, report, standing};
use crate::archive::{Export, Seed};
use crate::attempt::log::AttemptLog;
use crate::attempt::{Attempt, AttemptFilter};
use crate::audit::{AuditLog, AuditedCall};
use crate::buckets::Buckets;
use crate::bulk::RegistrationTasks;
use crate::callback::Callbacks;
use crate::change::ChangeFeed;
use crate::clock::Clock;
use crate::data_plane::DataPlaneSeat;
use crate::error::RegistryError;
use crate::fleet::{Fleet, FleetOperation, FleetRates, FleetRefusal, RegisterDevice, RegisteredDevice};
use crate::issuing::expiring::Collector;
use crate::issuing::{Issuer, Issuing, IssuingOptions, claim};
use crate::names::{CertificateId, ThingName};
use crate::numbered_log::NumberedLog;
use crate::permissions::documents::Documents;
use crate::permissions::{
    AuthorizationAnswer, AuthorizationQuestion, ConnectContext, Granted, answer, effective, grant,
};
use crate::reason::ReasonCode;
use crate::records::{CertificateRecord, PolicyVersionRecord, TemplateType};
use crate::registry::{PageRequest, Registry};
use crate::sessions::SessionStore;
use crate::simulate::{Simulation, simulate};
use crate::tx::Tx;
use jitp_certs::Certificate;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How the registry and admissions behave. `Default` is the documented default of each.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Options {
    /// 12 digits; fixed at first start: opening with another value fails with a clear error.
    pub account: String,
    /// Fixed at first start. [`ANY_REGION`](crate::ANY_REGION): callers of every region are served.
    pub region: String,
    /// Admission runs per second of one certificate (default 1). 0: unlimited.
    pub runs_per_certificate_per_second: u32,
    /// Runs per second of one CA (default 0: unlimited).
    pub runs_per_ca_per_second: u32,
    /// A run that takes longer goes on in the background and the device is told to try again (default 10 s).
    pub run_deadline: Duration,
    /// CA certificates with one subject (default 10).
    pub ca_certificates_per_subject: usize,
    /// Provisioning templates (default 256).
    pub templates: usize,
    /// Policies per thing group (default 10).
    pub policies_per_group: usize,
    /// Attempts kept: count (default 100,000) and age (default 30 days).
    pub attempts_kept: u64,
    pub attempts_kept_for: Duration,
    /// Audited calls kept: count (default 100,000) and age (default 400 days).
    pub audit_kept: u64,
    pub audit_kept_for: Duration,
    /// Buckets of registration tasks are its sub-directories; `None` (the default): `<data directory>/bulk/input`.
    pub registration_directory: Option<PathBuf>,
    /// Registration tasks that run at a time (default 1), and lines of one that are provisioned at a time (default 64, at
    /// most 512).
    pub registration_tasks: usize,
    pub registration_lines_in_flight: usize,
    /// Registration tasks are kept this long after their end (default 30 days).
    pub registration_tasks_kept_for: Duration,
    /// A thing type can be deleted this long after its deprecation (default 300 s).
    pub thing_type_delete_delay: Duration,
    /// Refuse to write when the disk has less than this many bytes free (default 64 MiB).
    pub min_free_disk: u64,
    /// sled's page cache in bytes (default 64 MiB).
    pub cache_bytes: u64,
    /// `FAIL` as the override default (default false: DO_NOTHING).
    pub override_default_fail: bool,
    /// Refuse `Fn::…` outside fleet templates (default false).
    pub functions_in_fleet_only: bool,
    /// Thing variables stay unresolved unless the thing is attached to the certificate (default true).
    pub thing_vars_require_attachment: bool,
    /// `AWS::IoT::Certificate::SerialNumber` falls back to the X.509 serial in hex (default false).
    pub jitp_serial_fallback: bool,
    /// Refuse clients without SNI (default false).
    pub require_sni: bool,
    /// How certificates are issued.
    pub issuing: IssuingOptions,
    /// Requests of fleet provisioning per second, of all devices together (default 0 each: unlimited).
    pub fleet_rates: FleetRates,
    /// The programs that hooks of templates, the certificate provider and the issuer may name, by ARN (default none).
    pub callbacks: Callbacks,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            account: "000000000000".into(),
            region: "us-east-1".into(),
            runs_per_certificate_per_second: 1,
            runs_per_ca_per_second: 0,
            run_deadline: Duration::from_secs(10),
            ca_certificates_per_subject: 10,
            templates: 256,
            policies_per_group: 10,
            attempts_kept: 100_000,
            attempts_kept_for: Duration::from_secs(30 * 24 * 3600),
            audit_kept: 100_000,
            audit_kept_for: Duration::from_secs(400 * 24 * 3600),
            registration_directory: None,
            registration_tasks: 1,
            registration_lines_in_flight: 64,
            registration_tasks_kept_for: Duration::from_secs(30 * 24 * 3600),
            thing_type_delete_delay: Duration::from_secs(300),
            min_free_disk: 64 * 1024 * 1024,
            cache_bytes: 64 * 1024 * 1024,
            override_default_fail: false,
            functions_in_fleet_only: false,
            thing_vars_require_attachment: true,
            jitp_serial_fallback: false,
            require_sni: false,
            issuing: IssuingOptions::default(),
            fleet_rates: FleetRates::default(),
            callbacks: Callbacks::default(),
        }
    }
}

/// Can the registry be read and written?
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Health {
    Ready,
    /// Existing sessions go on; nothing is provisioned or changed. The text says why and what to do.
    ReadOnly(String),
}

/// The registry and every way to provision, over one store. Cheap to clone.
#[derive(Clone)]
pub struct Provisioner {
    pub(crate) inner: Arc<Inner>,
    /// That of the handle, or for one call.
    registry: Registry,
}

/// What the handle holds, and what a run in the background goes on holding.
pub(crate) struct Inner {
    pub(crate) registry: Registry,
    pub(crate) attempts: AttemptLog,
    pub(crate) audit: AuditLog,
    pub(crate) registration_tasks: RegistrationTasks,
    pub(crate) templates: Templates,
    pub(crate) cas: RegisteredCas,
    pub(crate) documents: Documents,
    /// Provisioning runs under way.
    pub(crate) flights: Arc<Flights<CertificateId, Landing>>,
    /// Certificates whose run failed, charged for it.
    pub(crate) failing: Buckets<CertificateId>,
    /// CAs, charged for every run.
    pub(crate) ca_rates: Buckets<CertificateId>,
    /// What fleet provisioning shares.
    pub(crate) fleet: Fleet,
    /// Held while a certificate is registered under a CA with a total budget.
    pub(crate) budget: tokio::sync::Mutex<()>,
    pub(crate) issuing: Arc<Issuing>,
    pub(crate) collector: Collector,
    data_plane: DataPlaneSeat,
}

/// Most provisioning runs under way at once.
const FLIGHTS: usize = 16_384;
/// Most certificates whose failures are remembered for their rate.
const FAILING: usize = 100_000;
/// Most CAs whose rate is remembered.
const RATED_CAS: usize = 10_000;

impl Provisioner {
    /// Opens, or creates, the registry in a directory (`<dir>/registry`). Fails clearly when another process has it
    /// open, when its format is newer, or when account or region differ from those of the first start.
    pub async fn open(dir: &Path, options: Options, clock: Arc<dyn Clock>) -> Result<Self, RegistryError> {
        let registry = Registry::open(dir, options, clock).await?;
        let issuing = Arc::new(Issuing::open(dir, registry.options(), registry.clock().now())?);
        let attempts = AttemptLog::open(registry.clone()).await?;
        let audit = AuditLog::open(registry.clone()).await?;
        let registration_tasks = RegistrationTasks::open(registry.clone(), Arc::clone(&issuing), dir).await?;
        let inner = Inner {
            attempts,
            audit,
            registration_tasks,
            templates: Templates::new(),
            cas: RegisteredCas::new(),
            documents: Documents::new(),
            flights: Flights::new(FLIGHTS),
            failing: Buckets::new(FAILING),
            ca_rates: Buckets::new(RATED_CAS),
            fleet: Fleet::new(),
            budget: tokio::sync::Mutex::new(()),
            issuing,
            collector: Collector::start(registry.clone()),
            data_plane: DataPlaneSeat::default(),
            registry,
        };
        Ok(Self::of(Arc::new(inner)))
    }
    pub(crate) fn of(inner: Arc<Inner>) -> Self {
        Self { registry: inner.registry.clone(), inner }
    }
    /// The same for one call: the first commit that is made by way of it carries the call's record.
    #[must_use]
    pub fn on_behalf_of(&self, call: &Arc<AuditedCall>) -> Self {
        Self { inner: Arc::clone(&self.inner), registry: self.inner.registry.on_behalf_of(call) }
    }
    /// The registry: every operation of the control plane.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }
    /// The options in force.
    pub fn options(&self) -> &Options {
        self.inner.registry.options()
    }
    /// The clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        self.inner.registry.clock()
    }
    /// What happened, in order.
    pub fn changes(&self) -> &ChangeFeed {
        self.inner.registry.changes()
    }
    /// Where the broker of this process can be found.
    pub fn data_plane(&self) -> &DataPlaneSeat {
        &self.inner.data_plane
    }
    /// Decides whether the certificate of a request is let in. Nothing is provisioned for it: a first connection is MQTT's.
    pub async fn authenticate(&self, presentation: &Presentation<'_>) -> Admission {
        self.inner.authenticate(presentation).await
    }
    /// Decides whether a connection is let in, provisioning it if need be. Durable when it says so.
    pub async fn admit(&self, presentation: &Presentation<'_>) -> Admission {
        self.inner.admit(presentation).await
    }
    /// The policies that apply to a connection of this principal, compiled. Everything up to [`Principal::as_of`] is in
    /// it; later changes may or may not be, so who lives on must look at the change feed after that.
    pub async fn permissions(
        &self,
        principal: &Principal,
        connect: &ConnectContext,
    ) -> Result<Granted, RegistryError> {
        let mut tx = match principal.seen.take() {
            Some(memory) => self.inner.registry.resume(memory),
            None => self.inner.registry.begin(),
        };
        match &principal.claim {
            Some(claim) => claim::grant(&tx, &principal.certificate, claim, connect),
            None => grant(&mut tx, &self.inner.documents, &principal.certificate, connect).await,
        }
    }
    /// GetEffectivePolicies: the policies of a certificate, of the groups of a thing, or of both.
    ///
    /// # Errors
    /// `NotFound` if there is no such certificate or thing.
    pub async fn effective_policies(
        &self,
        principal: Option<CertificateId>,
        thing: Option<&ThingName>,
    ) -> Result<Vec<PolicyVersionRecord>, RegistryError> {
        effective(&mut self.inner.registry.begin(), principal, thing).await
    }
    /// TestAuthorization: an answer for each request.
    ///
    /// # Errors
    /// `NotFound` if there is no such certificate, or no such policy to add.
    pub async fn test_authorization(
        &self,
        question: &AuthorizationQuestion,
    ) -> Result<Vec<AuthorizationAnswer>, RegistryError> {
        answer(&mut self.inner.registry.begin(), &self.inner.documents, question).await
    }
    /// Is this principal still allowed to be connected? `None`: yes. For live sessions after a change.
    pub async fn recheck(&self, principal: &Principal) -> Result<Option<ReasonCode>, RegistryError> {
        let mut tx = self.inner.registry.begin();
        if principal.claim.is_some() {
            let stands = claim::still_connects(&mut tx, principal.id()).await?;
            return Ok((!stands).then_some(ReasonCode::CertificateNotRegistered));
        }
        Ok(registered(&mut tx, principal.id()).await?.err())
    }
    /// Who a registered certificate stands for while it has no connection. `Err`: why it may not have one now. Provisioning claims
    /// are nobody without a connection.
    ///
    /// # Errors
    /// `Unavailable` when the registry cannot be read.
    pub async fn principal(
        &self,
        certificate: CertificateId,
    ) -> Result<Result<Principal, ReasonCode>, RegistryError> {
        let as_of = self.inner.registry.changes().latest();
        let mut tx = self.inner.registry.begin();
        let record = match registered(&mut tx, certificate).await? {
            Ok(record) => record,
            Err(reason) => return Ok(Err(reason)),
        };
        let leaf = record.parsed()?;
        self.inner.principal(&mut tx, &leaf, &record, as_of).await.map(Ok)
    }
    /// RegisterThing over MQTT: provisions the device of an ownership token by a fleet template. Durable when it succeeds; the
    /// same token with the same template gets the same answer again until it expires, also after a restart, and the
    /// template does not run again. Goes on to its end when the caller stops waiting only if it runs in a task of its own.
    ///
    /// # Errors
    /// [`FleetRefusal`]: nothing was changed, token and certificate stay usable. It has been recorded as an attempt.
    pub async fn register_device(
        &self,
        request: &RegisterDevice<'_>,
    ) -> Result<RegisteredDevice, FleetRefusal> {
        crate::fleet::register(&self.inner, request).await
    }
    /// Records a RegisterThing that was refused before it could be read: what it was about, and why.
    pub fn refuse_device(&self, request: &RegisterDevice<'_>, refusal: &FleetRefusal) {
        crate::fleet::refuse(&self.inner, request, refusal);
    }
    /// Takes one request from the rate of an operation of fleet provisioning; `false` if there is none left now.
    pub fn take_fleet_rate(&self, operation: FleetOperation) -> bool {
        let rate = self.options().fleet_rates.of(operation);
        self.inner.fleet.rates.take(&operation, rate, self.clock().now())
    }
    /// Records a refusal that was decided elsewhere (TLS, authorization). Sequence, time are set here. Does not wait
    /// for the disk; never blocks; what does not fit a bounded queue is counted and dropped.
    pub fn record_refusal(&self, attempt: Attempt) {
        let attempt = Attempt { timestamp: self.clock().now(), ..attempt };
        // Who is known but not allowed has passed authentication.
        if attempt.reason != ReasonCode::NotAuthorized {
            report::refusal(&attempt);
        }
        self.inner.attempts.enter_later(attempt);
    }
    /// The attempt with this sequence; `None` if the log has dropped it.
    pub async fn attempt(&self, sequence: u64) -> Result<Option<Attempt>, RegistryError> {
        self.inner.attempts.records().find(sequence).await
    }
    /// Attempts, newest first, older than the cursor `before` (a sequence) if given.
    pub async fn attempts(
        &self,
        filter: &AttemptFilter,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Attempt>, RegistryError> {
        self.inner.attempts.records().list(filter, before, limit).await
    }
    /// The attempts, for tails.
    pub fn attempt_log(&self) -> &NumberedLog<Attempt> {
        self.inner.attempts.records()
    }
    /// The audited calls of the API.
    pub fn audit(&self) -> &AuditLog {
        &self.inner.audit
    }
    /// Registration tasks: bulk provisioning.
    pub fn registration_tasks(&self) -> RegistrationTasks {
        self.inner.registration_tasks.over(&self.registry)
    }
    /// Where MQTT sessions and retained messages are kept.
    pub fn sessions(&self) -> SessionStore {
        SessionStore::over(self.registry().gate())
    }
    /// Begins an archive of the registry as it is now.
    ///
    /// # Errors
    /// `ConflictingUpdate` while another is being written.
    pub async fn export(&self) -> Result<Export, RegistryError> {
        Export::of(self.registry()).await
    }
    /// Returns the registry to where it began: empty, or as a seed has it ([`Registry::reset`]).
    pub async fn reset(&self, seed: &Seed) -> Result<(), RegistryError> {
        self.registry().reset(seed).await?;
        self.inner.failing.clear();
        self.inner.ca_rates.clear();
        self.inner.fleet.rates.clear();
        Ok(())
    }
    /// Dry run of a JITP template body over a leaf certificate (PEM). Nothing is written.
    ///
    /// # Errors
    /// `InvalidRequest` when the template does not validate or the certificate cannot be read.
    pub async fn simulate(
        &self,
        template_body: &str,
        certificate_pem: &str,
    ) -> Result<Simulation, RegistryError> {
        simulate(&self.inner, template_body, certificate_pem).await
    }
    /// The certificate of the CA that issues here: what others need to trust who it issued for.
    pub fn issuing_ca(&self) -> &Certificate {
        self.inner.issuing.ca()
    }
    /// Has another issuer sign from now on, instead of the issuing CA. Provisioning claims stay with the CA.
    pub fn replace_issuer(&self, issuer: Box<dyn Issuer>) {
        self.inner.issuing.replace_issuer(issuer);
    }
    /// Begins to make device keys ahead, so that the first devices that ask for a key need not wait. For where devices will
    /// ask: elsewhere the processor is better left alone, and the first request begins.
    pub fn make_keys_ahead(&self) {
        self.inner.issuing.keys().fill();
    }
    /// [`Self::make_keys_ahead`] if there is a template of type FLEET_PROVISIONING.
    pub async fn prepare_keys(&self) -> Result<(), RegistryError> {
        const PAGE: usize = 250;
        let mut request = PageRequest { after: None, limit: PAGE, ascending: true };
        loop {
            let page = self.registry().list_templates(&request).await?;
            if page.items.iter().any(|template| template.template_type == TemplateType::FleetProvisioning) {
                self.make_keys_ahead();
                return Ok(());
            }
            request.after = page.next;
            if request.after.is_none() {
                return Ok(());
            }
        }
    }
    /// Can it be written?
    pub fn health(&self) -> Health {
        self.inner.registry.health()
    }
    /// Flushes and closes: waits for commits under way. Later calls fail with `Unavailable`.
    pub async fn close(&self) -> Result<(), RegistryError> {
        self.inner.collector.stop();
        self.inner.registration_tasks.close().await;
        self.inner.attempts.close().await;
        self.inner.registry.close().await
    }
}

/// The record of a certificate that may connect now, or why it may not.
async fn registered(
    tx: &mut Tx,
    certificate: CertificateId,
) -> Result<Result<CertificateRecord, ReasonCode>, RegistryError> {
    let record: Option<CertificateRecord> = tx.get(&certificate).await?;
    let Some(record) = record else { return Ok(Err(ReasonCode::CertificateNotRegistered)) };
    Ok(match standing::standing(&record) {
        Ok(standing::Standing::Active) => Ok(record),
        Ok(standing::Standing::Pending(_)) => Err(ReasonCode::CertificatePendingActivation),
        Err(cause) => Err(cause.reason),
    })
}

impl std::fmt::Debug for Provisioner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Provisioner").field("health", &self.health()).finish_non_exhaustive()
    }
}
