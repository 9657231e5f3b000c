//! CA certificates (`spec/jitp.md` sections 2 and 3).
use super::page::{Page, PageRequest, page, record_page, strange_key};
use super::{Registry, Result, registration_code, tags, templates};
use crate::arn::ResourceKind;
use crate::change::{Change, Operation};
use crate::error::RegistryError;
use crate::names::{CertificateId, TemplateName};
use crate::records::{
    CaCertificateRecord, CaStatus, CertificateMode, RegistrationConfig, TemplateRecord, TemplateType,
};
use crate::store::{Key, Table};
use crate::stored::{Stored, key_prefix};
use crate::transact::transact;
use crate::tx::Tx;
use jitp_certs::{Attribute, Certificate, ValidityError, check_issuing_ca, issued_by};
use std::collections::BTreeMap;

/// RegisterCACertificate.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs)]
pub struct RegisterCaCertificate {
    pub ca_certificate: String,
    pub verification_certificate: Option<String>,
    pub mode: CertificateMode,
    pub set_as_active: bool,
    pub allow_auto_registration: bool,
    pub registration_config: Option<RegistrationConfig>,
    pub tags: BTreeMap<String, String>,
}
/// UpdateCACertificate; absent members leave the attribute unchanged.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs)]
pub struct UpdateCaCertificate {
    pub new_status: Option<CaStatus>,
    pub new_auto_registration: Option<bool>,
    pub registration_config: Option<RegistrationConfig>,
    pub remove_auto_registration: bool,
}

/// Registers a CA after all checks of `spec/jitp.md` section 2, in that order.
pub(crate) async fn register(tx: &mut Tx, request: &RegisterCaCertificate) -> Result<CaCertificateRecord> {
    let ca = Certificate::from_pem(&request.ca_certificate).map_err(|e| {
        RegistryError::CertificateValidation(format!("the CA certificate cannot be used: {e}"))
    })?;
    check_issuing_ca(&ca).map_err(|e| {
        RegistryError::CertificateValidation(format!("the CA certificate cannot be used: {e}"))
    })?;
    if let Err(expired @ ValidityError::Expired { .. }) = ca.check_validity(tx.now().unix_seconds()) {
        return Err(RegistryError::CertificateValidation(format!(
            "the CA certificate cannot be used: {expired} (Unix seconds); register one that is still valid"
        )));
    }
    check_possession(tx, request, &ca).await?;
    let id = ca.id();
    if tx.exists::<CaCertificateRecord>(&id).await? {
        return Err(RegistryError::AlreadyExists {
            kind: CaCertificateRecord::KIND,
            id: id.to_string(),
            arn: tx.arn(ResourceKind::CaCertificate, &id.to_string()).to_string(),
            hint: ": update it instead".into(),
        });
    }
    let namesakes = tx.rows(Table::CaCertificatesBySubject, &subject_prefix(ca.subject().der())).await?.len();
    let most = tx.options().ca_certificates_per_subject;
    if namesakes >= most {
        return Err(RegistryError::LimitExceeded(format!(
            "{namesakes} CA certificates with the subject \"{}\" are registered, and {most} are allowed: delete one first",
            ca.subject()
        )));
    }
    if let Some(config) = &request.registration_config {
        check_registration_config(tx, config).await?;
    }
    tags::check(&request.tags)?;
    let record = CaCertificateRecord {
        certificate_id: id,
        pem: ca.to_pem(),
        status: if request.set_as_active { CaStatus::Active } else { CaStatus::Inactive },
        auto_registration: request.allow_auto_registration,
        mode: request.mode,
        registration_config: request.registration_config.clone(),
        created_at: tx.now(),
        modified_at: tx.now(),
        version: 1,
        generation_id: uuid::Uuid::new_v4().to_string(),
        runs_per_second: None,
        total_runs: None,
        tags: request.tags.clone(),
    };
    tx.put(&record)?;
    tx.put_row(Table::CaCertificatesBySubject, subject_key(&ca), Vec::new());
    index_template(tx, id, None, record.registration_config.as_ref());
    tx.record(Change::CaCertificate { operation: Operation::Created, certificate_id: id });
    tx.made("certificateId", id);
    Ok(record)
}

