//! The run behind a first connection: who issued the certificate, what its template says, and one commit of it all.
use crate::admission::apply::apply;
use crate::admission::cause::Cause;
use crate::admission::issuer::{RegisteredCa, choose, may_register};
use crate::admission::standing::{Standing, standing};
use crate::admission::visit::Visit;
use crate::admission::{Principal, Seen, budget, parameters, report};
use crate::attempt::Attempt;
use crate::error::RegistryError;
use crate::names::{CertificateId, TemplateName, ThingName};
use crate::provisioner::Inner;
use crate::reason::ReasonCode;
use crate::records::{CertificateMode, CertificateRecord, CertificateStatus, RegistrationConfig};
use crate::registry::{certificates, principals};
use crate::store::{Revision, StoreError};
use crate::tx::{Memory, Tx};
use jitp_certs::Certificate;
use jitp_templates::Parameters;
use std::sync::Arc;

/// What came of a run. All that wait for it get the same.
pub(crate) type Landing = Result<Principal, Arc<Stop>>;

/// Why a run did not let the device in.
#[derive(Debug)]
pub(crate) struct Stop {
    pub(crate) cause: Cause,
    pub(crate) ca: Option<CertificateId>,
    /// The attempt is in the log already, with the commit of the run.
    pub(crate) logged: bool,
}

/// How often a run starts over because others changed what it had read. Each time somebody else has made progress.
const MOST_TRIES: u32 = 100;

/// How often a run starts over because what it had read does not fit together.
const MOST_TORN: u32 = 4;

/// Registers and provisions, or says why not. Durable when it returns. `seen`: what was read just now, for the first try.
pub(crate) async fn run(inner: Arc<Inner>, leaf: Certificate, visit: Visit, seen: Memory) -> Landing {
    let mut run = Run { inner: &inner, leaf: &leaf, visit: &visit, seen: Some(seen), charged: false };
    let mut torn = 0;
    for _ in 0..MOST_TRIES {
        let (landing, attempt) = match run.once().await {
            Ok(Done { principal, attempt }) => (Ok(principal), attempt),
            Err(Halt::Again) => {
                tokio::task::yield_now().await;
                continue;
            }
            Err(Halt::Stop { stop, attempt }) => {
                // Two reads are not one snapshot: what does not fit together may have been seen between two commits.
                torn += u32::from(stop.cause.reason == ReasonCode::Internal);
                if (1..MOST_TORN).contains(&torn) {
                    continue;
                }
                (Err(stop), attempt)
            }
        };
        if let Some(attempt) = attempt {
            report::run(&attempt, run.visit.trace());
        }
        return landing;
    }
    let message = "others kept changing the resources of this run: the device succeeds when it retries";
    Err(stop(Cause::new(ReasonCode::ProvisioningTimeout, message), None))
}

/// How one try let the device in.
struct Done {
    principal: Principal,
    /// The attempt, if a template ran.
    attempt: Option<Box<Attempt>>,
}

/// Why one try ended without a principal.
enum Halt {
    /// What was read has been changed meanwhile: decide again.
    Again,
    /// `attempt`: if a template ran.
    Stop { stop: Arc<Stop>, attempt: Option<Box<Attempt>> },
}

struct Run<'a> {
    inner: &'a Arc<Inner>,
    leaf: &'a Certificate,
    visit: &'a Visit,
    seen: Option<Memory>,
    /// The CA's rate has been charged for this run.
    charged: bool,
}

/// What a run has found out of its template, for the attempt.
#[derive(Default)]
struct Found {
    template_name: Option<TemplateName>,
    template_version: Option<u32>,
    parameters: Parameters,
    thing_name: Option<ThingName>,
}

