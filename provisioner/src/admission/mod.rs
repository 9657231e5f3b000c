//! The way of a first connection: a peer certificate in, a principal or a refusal out (`spec/jitp.md` section 4).
mod admit;
pub(crate) mod apply;
pub(crate) mod budget;
pub(crate) mod cas;
pub(crate) mod cause;
pub(crate) mod flights;
pub(crate) mod issuer;
pub(crate) mod leaf;
pub(crate) mod overrides;
pub(crate) mod parameters;
pub(crate) mod report;
pub(crate) mod run;
mod seen;
pub(crate) mod standing;
pub(crate) mod templates;
pub(crate) mod visit;

pub use seen::Seen;

use crate::issuing::ProvisioningClaim;
use crate::names::{CertificateId, ThingName};
use crate::reason::ReasonCode;
use crate::store::Revision;
use jitp_certs::Certificate;
use std::net::SocketAddr;
use std::sync::Arc;

/// What a connection shows of itself once CONNECT has been read.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Presentation<'a> {
    /// DER, leaf first, as sent. Empty: the client offered no certificate.
    pub chain: &'a [&'a [u8]],
    /// The leaf, where it has been parsed already.
    pub leaf: Option<&'a Certificate>,
    pub client_id: &'a str,
    pub source: SocketAddr,
    /// SNI.
    pub server_name: Option<&'a str>,
    /// The `traceId` of the connection's log records.
    pub trace: &'a str,
}

/// The answer.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub enum Admission {
    Admitted(Principal),
    Refused(Refusal),
}

/// Who a connection is. Cheap to clone.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Principal {
    pub certificate: Certificate,
    /// The CA that it was provisioned by, or was registered with.
    pub ca_certificate_id: Option<CertificateId>,
    /// This very connection provisioned it (profile `aws` then closes without CONNACK).
    pub provisioned_now: bool,
    /// The thing it is exclusively attached to.
    pub exclusive_thing: Option<ThingName>,
    /// What let it in held at this commit; of a run it is the run's own. Who lives on must look at the changes after it.
    pub as_of: Revision,
    /// It is a provisioning claim: a certificate that only serves to get another one.
    pub claim: Option<Arc<ProvisioningClaim>>,
    /// What was read for it, so that its permissions need not read it again.
    pub seen: Seen,
}
impl Principal {
    /// The certificate id: `principalIdentifier` of events.
    pub fn id(&self) -> CertificateId {
        self.certificate.id()
    }
}

/// Why a connection is not let in.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Refusal {
    pub reason: ReasonCode,
    /// For the operator: log and attempt.
    pub message: String,
    /// The same certificate may succeed later without anyone doing anything (rate, timeout, unavailable).
    pub retry: bool,
}