/// The registered CAs whose subject is the given name (DER), by id.
pub(crate) async fn with_subject(tx: &mut Tx, subject_der: &[u8]) -> Result<Vec<CaCertificateRecord>> {
    let mut found = Vec::new();
    for id in ids_with_subject(tx, subject_der).await? {
        found.push(tx.get(&id).await?.ok_or_else(|| not_behind_index(id))?);
    }
    Ok(found)
}

/// The ids of the same.
pub(crate) async fn ids_with_subject(tx: &mut Tx, subject_der: &[u8]) -> Result<Vec<CertificateId>> {
    let (table, prefix) = (Table::CaCertificatesBySubject, subject_prefix(subject_der));
    let rows = tx.rows(table, &prefix).await?;
    rows.iter().map(|(key, _)| id_in_key(table, key.strip_prefix(prefix.as_slice()).unwrap_or(key))).collect()
}

/// The error for a CA that the index by subject names and that is not there.
pub(crate) fn not_behind_index(id: CertificateId) -> RegistryError {
    strange_key(Table::CaCertificatesBySubject, id.as_bytes())
}

/// Changes status, auto-registration and registration configuration.
pub(crate) async fn update(tx: &mut Tx, id: CertificateId, update: &UpdateCaCertificate) -> Result<()> {
    let before: CaCertificateRecord = tx.require(&id).await?;
    let mut after = before.clone();
    if let Some(status) = update.new_status {
        after.status = status;
    }
    if update.remove_auto_registration {
        if update.registration_config.is_some() || update.new_auto_registration == Some(true) {
            return Err(RegistryError::InvalidRequest(
                "removeAutoRegistration contradicts a registrationConfig or newAutoRegistrationStatus=ENABLE beside \
                 it: do one first, then the other"
                    .into(),
            ));
        }
        after.registration_config = None;
        after.auto_registration = false;
    }
    if let Some(enabled) = update.new_auto_registration {
        after.auto_registration = enabled;
    }
    if let Some(config) = &update.registration_config {
        check_registration_config(tx, config).await?;
        after.registration_config = Some(config.clone());
    }
    if after == before {
        return Ok(());
    }
    after.version += 1;
    after.modified_at = tx.now();
    index_template(tx, id, before.registration_config.as_ref(), after.registration_config.as_ref());
    tx.put(&after)?;
    tx.record(Change::CaCertificate { operation: Operation::Updated, certificate_id: id });
    Ok(())
}

/// Deletes an inactive CA. Its device certificates stay as they are.
pub(crate) async fn delete(tx: &mut Tx, id: CertificateId) -> Result<()> {
    let record: CaCertificateRecord = tx.require(&id).await?;
    if record.status == CaStatus::Active {
        return Err(RegistryError::CertificateState(format!(
            "CA certificate {id} is ACTIVE: set it to INACTIVE before deleting it"
        )));
    }
    let ca = Certificate::from_pem(&record.pem).map_err(|e| {
        RegistryError::Internal(format!("the stored CA certificate {id} cannot be read: {e}"))
    })?;
    tx.delete::<CaCertificateRecord>(&id);
    tx.delete_row(Table::CaCertificatesBySubject, subject_key(&ca));
    tx.delete_row(Table::CaRuns, CaCertificateRecord::key_of(&id));
    index_template(tx, id, record.registration_config.as_ref(), None);
    tx.record(Change::CaCertificate { operation: Operation::Deleted, certificate_id: id });
    Ok(())
}

/// Possession of the CA's key, as its mode demands.
async fn check_possession(tx: &mut Tx, request: &RegisterCaCertificate, ca: &Certificate) -> Result<()> {
    let verification = match (request.mode, &request.verification_certificate) {
        (CertificateMode::SniOnly, None) => return Ok(()),
        (CertificateMode::SniOnly, Some(_)) => {
            return Err(RegistryError::InvalidRequest(
                "a CA certificate of mode SNI_ONLY is registered without a verification certificate: leave it out, \
                 or use mode DEFAULT"
                    .into(),
            ));
        }
        (CertificateMode::Default, None) => {
            return Err(RegistryError::InvalidRequest(
                "a verification certificate is missing: get the registration code, sign a certificate with it as \
                 common name with the CA's key, and send that along; or use mode SNI_ONLY"
                    .into(),
            ));
        }
        (CertificateMode::Default, Some(pem)) => pem,
    };
    let verification = Certificate::from_pem(verification).map_err(|e| {
        RegistryError::CertificateValidation(format!("the verification certificate cannot be used: {e}"))
    })?;
    issued_by(&verification, ca).map_err(|e| {
        RegistryError::CertificateValidation(format!(
            "the verification certificate is not signed by the CA certificate's key: {e}"
        ))
    })?;
    let common_name = verification.subject().first(Attribute::CommonName).unwrap_or_default();
    match registration_code::current(tx).await? {
        Some(code) if code == common_name => Ok(()),
        Some(_) => Err(RegistryError::RegistrationCodeValidation(
            "the common name of the verification certificate is not the registration code of this registry: get the \
             code, and sign a new verification certificate"
                .into(),
        )),
        None => Err(RegistryError::RegistrationCodeValidation(
            "this registry has no registration code at the moment: get one, and sign a new verification certificate"
                .into(),
        )),
    }
}

