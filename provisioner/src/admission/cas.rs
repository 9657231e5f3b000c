//! Registered CAs, found by subject or id. Each is read and parsed once for every time that it is changed.
use crate::admission::issuer::RegisteredCa;
use crate::cache::Cache;
use crate::error::RegistryError;
use crate::names::CertificateId;
use crate::records::CaCertificateRecord;
use crate::registry::ca_certificates;
use crate::shared_records::SharedRecords;
use crate::tx::Tx;
use jitp_certs::{Certificate, DistinguishedName};
use std::sync::Arc;

/// Most CA certificates kept.
const KEPT: usize = 4096;

/// Registered CAs. Which are registered, and by which commit each was written last, is read from the registry each time.
pub(crate) struct RegisteredCas {
    records: SharedRecords<CaCertificateRecord>,
    /// An id is the hash of the certificate, so nothing here can be stale.
    parsed: Cache<CertificateId, Certificate>,
}

impl RegisteredCas {
    pub(crate) fn new() -> Self {
        Self { records: SharedRecords::new(KEPT), parsed: Cache::new(KEPT) }
    }
    /// The registered CAs with this subject, at most as many as the registry allows for one subject.
    pub(crate) async fn with_subject(
        &self,
        tx: &mut Tx,
        subject: &DistinguishedName,
    ) -> Result<Vec<RegisteredCa>, RegistryError> {
        let mut found = Vec::new();
        for id in ca_certificates::ids_with_subject(tx, subject.der()).await? {
            found.push(self.by_id(tx, id).await?.ok_or_else(|| ca_certificates::not_behind_index(id))?);
        }
        Ok(found)
    }
    /// The registered CA with this id.
    pub(crate) async fn by_id(
        &self,
        tx: &mut Tx,
        id: CertificateId,
    ) -> Result<Option<RegisteredCa>, RegistryError> {
        let record = tx.get_shared(&id, &self.records).await?;
        record.map(|record| self.with_certificate(record)).transpose()
    }

    fn with_certificate(&self, record: Arc<CaCertificateRecord>) -> Result<RegisteredCa, RegistryError> {
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
