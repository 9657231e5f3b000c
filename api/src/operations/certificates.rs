//! Device certificates (`spec/control-plane.md` section 3).
use jitp_provisioner::ResourceKind;
use jitp_provisioner::certs::Certificate;
use jitp_provisioner::names::CertificateId;
use jitp_provisioner::records::{CertificateRecord, CertificateStatus};
use jitp_provisioner::registry::{Page, RegisterCertificate};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::call::Call;
use crate::error::ApiError;
use crate::reply::Reply;
use crate::text::Bounded;

/// The text of a certificate.
pub(super) type Pem = Bounded<1, 65_536>;

pub(super) async fn register(call: &Call) -> Result<Reply, ApiError> {
    let ca: Option<Pem> = call.member("caCertificatePem").optional()?;
    let status: Option<NewStatus> = call.member("status").optional()?;
    let active: Option<bool> = call.query("setAsActive").optional()?;
    let status = match (status.map(CertificateStatus::from), active) {
        (None, None | Some(false)) => CertificateStatus::Inactive,
        (None, Some(true)) => CertificateStatus::Active,
        (Some(status), Some(active)) if active != (status == CertificateStatus::Active) => {
            return Err(ApiError::invalid("setAsActive", "contradicts status"));
        }
        (Some(status), _) => status,
    };
    register_as(call, true, ca.map(|pem| pem.0), status).await
}

pub(super) async fn register_without_ca(call: &Call) -> Result<Reply, ApiError> {
    let status: Option<NewStatus> = call.member("status").optional()?;
    register_as(call, false, None, status.map_or(CertificateStatus::Inactive, CertificateStatus::from)).await
}

pub(super) async fn describe(call: &Call) -> Result<Reply, ApiError> {
    let record = call.registry().certificate(call.label("certificateId").required()?).await?;
    Ok(Reply::members(json!({
        "certificateDescription": {
            "certificateArn": call.arn(ResourceKind::Certificate, record.certificate_id),
            "certificateId": record.certificate_id,
            "caCertificateId": record.ca_certificate_id,
            "status": record.status,
            "certificatePem": record.pem(),
            "ownedBy": call.registry().account(),
            "creationDate": record.created_at.epoch_seconds(),
            "lastModifiedDate": record.modified_at.epoch_seconds(),
            "customerVersion": record.version,
            "generationId": record.generation_id,
            "validity": validity(&record.pem())?,
            "certificateMode": record.mode,
        },
    })))
}

pub(super) async fn update(call: &Call) -> Result<Reply, ApiError> {
    let id = call.label("certificateId").required()?;
    let status: NewStatus = call.query("newStatus").required()?;
    call.registry().update_certificate(id, status.into()).await?;
    Ok(Reply::nothing())
}

pub(super) async fn delete(call: &Call) -> Result<Reply, ApiError> {
    let id = call.label("certificateId").required()?;
    let force = call.query("forceDelete").or_default()?;
    call.registry().delete_certificate(id, force).await?;
    Ok(Reply::nothing())
}

pub(super) async fn list(call: &Call) -> Result<Reply, ApiError> {
    page(call, call.registry().list_certificates(None, &call.marker_page()?).await?)
}

pub(super) async fn list_by_ca(call: &Call) -> Result<Reply, ApiError> {
    let ca: CertificateId = call.label("caCertificateId").required()?;
    page(call, call.registry().list_certificates(Some(ca), &call.marker_page()?).await?)
}

/// `validity` of a description.
pub(super) fn validity(pem: &str) -> Result<Value, ApiError> {
    let certificate = Certificate::from_pem(pem).map_err(|error| {
        tracing::error!(%error, "a stored certificate cannot be read");
        ApiError::internal()
    })?;
    let validity = certificate.validity();
    Ok(json!({"notBefore": validity.not_before, "notAfter": validity.not_after}))
}

async fn register_as(
    call: &Call,
    of_ca: bool,
    ca_certificate: Option<String>,
    status: CertificateStatus,
) -> Result<Reply, ApiError> {
    let certificate: Pem = call.member("certificatePem").required()?;
    let request = RegisterCertificate { certificate: certificate.0, of_ca, ca_certificate, status };
    let record = call.registry().register_certificate(request).await?;
    Ok(Reply::members(json!({
        "certificateArn": call.arn(ResourceKind::Certificate, record.certificate_id),
        "certificateId": record.certificate_id,
    })))
}

fn page(call: &Call, page: Page<CertificateRecord>) -> Result<Reply, ApiError> {
    let item = |certificate: &CertificateRecord| {
        json!({
            "certificateArn": call.arn(ResourceKind::Certificate, certificate.certificate_id),
            "certificateId": certificate.certificate_id,
            "status": certificate.status,
            "certificateMode": certificate.mode,
            "creationDate": certificate.created_at.epoch_seconds(),
        })
    };
    Ok(Reply::members(json!({
        "certificates": page.items.iter().map(item).collect::<Vec<_>>(),
        "nextMarker": call.next_token(page.next),
    })))
}

/// A status as callers may name it.
#[derive(Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum NewStatus {
    Active,
    Inactive,
    Revoked,
    PendingTransfer,
    /// Deprecated by AWS; means `INACTIVE`.
    RegisterInactive,
    PendingActivation,
}
impl From<NewStatus> for CertificateStatus {
    fn from(status: NewStatus) -> Self {
        match status {
            NewStatus::Active => Self::Active,
            NewStatus::Inactive | NewStatus::RegisterInactive => Self::Inactive,
            NewStatus::Revoked => Self::Revoked,
            NewStatus::PendingTransfer => Self::PendingTransfer,
            NewStatus::PendingActivation => Self::PendingActivation,
        }
    }
}