async fn check_registration_config(tx: &mut Tx, config: &RegistrationConfig) -> Result<()> {
    if let Some(role) = &config.role_arn {
        templates::check_role_arn("registrationConfig.roleArn", role)?;
    }
    match (&config.template_name, &config.template_body) {
        (Some(name), None) => {
            let template: TemplateRecord = tx.require(name).await?;
            if template.template_type == TemplateType::Jitp {
                return Ok(());
            }
            Err(RegistryError::InvalidRequest(format!(
                "provisioning template {name} is of type FLEET_PROVISIONING: a CA certificate needs one of type JITP"
            )))
        }
        (None, Some(body)) => {
            if config.role_arn.is_none() {
                return Err(RegistryError::InvalidRequest(
                    "registrationConfig.roleArn is missing: it is required beside templateBody".into(),
                ));
            }
            templates::check_body(tx.options(), TemplateType::Jitp, body)
        }
        _ => Err(RegistryError::InvalidRequest(
            "registrationConfig must have exactly one of templateName and templateBody".into(),
        )),
    }
}

fn index_template(
    tx: &mut Tx,
    id: CertificateId,
    before: Option<&RegistrationConfig>,
    after: Option<&RegistrationConfig>,
) {
    let key = |config: Option<&RegistrationConfig>| {
        let template = config.and_then(|c| c.template_name.as_ref())?;
        Some([&key_prefix(template.as_str())[..], id.as_bytes()].concat())
    };
    if let Some(old) = key(before) {
        tx.delete_row(Table::CaCertificatesByTemplate, old);
    }
    if let Some(new) = key(after) {
        tx.put_row(Table::CaCertificatesByTemplate, new, Vec::new());
    }
}

fn subject_prefix(subject_der: &[u8]) -> Key {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, subject_der).as_ref().to_vec()
}
fn subject_key(ca: &Certificate) -> Key {
    [&subject_prefix(ca.subject().der())[..], ca.id().as_bytes()].concat()
}

/// Reads a certificate id out of a key.
pub(super) fn id_in_key(table: Table, key: &[u8]) -> Result<CertificateId> {
    key.try_into().map(CertificateId::from_bytes).map_err(|_| strange_key(table, key))
}

impl Registry {
    /// RegisterCACertificate.
    pub async fn register_ca_certificate(&self, r: RegisterCaCertificate) -> Result<CaCertificateRecord> {
        transact!(self, |tx| register(tx, &r))
    }
    /// DescribeCACertificate.
    pub async fn ca_certificate(&self, id: CertificateId) -> Result<CaCertificateRecord> {
        self.begin().require(&id).await
    }
    /// UpdateCACertificate.
    pub async fn update_ca_certificate(&self, id: CertificateId, u: UpdateCaCertificate) -> Result<()> {
        transact!(self, |tx| update(tx, id, &u))
    }
    /// DeleteCACertificate.
    pub async fn delete_ca_certificate(&self, id: CertificateId) -> Result<()> {
        transact!(self, |tx| delete(tx, id))
    }
    /// ListCACertificates, by id.
    pub async fn list_ca_certificates(
        &self,
        template: Option<&TemplateName>,
        request: &PageRequest,
    ) -> Result<Page<CaCertificateRecord>> {
        let Some(template) = template else { return record_page(self.store(), request).await };
        let table = Table::CaCertificatesByTemplate;
        let prefix = key_prefix(template.as_str());
        let ids =
            page(self.store(), table, &prefix, request, |key, _| id_in_key(table, key).map(Some)).await?;
        self.records_of(ids).await
    }
}