impl Run<'_> {
    /// One try.
    async fn once(&mut self) -> Result<Done, Halt> {
        let as_of = self.inner.registry.changes().latest();
        let mut tx = match self.seen.take() {
            Some(seen) => self.inner.registry.resume(seen),
            None => self.inner.registry.begin(),
        };
        let (ca, is_new) = match self.issuer(&mut tx, as_of).await? {
            Issuer::NotNeeded(principal) => return Ok(Done { principal, attempt: None }),
            Issuer::Found { ca, is_new } => (ca, is_new),
        };
        let halt = |cause| Halt::from((cause, ca.record.certificate_id));
        self.server_name(&ca).map_err(halt)?;
        // One at a time, so that the runs of a CA with a budget do not conflict on its count.
        let _turn = match ca.record.total_runs {
            Some(_) if is_new => Some(self.inner.budget.lock().await),
            _ => None,
        };
        self.budget(&mut tx, &ca, is_new).await.map_err(halt)?;
        match &ca.record.registration_config {
            None => self.register(tx, &ca, is_new).await,
            Some(config) => self.provision(tx, &ca, is_new, config).await,
        }
    }

    /// The CA that stands behind the certificate and may register now.
    async fn issuer(&self, tx: &mut Tx, as_of: Revision) -> Result<Issuer, Halt> {
        let now = tx.now().unix_seconds();
        let record: Option<CertificateRecord> = tx.get(&self.leaf.id()).await?;
        let Some(record) = record else {
            let candidates = self.inner.cas.with_subject(tx, self.leaf.issuer()).await?;
            let ca = choose(self.leaf, &candidates, &self.visit.sent, now)?;
            self.twin(tx, ca).await.map_err(|cause| (cause, ca.record.certificate_id))?;
            may_register(ca, now).map_err(|cause| (cause, ca.record.certificate_id))?;
            return Ok(Issuer::Found { ca: ca.clone(), is_new: true });
        };
        let id = match standing(&record) {
            Ok(Standing::Active) => {
                return Ok(Issuer::NotNeeded(self.inner.principal(tx, self.leaf, &record, as_of).await?));
            }
            Ok(Standing::Pending(ca)) => ca,
            Err(cause) => return Err(Halt::from(stop(cause, record.ca_certificate_id))),
        };
        let ca = self.inner.cas.by_id(tx, id).await?.ok_or_else(|| {
            let message = format!(
                "the CA {id} that registered this certificate has been deleted: register it again, or set the \
                 certificate to ACTIVE by hand"
            );
            (Cause::new(ReasonCode::CaDeleted, message), id)
        })?;
        may_register(&ca, now).map_err(|cause| (cause, id))?;
        Ok(Issuer::Found { ca, is_new: false })
    }

    /// Nobody else's certificate in disguise.
    async fn twin(&self, tx: &mut Tx, ca: &RegisteredCa) -> Result<(), Cause> {
        let key = ca.certificate.key_algorithm();
        let Some(twin) = certificates::twin(tx, self.leaf, Some(key)).await? else { return Ok(()) };
        let message = format!(
            "the certificate is {twin} with another value of its signature: someone has altered it, and the status of \
             {twin} is what counts"
        );
        Err(Cause::new(ReasonCode::CertificateAltered, message))
    }

    fn server_name(&self, ca: &RegisteredCa) -> Result<(), Cause> {
        if ca.record.mode == CertificateMode::SniOnly && !self.visit.has_server_name() {
            return Err(Cause::sni_missing("the issuing CA is registered in mode SNI_ONLY"));
        }
        Ok(())
    }

    /// The CA's runs per second, and how many certificates it may register in all.
    async fn budget(&mut self, tx: &mut Tx, ca: &RegisteredCa, is_new: bool) -> Result<(), Cause> {
        let id = ca.record.certificate_id;
        if let (Some(total), true) = (ca.record.total_runs, is_new) {
            let used = budget::used(tx, id).await?;
            if used >= total {
                let message = format!(
                    "the CA {id} has registered the {total} certificates of its budget: raise it with `jitp ca budget` if \
                     these devices are yours"
                );
                return Err(Cause::new(ReasonCode::CaBudgetExhausted, message));
            }
        }
        let rate = ca.record.runs_per_second.unwrap_or(tx.options().runs_per_ca_per_second);
        if !self.charged && !self.inner.ca_rates.take(&id, rate, tx.now()) {
            let message = format!(
                "the CA {id} may provision {rate} devices per second and more have come: they succeed when they retry"
            );
            return Err(Cause::new(ReasonCode::CaRateExceeded, message));
        }
        self.charged = true;
        Ok(())
    }

    /// JITR: the certificate is registered, and an operator's consumer hears of it.
    async fn register(&self, mut tx: Tx, ca: &RegisteredCa, is_new: bool) -> Result<Done, Halt> {
        let id = ca.record.certificate_id;
        let cause = if is_new {
            let message = "the certificate is registered and waits for activation: attach its policies, then set it \
                           to ACTIVE";
            Cause::new(ReasonCode::RegisteredPendingActivation, message)
        } else {
            let message = "the certificate waits for activation and its CA has no template: set it to ACTIVE, or give \
                           the CA a template";
            Cause::new(ReasonCode::CertificatePendingActivation, message)
        };
        self.insert(&mut tx, ca, is_new).await?;
        let attempt = self.visit.refused(&cause, Some(id), tx.now());
        self.commit(tx, &attempt).await?;
        Err(Halt::from(Arc::new(Stop { cause, ca: Some(id), logged: true })))
    }

    /// JITP: the template runs, all or nothing.
    async fn provision(
        &self,
        mut tx: Tx,
        ca: &RegisteredCa,
        is_new: bool,
        config: &RegistrationConfig,
    ) -> Result<Done, Halt> {
        let id = ca.record.certificate_id;
        let mut found = Found::default();
        let certificate = match self.carry_out(&mut tx, ca, is_new, config, &mut found).await {
            Ok(certificate) => certificate,
            Err(cause) => return Err(self.failed(ca, cause, found).await),
        };
        let thing = found.thing_name.as_ref().map_or_else(String::new, |name| format!(" as thing {name}"));
        let message =
            format!("the device was provisioned{thing} by the template of its CA; nothing is left to do");
        let attempt = found.complete(self.visit.provisioned(message, id, tx.now()));
        let exclusive_thing = principals::exclusive_thing(&mut tx, certificate.certificate_id).await?;
        let (as_of, memory) = self.commit(tx, &attempt).await?;
        let principal = Principal {
            certificate: self.leaf.clone(),
            ca_certificate_id: certificate.ca_certificate_id,
            provisioned_now: true,
            exclusive_thing,
            as_of,
            claim: None,
            seen: Seen::of(memory),
        };
        let attempt = Some(Box::new(attempt));
        if certificate.status == CertificateStatus::Active {
            return Ok(Done { principal, attempt });
        }
        let message = "the device was provisioned, and its template set the certificate to INACTIVE: set it to ACTIVE \
                       when the device may connect";
        let cause = Cause::new(ReasonCode::CertificateInactive, message);
        Err(Halt::Stop { stop: Arc::new(Stop { cause, ca: Some(id), logged: true }), attempt })
    }

    async fn carry_out(
        &self,
        tx: &mut Tx,
        ca: &RegisteredCa,
        is_new: bool,
        config: &RegistrationConfig,
        found: &mut Found,
    ) -> Result<CertificateRecord, Cause> {
        let source = self.inner.templates.source(tx, ca, config).await;
        (found.template_name, found.template_version) = (source.name, source.version);
        let template = self.inner.templates.jitp(tx.options(), &source.body?)?;
        let values = parameters::bind(self.leaf, tx.options().jitp_serial_fallback);
        found.parameters = parameters::declared(&template, &values);
        let plan = template.evaluate(&values)?;
        found.thing_name = plan.thing.as_ref().map(|thing| thing.name.clone());
        let pending = self.insert(tx, ca, is_new).await?;
        apply(tx, &plan, pending).await
    }

    /// The run failed: nothing of it remains but the certificate, pending, and the attempt.
    async fn failed(&self, ca: &RegisteredCa, cause: Cause, found: Found) -> Halt {
        let id = ca.record.certificate_id;
        let attempt = found.complete(self.visit.refused(&cause, Some(id), self.inner.registry.clock().now()));
        // What the store cannot do it cannot do now either.
        let logged = !cause.reason.is_server_error();
        if logged && let Err(halt) = self.leave_pending(ca, &cause, &attempt).await {
            return halt;
        }
        let rate = self.inner.registry.options().runs_per_certificate_per_second;
        self.inner.failing.take(&self.leaf.id(), rate, attempt.timestamp);
        let stop = Arc::new(Stop { cause, ca: Some(id), logged });
        Halt::Stop { stop, attempt: Some(Box::new(attempt)) }
    }

    async fn leave_pending(&self, ca: &RegisteredCa, cause: &Cause, attempt: &Attempt) -> Result<(), Halt> {
        let mut tx = self.inner.registry.begin();
        let last_error = Some(format!("{}: {}", cause.reason, cause.message));
        let known = tx.get::<CertificateRecord>(&self.leaf.id()).await?;
        if known.is_none() && self.twin(&mut tx, ca).await.is_err() {
            return Err(Halt::Again);
        }
        let pending = self.insert(&mut tx, ca, known.is_none()).await?;
        if pending.status != CertificateStatus::PendingActivation {
            // Somebody has decided about it meanwhile: look again.
            return Err(Halt::Again);
        }
        certificates::change_last_error(&mut tx, pending, last_error)?;
        self.commit(tx, attempt).await?;
        Ok(())
    }

    /// The certificate as PENDING_ACTIVATION, with its registration event; a new one is counted against the CA's total.
    async fn insert(
        &self,
        tx: &mut Tx,
        ca: &RegisteredCa,
        is_new: bool,
    ) -> Result<CertificateRecord, RegistryError> {
        if is_new && ca.record.total_runs.is_some() {
            budget::count(tx, ca.record.certificate_id).await?;
        }
        certificates::insert_pending(tx, self.leaf, &ca.record).await
    }

    /// Commits with the attempt in the same commit.
    async fn commit(&self, mut tx: Tx, attempt: &Attempt) -> Result<(Revision, Memory), Halt> {
        let _ticket = self.inner.attempts.enter(&mut tx, attempt.clone())?;
        Ok(tx.commit_and_remember().await?)
    }
}

