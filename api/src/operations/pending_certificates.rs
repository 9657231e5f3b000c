//! Certificates that registered themselves and wait for an operator, and what is decided about them (`docs/jitr.md`).
use jitp_provisioner::names::{CertificateId, PolicyName, TemplateName};
use jitp_provisioner::records::{CertificateRecord, CertificateStatus};
use jitp_provisioner::{Approval, Decided, RegistryError};
use serde_json::{Value, json};

use crate::call::Call;
use crate::error::ApiError;
use crate::reply::Reply;

/// `GET /jitp/v1/pending-certificates`: by CA and id, those of `caCertificateId` if it is given; `maxResults`, `nextToken`.
pub(super) async fn list(call: &Call) -> Result<Reply, ApiError> {
    let ca: Option<CertificateId> = call.query("caCertificateId").optional()?;
    let page = call.registry().list_pending_certificates(ca, &call.token_page()?).await?;
    let certificates: Vec<Value> = page.items.iter().map(described).collect();
    Ok(Reply::members(json!({ "certificates": certificates, "nextToken": call.next_token(page.next) })))
}

/// `GET /jitp/v1/pending-certificates/{certificateId}`: not found when it does not wait.
pub(super) async fn describe(call: &Call) -> Result<Reply, ApiError> {
    let id: CertificateId = call.label("certificateId").required()?;
    let record = call.registry().certificate(id).await?;
    if record.status != CertificateStatus::PendingActivation || record.ca_certificate_id.is_none() {
        let name = id.to_string();
        return Err(RegistryError::NotFound { kind: "pending certificate", name }.into());
    }
    Ok(Reply::members(described(&record)))
}

/// `POST /jitp/v1/pending-certificates/{certificateId}/approve`: with `templateName` runs that template as a first connection
/// would; attaches the policies of `policyNames`.
pub(super) async fn approve(call: &Call) -> Result<Reply, ApiError> {
    let id = call.label("certificateId").required()?;
    let template: Option<TemplateName> = call.member("templateName").optional()?;
    let policies: Vec<PolicyName> = call.member("policyNames").or_default()?;
    let approval = Approval { template, policies };
    Ok(decided(&call.provisioner().approve_certificate(id, &approval).await?))
}

/// `POST /jitp/v1/pending-certificates/{certificateId}/reject`: INACTIVE, with `revoke` REVOKED.
pub(super) async fn reject(call: &Call) -> Result<Reply, ApiError> {
    let id = call.label("certificateId").required()?;
    let revoke: bool = call.member("revoke").or_default()?;
    Ok(decided(&call.provisioner().reject_certificate(id, revoke).await?))
}

fn described(record: &CertificateRecord) -> Value {
    json!({
        "certificateId": record.certificate_id,
        "caCertificateId": record.ca_certificate_id,
        "creationDate": record.created_at.epoch_seconds(),
        "lastError": record.last_error,
        "certificatePem": record.pem(),
    })
}

fn decided(decided: &Decided) -> Reply {
    Reply::members(json!({
        "certificateId": decided.certificate.certificate_id,
        "status": decided.certificate.status,
        "thingName": decided.thing,
    }))
}
