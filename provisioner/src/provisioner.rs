//! The handle that broker, api and cli share.
use crate::admission::{Admission, Presentation, Principal};
use crate::attempt::{Attempt, AttemptFilter};
use crate::change::ChangeFeed;
use crate::clock::Clock;
use crate::error::RegistryError;
use crate::permissions::{ConnectContext, Granted};
use crate::reason::ReasonCode;
use crate::registry::Registry;
use crate::simulate::Simulation;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How the registry and admissions behave. `Default` is the documented default of each.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Options {
    /// 12 digits; fixed at first start: opening with another value fails with a clear error.
    pub account: String,
    /// Fixed at first start.
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
            thing_type_delete_delay: Duration::from_secs(300),
            min_free_disk: 64 * 1024 * 1024,
            cache_bytes: 64 * 1024 * 1024,
            override_default_fail: false,
            functions_in_fleet_only: false,
            thing_vars_require_attachment: true,
            jitp_serial_fallback: false,
            require_sni: false,
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
    _inner: Arc<()>,
}

impl Provisioner {
    /// Opens, or creates, the registry in a directory (`<dir>/registry`). Fails clearly when another process has it
    /// open, when its format is newer, or when account or region differ from those of the first start.
    pub async fn open(_dir: &Path, _options: Options, _clock: Arc<dyn Clock>) -> Result<Self, RegistryError> {
        unimplemented!()
    }
    /// The registry: every operation of the control plane.
    pub fn registry(&self) -> &Registry {
        unimplemented!()
    }
    /// The options in force.
    pub fn options(&self) -> &Options {
        unimplemented!()
    }
    /// The clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        unimplemented!()
    }
    /// What happened, in order.
    pub fn changes(&self) -> &ChangeFeed {
        unimplemented!()
    }
    /// Decides whether a connection is let in, provisioning it if need be. Durable when it says so.
    pub async fn admit(&self, _presentation: &Presentation<'_>) -> Admission {
        unimplemented!()
    }
    /// The policies that apply to a connection of this principal, compiled.
    pub async fn permissions(
        &self,
        _principal: &Principal,
        _connect: &ConnectContext,
    ) -> Result<Granted, RegistryError> {
        unimplemented!()
    }
    /// Is this principal still allowed to be connected? `None`: yes. For live sessions after a change.
    pub async fn recheck(&self, _principal: &Principal) -> Result<Option<ReasonCode>, RegistryError> {
        unimplemented!()
    }
    /// Records a refusal that was decided elsewhere (TLS, authorization). Sequence, time are set here. Does not wait
    /// for the disk; never blocks; what does not fit a bounded queue is counted and dropped.
    pub fn record_refusal(&self, _attempt: Attempt) {
        unimplemented!()
    }
    /// Attempts, newest first, older than the cursor `before` (a sequence) if given.
    pub async fn attempts(
        &self,
        _filter: &AttemptFilter,
        _before: Option<u64>,
        _limit: usize,
    ) -> Result<Vec<Attempt>, RegistryError> {
        unimplemented!()
    }
    /// Attempts after a sequence, oldest first: for tails.
    pub async fn attempts_after(
        &self,
        _filter: &AttemptFilter,
        _after: u64,
        _limit: usize,
    ) -> Result<Vec<Attempt>, RegistryError> {
        unimplemented!()
    }
    /// Dry run of a JITP template body over a leaf certificate (PEM).
    pub async fn simulate(
        &self,
        _template_body: &str,
        _certificate_pem: &str,
    ) -> Result<Simulation, RegistryError> {
        unimplemented!()
    }
    /// Can it be written?
    pub fn health(&self) -> Health {
        unimplemented!()
    }
    /// Flushes and closes: waits for commits under way. Later calls fail with `Unavailable`.
    pub async fn close(&self) -> Result<(), RegistryError> {
        unimplemented!()
    }
}