/// What has been found out about who stands behind a certificate.
enum Issuer {
    /// The certificate is ACTIVE already: another run was faster.
    NotNeeded(Principal),
    /// `is_new`: the certificate is not in the registry yet.
    Found { ca: RegisteredCa, is_new: bool },
}

impl Found {
    fn complete(self, attempt: Attempt) -> Attempt {
        Attempt {
            template_name: self.template_name,
            template_version: self.template_version,
            parameters: self.parameters,
            thing_name: self.thing_name,
            ..attempt
        }
    }
}

fn stop(cause: Cause, ca: Option<CertificateId>) -> Arc<Stop> {
    Arc::new(Stop { cause, ca, logged: false })
}

impl From<Arc<Stop>> for Halt {
    fn from(stop: Arc<Stop>) -> Self {
        Self::Stop { stop, attempt: None }
    }
}
impl From<(Cause, CertificateId)> for Halt {
    fn from((cause, ca): (Cause, CertificateId)) -> Self {
        Self::from(stop(cause, Some(ca)))
    }
}
impl From<Cause> for Halt {
    fn from(cause: Cause) -> Self {
        Self::from(stop(cause, None))
    }
}
impl From<RegistryError> for Halt {
    fn from(error: RegistryError) -> Self {
        Self::from(Cause::from(error))
    }
}
impl From<StoreError> for Halt {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict => Self::Again,
            error => Self::from(RegistryError::from(error)),
        }
    }
}
