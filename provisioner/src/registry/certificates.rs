//! Device certificates (`spec/jitp.md` sections 4 and 9, `spec/control-plane.md` section 3).
use super::ca_certificates::{self, id_in_key};
use super::page::{Page, PageRequest, page, record_page};
use super::{Registry, Result, pending, policy_attachments};
use crate::arn::ResourceKind;
use crate::change::Change;
use crate::error::RegistryError;
use crate::names::CertificateId;
use crate::records::{
    CaCertificateRecord, CaStatus, CertificateMode, CertificateRecord, CertificateStatus, PolicyTarget,
};
use crate::store::{Key, Table};
use crate::stored::Stored;
use crate::transact::transact;
use crate::tx::Tx;
use jitp_certs::{Certificate, KeyAlgorithm, issued_by};

/// RegisterCertificate, and without `of_ca` RegisterCertificateWithoutCA.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct RegisterCertificate {
    pub certificate: String,
    /// The certificate must be signed by a registered CA.
    pub of_ca: bool,
    /// Which of several CAs with one subject.
    pub ca_certificate: Option<String>,
    /// ACTIVE, INACTIVE or REVOKED.
    pub status: CertificateStatus,
}

/// Registers a device certificate by hand.
pub(crate) async fn register(tx: &mut Tx, request: &RegisterCertificate) -> Result<CertificateRecord> {
    use CertificateStatus::{PendingActivation, PendingTransfer};
    if matches!(request.status, PendingActivation | PendingTransfer) {
        return Err(RegistryError::InvalidRequest(
            "a certificate is registered as ACTIVE, INACTIVE or REVOKED: give one of these".into(),
        ));
    }
    let invalid = |e| RegistryError::CertificateValidation(format!("the certificate cannot be used: {e}"));
    let certificate = Certificate::from_pem(&request.certificate).map_err(invalid)?;
    certificate.check_algorithms().map_err(invalid)?;
    let ca = if request.of_ca {
        Some(registered_issuer(tx, &certificate, request.ca_certificate.as_deref()).await?)
    } else {
        None
    };
    let id = certificate.id();
    if tx.exists::<CertificateRecord>(&id).await? {
        return Err(RegistryError::AlreadyExists {
            kind: CertificateRecord::KIND,
            id: id.to_string(),
            arn: tx.arn(ResourceKind::Certificate, &id.to_string()).to_string(),
            hint: ": it is registered or provisioned".into(),
        });
    }
    if let Some(twin) = twin(tx, &certificate, None).await? {
        return Err(RegistryError::CertificateConflict(format!(
            "certificate {id} is certificate {twin} with another value of its signature: use that one"
        )));
    }
    insert(tx, &certificate, Origin::from(ca.as_ref()), request.status).await
}

/// The one registered CA that signed a certificate and may register more.
async fn registered_issuer(
    tx: &mut Tx,
    certificate: &Certificate,
    chosen: Option<&str>,
) -> Result<CaCertificateRecord> {
    let mut candidates = ca_certificates::with_subject(tx, certificate.issuer().der()).await?;
    if let Some(pem) = chosen {
        let chosen = Certificate::from_pem(pem).map_err(|e| {
            RegistryError::CertificateValidation(format!("the CA certificate cannot be used: {e}"))
        })?;
        candidates.retain(|ca| ca.certificate_id == chosen.id());
    } else if candidates.len() > 1 {
        return Err(RegistryError::CertificateConflict(format!(
            "{} registered CA certificates have the subject \"{}\": send the one that signed as caCertificatePem",
            candidates.len(),
            certificate.issuer()
        )));
    }
    for candidate in candidates {
        let ca = Certificate::from_pem(&candidate.pem).map_err(|e| {
            RegistryError::Internal(format!(
                "the stored CA certificate {} cannot be read: {e}",
                candidate.certificate_id
            ))
        })?;
        if issued_by(certificate, &ca).is_err() {
            continue;
        }
        if candidate.status == CaStatus::Inactive {
            return Err(RegistryError::CertificateState(format!(
                "CA certificate {} is INACTIVE: activate it before registering certificates of it",
                candidate.certificate_id
            )));
        }
        return Ok(candidate);
    }
    Err(RegistryError::CertificateValidation(format!(
        "no registered CA certificate has signed this certificate; its issuer is \"{}\": register that CA first",
        certificate.issuer()
    )))
}

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
            let origin = Origin::from(Some(ca));
            insert(tx, certificate, origin, CertificateStatus::PendingActivation).await?
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

/// Another registered certificate that is this one with the other value of its ECDSA signature, and so under another id.
/// `issuer`: the kind of the CA's key; if nobody knows, every kind is tried.
pub(crate) async fn twin(
    tx: &mut Tx,
    certificate: &Certificate,
    issuer: Option<KeyAlgorithm>,
) -> Result<Option<CertificateId>> {
    const CURVES: [KeyAlgorithm; 3] = [KeyAlgorithm::EcP256, KeyAlgorithm::EcP384, KeyAlgorithm::EcP521];
    let issuers = issuer.as_ref().map_or(&CURVES[..], std::slice::from_ref);
    for twin in issuers.iter().filter_map(|issuer| certificate.twin(*issuer)) {
        if tx.exists::<CertificateRecord>(&twin).await? {
            return Ok(Some(twin));
        }
    }
    Ok(None)
}

/// A certificate that this broker has issued, which needs no registered CA.
pub(crate) async fn insert_issued(
    tx: &mut Tx,
    certificate: &Certificate,
    status: CertificateStatus,
) -> Result<CertificateRecord> {
    let id = certificate.id();
    if tx.exists::<CertificateRecord>(&id).await? {
        // An issuer of the operator's has given the same certificate again.
        return Err(RegistryError::CertificateConflict(format!("certificate {id} has been issued before")));
    }
    insert(tx, certificate, Origin { ca: None, mode: CertificateMode::Default }, status).await
}

