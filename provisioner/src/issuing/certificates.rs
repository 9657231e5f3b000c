//! CreateKeysAndCertificate and CreateCertificateFromCsr (`spec/control-plane.md` section 3).
use super::{DeviceKeys, Issuing, IssuingError, Requester, read_request};
use crate::clock::Timestamp;
use crate::provisioner::Provisioner;
use crate::records::{CertificateRecord, CertificateStatus};
use crate::registry::certificates::insert_issued;
use crate::transact::transact;
use jitp_certs::Certificate;

/// A new certificate, and the only copy of its key.
#[derive(Debug)]
pub struct IssuedKeysAndCertificate {
    /// The certificate, as it is registered.
    pub certificate: CertificateRecord,
    /// Its keys.
    pub keys: DeviceKeys,
}

impl Issuing {
    /// Signs a certificate signing request for an operator's template; it is not registered yet.
    pub(crate) async fn sign(&self, csr: &str, now: Timestamp) -> Result<Certificate, IssuingError> {
        self.issue(read_request(csr)?, Requester::default(), now).await
    }
}

impl Provisioner {
    /// CreateKeysAndCertificate by an operator: ACTIVE or INACTIVE, in mode DEFAULT, without a CA.
    ///
    /// # Errors
    /// `Issuer` if no certificate could be had, `Registry` if it could not be registered.
    pub async fn create_keys_and_certificate(
        &self,
        set_as_active: bool,
    ) -> Result<IssuedKeysAndCertificate, IssuingError> {
        let issuing = &self.inner.issuing;
        let keys = issuing.keys().take().await?;
        let now = self.clock().now();
        let issued = issuing.issue(keys.request.clone(), Requester::default(), now).await?;
        let status = status(set_as_active);
        let certificate = transact!(self.registry(), |tx| insert_issued(tx, &issued, status))?;
        Ok(IssuedKeysAndCertificate { certificate, keys })
    }

    /// CreateCertificateFromCsr by an operator: the certificate has the key and the subject of the certificate signing request
    /// (PKCS#10, PEM, at most 4,096 characters). Each call makes another one.
    ///
    /// # Errors
    /// `Request` if the request is not acceptable; else as [`Self::create_keys_and_certificate`].
    pub async fn create_certificate_from_csr(
        &self,
        csr: &str,
        set_as_active: bool,
    ) -> Result<CertificateRecord, IssuingError> {
        let (request, now) = (read_request(csr)?, self.clock().now());
        let issued = self.inner.issuing.issue(request, Requester::default(), now).await?;
        let status = status(set_as_active);
        Ok(transact!(self.registry(), |tx| insert_issued(tx, &issued, status))?)
    }
}

fn status(active: bool) -> CertificateStatus {
    if active { CertificateStatus::Active } else { CertificateStatus::Inactive }
}
