//! Issuing certificates: under the broker's own CA, or by an issuer of the operator's (`spec/jitp.md` section 8,
//! `spec/fleet-provisioning.md` sections 4 and 6).
//!
//! A certificate is handed out only after it has been committed. Private keys are handed out once, and neither stored nor
//! logged.
mod authority;
mod certificates;
pub(crate) mod claim;
pub(crate) mod expiring;
mod issuer;
mod key_pool;
mod options;
mod ownership_token;
mod pending;
pub(crate) mod program;

pub use certificates::IssuedKeysAndCertificate;
pub use claim::{IssuedClaim, ProvisioningClaim};
pub use issuer::{Issuer, NotIssued, Order};
pub use key_pool::DeviceKeys;
pub use options::{IssuingCa, IssuingOptions};
pub use ownership_token::{Ownership, OwnershipToken, OwnershipTokenError};
pub use pending::{PendingCertificate, PendingKeysAndCertificate};

use crate::callback::Callbacks;
use crate::clock::Timestamp;
use crate::error::RegistryError;
use crate::provisioner::Options;
use crate::records::CertificateProviderRecord;
use arc_swap::ArcSwap;
use issuer::OwnCa;
use jitp_certs::{Certificate, CertificateRequest, Validity};
use key_pool::KeyPool;
use program::Program;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Why a certificate was not issued. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IssuingError {
    /// The certificate signing request is not acceptable; the text says why, and is for the device's maker.
    #[error("{0}")]
    Request(String),
    /// The operator's issuer or certificate provider failed, took too long, or gave something else than was asked for; the
    /// text is for the operator.
    #[error("{0}")]
    Issuer(String),
    /// The operator's issuer or certificate provider has as much to do as it can: the device may try again.
    #[error("{0}")]
    Busy(String),
    /// The registry said no.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl From<NotIssued> for IssuingError {
    fn from(not_issued: NotIssued) -> Self {
        match not_issued {
            NotIssued::Busy(why) => Self::Busy(why),
            NotIssued::Failed(why) => Self::Issuer(why),
        }
    }
}

/// The longest PEM of a certificate that is issued, in bytes: common devices keep it in 2,048
/// (`spec/fleet-provisioning.md` section 3).
const LONGEST_PEM: usize = 2_000;
/// An issuer has this long.
const ISSUER_DEADLINE: Duration = Duration::from_secs(5);
/// Issued certificates are valid from a little before, so that a clock that runs behind takes them.
const BEFORE_NOW: i64 = 5 * 60;
/// 2049-12-31T23:59:59Z, where AWS's certificates end.
const END_OF_2049: i64 = 2_524_607_999;

/// What issues.
pub(crate) struct Issuing {
    options: IssuingOptions,
    own: Arc<OwnCa>,
    issuer: ArcSwap<Box<dyn Issuer>>,
    keys: KeyPool,
    callbacks: Callbacks,
}

impl Issuing {
    /// With the operator's CA, or that of the directory, which is made if there is none.
    pub(crate) fn open(directory: &Path, options: &Options, now: Timestamp) -> Result<Self, RegistryError> {
        let (callbacks, options) = (&options.callbacks, &options.issuing);
        let authority = authority::open(directory, options.ca.as_ref(), now.unix_seconds())?;
        let own = Arc::new(OwnCa::new(authority, options.usage.clone()));
        let issuer: Box<dyn Issuer> = match &options.issuer {
            Some(arn) => Box::new(Program::known(callbacks, arn)?),
            None => Box::new(Arc::clone(&own)),
        };
        Ok(Self {
            keys: KeyPool::new(options),
            issuer: ArcSwap::from_pointee(issuer),
            callbacks: callbacks.clone(),
            own,
            options: options.clone(),
        })
    }
    /// The certificate of the CA that issues here.
    pub(crate) fn ca(&self) -> &Certificate {
        self.own.certificate()
    }
    /// Does it name the CA that issues here? Claims do.
    pub(crate) fn may_have_issued(&self, certificate: &Certificate) -> bool {
        certificate.issuer() == self.ca().subject()
    }
    /// Has another issuer issue from now on; claims stay with the CA.
    pub(crate) fn replace_issuer(&self, issuer: Box<dyn Issuer>) {
        self.issuer.store(Arc::new(issuer));
    }
    pub(crate) fn keys(&self) -> &KeyPool {
        &self.keys
    }

    /// A certificate as the profile has it.
    pub(crate) async fn issue(
        &self,
        request: CertificateRequest,
        requester: Requester<'_>,
        now: Timestamp,
    ) -> Result<Certificate, IssuingError> {
        let issuer = self.issuer.load_full();
        ordered(issuer.as_ref().as_ref(), &self.order(request, requester, now)).await
    }
    /// The same, signed by the certificate provider.
    async fn issue_by_provider(
        &self,
        provider: &CertificateProviderRecord,
        request: CertificateRequest,
        requester: Requester<'_>,
        now: Timestamp,
    ) -> Result<Certificate, IssuingError> {
        let program = Program { callbacks: self.callbacks.clone(), arn: provider.function_arn.clone() };
        ordered(&program, &self.order(request, requester, now)).await
    }
    fn order(&self, request: CertificateRequest, requester: Requester<'_>, now: Timestamp) -> Order {
        let not_before = now.unix_seconds() - BEFORE_NOW;
        let not_after = match self.options.lifetime {
            Some(lifetime) => {
                now.unix_seconds().saturating_add(i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX))
            }
            None => END_OF_2049,
        };
        Order {
            request,
            validity: Validity { not_before, not_after },
            principal: requester.principal,
            client_id: requester.client_id.map(str::to_owned),
        }
    }
    /// A certificate by the CA itself that ends at a given time.
    async fn issue_own(
        &self,
        request: CertificateRequest,
        now: Timestamp,
        not_after: i64,
    ) -> Result<Certificate, IssuingError> {
        let validity = Validity { not_before: now.unix_seconds() - BEFORE_NOW, not_after };
        ordered(&self.own, &Order { request, validity, principal: None, client_id: None }).await
    }
}

/// Who asks for a certificate: nobody but an operator, or a device.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Requester<'a> {
    pub(crate) principal: Option<jitp_certs::CertificateId>,
    pub(crate) client_id: Option<&'a str>,
}

/// Reads a certificate signing request; what is wrong with it is for its maker.
pub(crate) fn read_request(csr: &str) -> Result<CertificateRequest, IssuingError> {
    CertificateRequest::from_pem(csr).map_err(|error| IssuingError::Request(error.to_string()))
}

/// What was ordered, or an error: an issuer may give anything.
async fn ordered(issuer: &dyn Issuer, order: &Order) -> Result<Certificate, IssuingError> {
    let issued = tokio::time::timeout(ISSUER_DEADLINE, issuer.issue(order)).await.unwrap_or_else(|_| {
        let seconds = ISSUER_DEADLINE.as_secs();
        Err(NotIssued::Failed(format!("the issuer gave no answer within {seconds} seconds")))
    });
    let certificate = issued?;
    order.check(&certificate)?;
    let length = certificate.to_pem().len();
    if length > LONGEST_PEM {
        return Err(IssuingError::Request(format!(
            "the certificate would be {length} bytes of PEM, and devices keep {LONGEST_PEM}: ask for a shorter subject \
             or a smaller key"
        )));
    }
    Ok(certificate)
}
