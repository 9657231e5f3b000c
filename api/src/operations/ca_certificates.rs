//! CA certificates and the registration code (`spec/control-plane.md` section 2, `spec/jitp.md` section 2).
use jitp_provisioner::ResourceKind;
use jitp_provisioner::names::{CertificateId, TemplateName};
use jitp_provisioner::records::{CaStatus, CertificateMode, RegistrationConfig};
use jitp_provisioner::registry::{RegisterCaCertificate, UpdateCaCertificate};
use serde::Deserialize;
use serde_json::json;

use super::certificates::{Pem, validity};
use super::tags;
use crate::call::Call;
use crate::error::ApiError;
use crate::object::Object;
use crate::reply::Reply;
use crate::text::Bounded;

pub(super) async fn register(call: &Call) -> Result<Reply, ApiError> {
    let pem: Pem = call.member("caCertificate").required()?;
    let verification: Option<Pem> = call.member("verificationCertificate").optional()?;
    let request = RegisterCaCertificate {
        ca_certificate: pem.0,
        verification_certificate: verification.map(|pem| pem.0),
        mode: call.member::<CertificateMode>("certificateMode").or_default()?,
        set_as_active: call.query("setAsActive").or_default()?,
        allow_auto_registration: call.query("allowAutoRegistration").or_default()?,
        registration_config: registration_config(call)?,
        tags: tags::of_new(call)?,
    };
    let record = call.registry().register_ca_certificate(request).await?;
    Ok(Reply::members(json!({
        "certificateArn": call.arn(ResourceKind::CaCertificate, record.certificate_id),
        "certificateId": record.certificate_id,
    })))
}

pub(super) async fn describe(call: &Call) -> Result<Reply, ApiError> {
    let record = call.registry().ca_certificate(call.label("caCertificateId").required()?).await?;
    Ok(Reply::members(json!({
        "certificateDescription": {
            "certificateArn": call.arn(ResourceKind::CaCertificate, record.certificate_id),
            "certificateId": record.certificate_id,
            "status": record.status,
            "certificatePem": record.pem,
            "ownedBy": call.registry().account(),
            "creationDate": record.created_at.epoch_seconds(),
            "autoRegistrationStatus": if record.auto_registration { "ENABLE" } else { "DISABLE" },
            "lastModifiedDate": record.modified_at.epoch_seconds(),
            "customerVersion": record.version,
            "generationId": record.generation_id,
            "validity": validity(&record.pem)?,
            "certificateMode": record.mode,
        },
        "registrationConfig": record.registration_config,
    })))
}

pub(super) async fn update(call: &Call) -> Result<Reply, ApiError> {
    let id = call.label::<CertificateId>("caCertificateId").required()?;
    let auto_registration: Option<AutoRegistration> = call.query("newAutoRegistrationStatus").optional()?;
    let update = UpdateCaCertificate {
        new_status: call.query::<CaStatus>("newStatus").optional()?,
        new_auto_registration: auto_registration.map(|status| status == AutoRegistration::Enable),
        registration_config: registration_config(call)?,
        remove_auto_registration: call.member("removeAutoRegistration").or_default()?,
    };
    call.registry().update_ca_certificate(id, update).await?;
    Ok(Reply::nothing())
}

pub(super) async fn delete(call: &Call) -> Result<Reply, ApiError> {
    call.registry().delete_ca_certificate(call.label("caCertificateId").required()?).await?;
    Ok(Reply::nothing())
}

pub(super) async fn list(call: &Call) -> Result<Reply, ApiError> {
    let template: Option<TemplateName> = call.query("templateName").optional()?;
    let page = call.registry().list_ca_certificates(template.as_ref(), &call.marker_page()?).await?;
    let item = |ca: &jitp_provisioner::records::CaCertificateRecord| {
        json!({
            "certificateArn": call.arn(ResourceKind::CaCertificate, ca.certificate_id),
            "certificateId": ca.certificate_id,
            "status": ca.status,
            "creationDate": ca.created_at.epoch_seconds(),
        })
    };
    Ok(Reply::members(json!({
        "certificates": page.items.iter().map(item).collect::<Vec<_>>(),
        "nextMarker": call.next_token(page.next),
    })))
}

pub(super) async fn registration_code(call: &Call) -> Result<Reply, ApiError> {
    let code = call.registry().registration_code().await?;
    Ok(Reply::members(json!({"registrationCode": code})))
}

pub(super) async fn delete_registration_code(call: &Call) -> Result<Reply, ApiError> {
    call.registry().delete_registration_code().await?;
    Ok(Reply::nothing())
}

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum AutoRegistration {
    Enable,
    Disable,
}

fn registration_config(call: &Call) -> Result<Option<RegistrationConfig>, ApiError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Config {
        template_name: Option<TemplateName>,
        template_body: Option<Bounded<0, 10_240>>,
        role_arn: Option<Bounded<20, 2048>>,
    }
    let config: Option<Object<Config>> = call.member("registrationConfig").optional()?;
    Ok(config.map(|Object(config)| RegistrationConfig {
        template_name: config.template_name,
        template_body: config.template_body.map(|body| body.0),
        role_arn: config.role_arn.map(|arn| arn.0),
    }))
}
