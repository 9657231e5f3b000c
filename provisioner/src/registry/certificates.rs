//! Device certificates (`spec/jitp.md` sections 4 and 9, `spec/control-plane.md` section 3).
use super::ca_certificates::id_in_key;
use super::page::{Page, PageRequest, page, record_page};
use super::{Registry, Result, policy_attachments};
use crate::change::Change;
use crate::error::RegistryError;
use crate::names::CertificateId;
use crate::records::{CaCertificateRecord, CertificateRecord, CertificateStatus, PolicyTarget};
use crate::store::{Key, Table};
use crate::transact::transact;
use crate::tx::Tx;
use jitp_certs::Certificate;

/// Auto-registration: inserts the certificate as PENDING_ACTIVATION, or finds it there already, and reports the
/// registration event while it is pending (`spec/jitp.md` section 5).
pub(crate) async fn insert_pending(
    tx: &mut Tx,
    certificate: &Certificate,
    ca: &CaCertificateRecord,
) -> Result<CertificateRecord> {
    let id = certificate.id();
    let record = match tx.get::<CertificateRecord>(&id).await? {
        Some(known) => known,
        None => {
            let record = CertificateRecord {
                certificate_id: id,
                pem: certificate.to_pem(),
                status: CertificateStatus::PendingActivation,
                mode: ca.mode,
                ca_certificate_id: Some(ca.certificate_id),
                created_at: tx.now(),
                modified_at: tx.now(),
                version: 1,
                generation_id: uuid::Uuid::new_v4().to_string(),
                last_error: None,
            };
            tx.put(&record)?;
            tx.put_row(Table::CertificatesByCa, by_ca_key(ca.certificate_id, id), Vec::new());
            tx.record(Change::Certificate { certificate_id: id, from: None, to: Some(record.status) });
            record
        }
    };
    if let (CertificateStatus::PendingActivation, Some(ca)) = (record.status, record.ca_certificate_id) {
        tx.record(Change::CertificateRegistered {
            certificate_id: id,
            ca_certificate_id: ca,
            status: record.status,
            registered_at: record.created_at,
        });
    }
    Ok(record)
}

/// Sets the status, as an operator or a template may (`spec/jitp.md` section 9). The same status again is no change.
pub(crate) async fn set_status(
    tx: &mut Tx,
    id: CertificateId,
    status: CertificateStatus,
) -> Result<CertificateRecord> {
    use CertificateStatus::{Active, Inactive, PendingActivation, PendingTransfer, Revoked};
    if matches!(status, PendingActivation | PendingTransfer) {
        return Err(RegistryError::InvalidRequest(
            "a certificate cannot be set to PENDING_ACTIVATION or PENDING_TRANSFER: use ACTIVE, INACTIVE or REVOKED"
                .into(),
        ));
    }
    let mut record: CertificateRecord = tx.require(&id).await?;
    match record.status {
        same if same == status => return Ok(record),
        Revoked => {
            return Err(RegistryError::CertificateState(format!(
                "certificate {id} is REVOKED, which is for ever: give the device a new certificate"
            )));
        }
        PendingTransfer => {
            return Err(RegistryError::CertificateState(format!(
                "certificate {id} is PENDING_TRANSFER: accept, reject or cancel the transfer first"
            )));
        }
        Active | Inactive | PendingActivation => {}
    }
    tx.record(Change::Certificate { certificate_id: id, from: Some(record.status), to: Some(status) });
    record.status = status;
    record.version += 1;
    record.modified_at = tx.now();
    if status == Active {
        record.last_error = None;
    }
    tx.put(&record)?;
    Ok(record)
}

/// Notes why the last provisioning run failed, for the operator who looks at the certificate.
pub(crate) async fn set_last_error(tx: &mut Tx, id: CertificateId, error: Option<String>) -> Result<()> {
    let mut record: CertificateRecord = tx.require(&id).await?;
    if record.last_error != error {
        record.last_error = error;
        tx.put(&record)?;
    }
    Ok(())
}

/// Deletes a certificate that is not ACTIVE and has no thing; its policies only with `force`, which detaches them.
pub(crate) async fn delete(tx: &mut Tx, id: CertificateId, force: bool) -> Result<()> {
    let record: CertificateRecord = tx.require(&id).await?;
    if record.status == CertificateStatus::Active {
        return Err(RegistryError::CertificateState(format!(
            "certificate {id} is ACTIVE: set it to INACTIVE or REVOKED before deleting it"
        )));
    }
    if !tx.is_empty(Table::ThingsOfPrincipal, id.as_bytes()).await? {
        return Err(RegistryError::DeleteConflict(format!(
            "certificate {id} is attached to a thing: detach it before deleting it"
        )));
    }
    let target = PolicyTarget::Certificate(id);
    let policies = policy_attachments::policies_of(tx, &target).await?;
    if !policies.is_empty() && !force {
        return Err(RegistryError::DeleteConflict(format!(
            "{} policies are attached to certificate {id}: detach them, or delete with forceDelete=true",
            policies.len()
        )));
    }
    if record.status == CertificateStatus::PendingTransfer {
        return Err(RegistryError::CertificateState(format!(
            "certificate {id} is PENDING_TRANSFER: cancel the transfer before deleting it"
        )));
    }
    for policy in policies {
        policy_attachments::detach(tx, &policy, &target).await?;
    }
    tx.delete::<CertificateRecord>(&id);
    if let Some(ca) = record.ca_certificate_id {
        tx.delete_row(Table::CertificatesByCa, by_ca_key(ca, id));
    }
    tx.record(Change::Certificate { certificate_id: id, from: Some(record.status), to: None });
    Ok(())
}

fn by_ca_key(ca: CertificateId, id: CertificateId) -> Key {
    [*ca.as_bytes(), *id.as_bytes()].concat()
}

impl Registry {
    /// DescribeCertificate.
    pub async fn certificate(&self, id: CertificateId) -> Result<CertificateRecord> {
        self.begin().require(&id).await
    }
    /// UpdateCertificate.
    pub async fn update_certificate(&self, id: CertificateId, status: CertificateStatus) -> Result<()> {
        transact!(self, |tx| set_status(tx, id, status)).map(|_| ())
    }
    /// DeleteCertificate.
    pub async fn delete_certificate(&self, id: CertificateId, force: bool) -> Result<()> {
        transact!(self, |tx| delete(tx, id, force))
    }
    /// ListCertificates, or ListCertificatesByCA; by id. A CA that is not registered (any more) is no error.
    pub async fn list_certificates(
        &self,
        ca: Option<CertificateId>,
        request: &PageRequest,
    ) -> Result<Page<CertificateRecord>> {
        let Some(ca) = ca else { return record_page(self.store(), request).await };
        let table = Table::CertificatesByCa;
        let ids = page(self.store(), table, ca.as_bytes(), request, |key, _| id_in_key(table, key).map(Some))
            .await?;
        self.records_of(ids).await
    }
}
