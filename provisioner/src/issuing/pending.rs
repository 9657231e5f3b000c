//! Certificates that a device has asked for with its claim: pending until RegisterThing decides, deleted if it never does
//! (`spec/fleet-provisioning.md` section 4).
use super::expiring::{self, Expiring};
use super::ownership_token::{self, Ownership, OwnershipToken, OwnershipTokenError};
use super::{IssuingError, Requester, read_request};
use crate::clock::Timestamp;
use crate::error::RegistryError;
use crate::names::CertificateId;
use crate::provisioner::Provisioner;
use crate::records::CertificateStatus;
use crate::registry::certificate_providers;
use crate::registry::certificates::insert_issued;
use crate::transact::transact;
use crate::tx::Tx;
use jitp_certs::Certificate;
use zeroize::Zeroizing;

/// A certificate that waits for RegisterThing, and what shows to whom it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct PendingCertificate {
    pub certificate_id: CertificateId,
    pub certificate_pem: String,
    /// At most 400 characters of `[A-Za-z0-9_.-]`.
    pub ownership_token: OwnershipToken,
}

/// The same with its key, of which this is the only copy.
pub struct PendingKeysAndCertificate {
    /// The certificate.
    pub certificate: PendingCertificate,
    /// PKCS#1 (`RSA PRIVATE KEY`) of RSA keys, PKCS#8 of others.
    pub private_key_pem: Zeroizing<String>,
}

impl std::fmt::Debug for PendingKeysAndCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PendingKeysAndCertificate")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

impl Provisioner {
    /// CreateKeysAndCertificate by a device that is connected with the certificate `claim`. The certificate is committed as
    /// PENDING_ACTIVATION when this returns, and is deleted when the token ends, if it is still that and nothing is attached.
    ///
    /// # Errors
    /// As [`Self::create_keys_and_certificate`].
    pub async fn create_pending_keys_and_certificate(
        &self,
        claim: CertificateId,
        client_id: &str,
        now: Timestamp,
    ) -> Result<PendingKeysAndCertificate, IssuingError> {
        let issuing = &self.inner.issuing;
        let keys = issuing.keys().take().await?;
        let requester = Requester { principal: Some(claim), client_id: Some(client_id) };
        let issued = issuing.issue(keys.request.clone(), requester, now).await?;
        let certificate = self.register_pending(&issued, claim, now).await?;
        Ok(PendingKeysAndCertificate { certificate, private_key_pem: keys.private_key.to_traditional_pem() })
    }

    /// CreateCertificateFromCsr by a device, in the same way; signed by the certificate provider if there is one.
    ///
    /// # Errors
    /// As [`Self::create_certificate_from_csr`].
    pub async fn create_pending_certificate_from_csr(
        &self,
        csr: &str,
        claim: CertificateId,
        client_id: &str,
        now: Timestamp,
    ) -> Result<PendingCertificate, IssuingError> {
        let request = read_request(csr)?;
        let requester = Requester { principal: Some(claim), client_id: Some(client_id) };
        let provider = certificate_providers::current(&mut self.registry().begin()).await?;
        let issuing = &self.inner.issuing;
        let issued = match provider {
            Some(provider) => issuing.issue_by_provider(&provider, request, requester, now).await?,
            None => issuing.issue(request, requester, now).await?,
        };
        Ok(self.register_pending(&issued, claim, now).await?)
    }

    /// Was this token given out here, and is it still valid? Says for which certificate, to whom and until when. The
    /// certificate itself may have been changed or deleted since.
    ///
    /// # Errors
    /// What is wrong with it; `Registry` if the registry cannot be read.
    pub async fn check_ownership_token(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Result<Ownership, OwnershipTokenError> {
        let secret = transact!(self.registry(), |tx| ownership_token::secret(tx))?;
        OwnershipToken::from(token).open(&secret, self.registry().account(), now)
    }

    async fn register_pending(
        &self,
        issued: &Certificate,
        claim: CertificateId,
        now: Timestamp,
    ) -> Result<PendingCertificate, RegistryError> {
        let lifetime = self.options().issuing.token_lifetime;
        let expires_at = Timestamp(now.0.saturating_add(expiring::millis(lifetime)));
        let secret = transact!(self.registry(), |tx| register(tx, issued, expires_at))?;
        let ownership = Ownership { certificate_id: issued.id(), claim_certificate_id: claim, expires_at };
        Ok(PendingCertificate {
            certificate_id: issued.id(),
            certificate_pem: issued.to_pem(),
            ownership_token: OwnershipToken::seal(&ownership, &secret, self.registry().account()),
        })
    }
}

/// The certificate, when it is to be deleted, and the secret for its token.
async fn register(
    tx: &mut Tx,
    issued: &Certificate,
    expires_at: Timestamp,
) -> Result<Zeroizing<Vec<u8>>, RegistryError> {
    insert_issued(tx, issued, CertificateStatus::PendingActivation).await?;
    expiring::enter(tx, expires_at, issued.id(), Expiring::Pending);
    ownership_token::secret(tx).await
}