/// Where a certificate comes from.
#[derive(Clone, Copy)]
struct Origin {
    ca: Option<CertificateId>,
    mode: CertificateMode,
}

impl From<Option<&CaCertificateRecord>> for Origin {
    /// Of a registered CA, or of one that nobody knows here.
    fn from(ca: Option<&CaCertificateRecord>) -> Self {
        Self { ca: ca.map(|ca| ca.certificate_id), mode: ca.map_or(CertificateMode::SniOnly, |ca| ca.mode) }
    }
}

async fn insert(
    tx: &mut Tx,
    certificate: &Certificate,
    origin: Origin,
    status: CertificateStatus,
) -> Result<CertificateRecord> {
    let id = certificate.id();
    let record = CertificateRecord {
        certificate_id: id,
        der: certificate.der().into(),
        status,
        mode: origin.mode,
        ca_certificate_id: origin.ca,
        created_at: tx.now(),
        modified_at: tx.now(),
        version: 1,
        generation_id: uuid::Uuid::new_v4().to_string(),
        last_error: None,
        retires: None,
    };
    tx.put(&record)?;
    pending::enter(tx, &record);
    if let Some(ca) = origin.ca {
        tx.put_row(Table::CertificatesByCa, by_ca_key(ca, id), Vec::new());
    }
    tx.record(Change::Certificate { certificate_id: id, from: None, to: Some(status) });
    tx.made("certificateId", id);
    Ok(record)
}

/// Sets the status, as an operator or a template may (`spec/jitp.md` section 9). The same status again is no change.
pub(crate) async fn set_status(
    tx: &mut Tx,
    id: CertificateId,
    status: CertificateStatus,
) -> Result<CertificateRecord> {
    let record = tx.require(&id).await?;
    change_status(tx, record, status)
}

/// The same of a record that has just been read or written in this unit of work.
pub(crate) fn change_status(
    tx: &mut Tx,
    mut record: CertificateRecord,
    status: CertificateStatus,
) -> Result<CertificateRecord> {
    use CertificateStatus::{Active, Inactive, PendingActivation, PendingTransfer, Revoked};
    let id = record.certificate_id;
    if matches!(status, PendingActivation | PendingTransfer) {
        return Err(RegistryError::InvalidRequest(
            "a certificate cannot be set to PENDING_ACTIVATION or PENDING_TRANSFER: use ACTIVE, INACTIVE or REVOKED"
                .into(),
        ));
    }
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
    pending::leave(tx, &record);
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
pub(crate) fn change_last_error(
    tx: &mut Tx,
    mut record: CertificateRecord,
    error: Option<String>,
) -> Result<CertificateRecord> {
    if record.last_error != error {
        record.last_error = error;
        tx.put(&record)?;
    }
    Ok(record)
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
    pending::leave(tx, &record);
    tx.delete::<CertificateRecord>(&id);
    if let Some(ca) = record.ca_certificate_id {
        tx.delete_row(Table::CertificatesByCa, by_ca_key(ca, id));
    }
    tx.record(Change::Certificate { certificate_id: id, from: Some(record.status), to: None });
    Ok(())
}

/// TransferCertificate: there is one account here, so that nothing can be transferred; what is asked for is checked as
/// it would be.
pub(crate) async fn transfer(tx: &mut Tx, id: CertificateId, account: &str) -> Result<()> {
    let record: CertificateRecord = tx.require(&id).await?;
    if record.status == CertificateStatus::Active {
        return Err(RegistryError::CertificateState(format!(
            "certificate {id} is ACTIVE: set it to INACTIVE before transferring it"
        )));
    }
    Err(RegistryError::InvalidRequest(format!(
        "certificate {id} cannot be transferred to account {account}: this registry has one account, {}; register the \
         certificate there and delete it here",
        tx.options().account
    )))
}

/// Accepting, rejecting or cancelling a transfer: none is ever under way.
pub(crate) async fn end_transfer(tx: &mut Tx, id: CertificateId) -> Result<()> {
    tx.require::<CertificateRecord>(&id).await?;
    Err(RegistryError::InvalidRequest(format!(
        "certificate {id} is not being transferred: this registry has one account"
    )))
}

fn by_ca_key(ca: CertificateId, id: CertificateId) -> Key {
    [*ca.as_bytes(), *id.as_bytes()].concat()
}

impl Registry {
    /// RegisterCertificate, RegisterCertificateWithoutCA.
    pub async fn register_certificate(&self, r: RegisterCertificate) -> Result<CertificateRecord> {
        transact!(self, |tx| register(tx, &r))
    }
    /// DescribeCertificate.
    pub async fn certificate(&self, id: CertificateId) -> Result<CertificateRecord> {
        self.begin().require(&id).await
    }
    /// UpdateCertificate.
    pub async fn update_certificate(&self, id: CertificateId, status: CertificateStatus) -> Result<()> {
        transact!(self, |tx| set_status(tx, id, status)).map(|_| ())
    }
    /// TransferCertificate: refused, with what is in the way.
    pub async fn transfer_certificate(&self, id: CertificateId, account: &str) -> Result<()> {
        transfer(&mut self.begin(), id, account).await
    }
    /// AcceptCertificateTransfer, RejectCertificateTransfer, CancelCertificateTransfer: refused, as no transfer is ever
    /// under way.
    pub async fn end_certificate_transfer(&self, id: CertificateId) -> Result<()> {
        end_transfer(&mut self.begin(), id).await
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
