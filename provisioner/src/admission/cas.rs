//! Registered CAs, found by subject or id. Their certificates are parsed once.
use crate::admission::issuer::RegisteredCa;
use crate::cache::Cache;
use crate::error::RegistryError;
use crate::names::CertificateId;
use crate::records::CaCertificateRecord;
use crate::registry::ca_certificates;
use crate::tx::Tx;
use jitp_certs::{Certificate, DistinguishedName};

/// Most parsed CA certificates kept.
const KEPT: usize = 4096;

/// Parsed CA certificates by id. An id is the hash of the certificate, so nothing here can be stale: which CAs are
/// registered, and what they may do, is read from the registry each time.
pub(crate) struct RegisteredCas {
    parsed: Cache<CertificateId, Certificate>,
}

impl RegisteredCas {
    pub(crate) fn new() -> Self {
        Self { parsed: Cache::new(KEPT) }
    }
    /// The registered CAs with this subject, at most as many as the registry allows for one subject.
    pub(crate) async fn with_subject(
        &self,
        tx: &mut Tx,
        subject: &DistinguishedName,
    ) -> Result<Vec<RegisteredCa>, RegistryError> {
        let records = ca_certificates::with_subject(tx, subject.der()).await?;
        records.into_iter().map(|record| self.with_certificate(record)).collect()
    }
    /// The registered CA with this id.
    pub(crate) async fn by_id(
        &self,
        tx: &mut Tx,
        id: CertificateId,
    ) -> Result<Option<RegisteredCa>, RegistryError> {
        tx.get(&id).await?.map(|record| self.with_certificate(record)).transpose()
    }

    fn with_certificate(&self, record: CaCertificateRecord) -> Result<RegisteredCa, RegistryError> {
        let id = record.certificate_id;
        if let Some(certificate) = self.parsed.get(&id) {
            return Ok(RegisteredCa { record, certificate });
        }
        let certificate = Certificate::from_pem(&record.pem).map_err(|error| {
            RegistryError::Internal(format!("the stored CA certificate {id} cannot be read: {error}"))
        })?;
        self.parsed.put(id, certificate.clone());
        Ok(RegisteredCa { record, certificate })
    }
}
