//! Who signs what is issued.
use async_trait::async_trait;
use jitp_certs::{Authority, Certificate, CertificateId, CertificateRequest, LeafUsage, Validity};
use std::sync::Arc;

/// Signs certificates. The broker's own CA is one; an operator's, behind whatever way, can be another.
#[async_trait]
pub trait Issuer: Send + Sync {
    /// A certificate with the key and the subject of the order. It is compared with the order, and given 5 seconds.
    ///
    /// # Errors
    /// Why there is none.
    async fn issue(&self, order: &Order) -> Result<Certificate, NotIssued>;
}

/// Why an issuer has issued nothing; for the operator: what failed, where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotIssued {
    /// It has as much to do as it can: later it may.
    Busy(String),
    /// It could not be asked, or said no, or gave something else.
    Failed(String),
}

/// What is to be issued, and for whom.
#[derive(Debug, Clone)]
pub struct Order {
    /// The key and the subject. Where the key is made by the broker, the request is as well.
    pub request: CertificateRequest,
    /// From when until when it should be valid; an issuer of the operator's may decide otherwise.
    pub validity: Validity,
    /// The certificate of the device that asks (its claim); `None`: an operator asks.
    pub principal: Option<CertificateId>,
    /// The client id of the device that asks.
    pub client_id: Option<String>,
}

impl Order {
    /// Does this certificate carry what was ordered, and may devices use it here?
    pub(super) fn check(&self, certificate: &Certificate) -> Result<(), NotIssued> {
        self.request
            .check_answer(certificate)
            .and_then(|()| certificate.check_algorithms())
            .map_err(|error| NotIssued::Failed(format!("the issuer's certificate is refused: {error}")))
    }
}

/// The CA that the broker itself holds.
pub(super) struct OwnCa {
    authority: Authority,
    usage: LeafUsage,
}

impl OwnCa {
    pub(super) fn new(authority: Authority, usage: LeafUsage) -> Self {
        Self { authority, usage }
    }
    pub(super) fn certificate(&self) -> &Certificate {
        self.authority.certificate()
    }
}

#[async_trait]
impl Issuer for Arc<OwnCa> {
    async fn issue(&self, order: &Order) -> Result<Certificate, NotIssued> {
        // A signature of P-256 takes less than handing it to another thread would; RSA takes a millisecond.
        let issued = self.authority.issue_for_request(&order.request, order.validity, &self.usage);
        issued.map_err(|error| NotIssued::Failed(format!("the issuing CA could not sign: {error}")))
    }
}
