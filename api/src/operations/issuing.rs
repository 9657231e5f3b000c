//! Certificates that this broker issues (`spec/control-plane.md` sections 3 and 8).
use jitp_provisioner::ResourceKind;
use jitp_provisioner::issuing::DeviceKeys;
use jitp_provisioner::names::TemplateName;
use serde_json::{Value, json};

use crate::call::Call;
use crate::error::ApiError;
use crate::reply::Reply;
use crate::text::Bounded;

type Csr = Bounded<1, 4096>;

/// The only answer that shows the private key.
pub(super) async fn create_keys_and_certificate(call: &Call) -> Result<Reply, ApiError> {
    let active = call.query("setAsActive").or_default()?;
    let issued = call.provisioner().create_keys_and_certificate(active).await?;
    let id = issued.certificate.certificate_id;
    Ok(Reply::members(json!({
        "certificateArn": call.arn(ResourceKind::Certificate, id),
        "certificateId": id,
        "certificatePem": issued.certificate.pem(),
        "keyPair": key_pair(&issued.keys),
    })))
}

pub(super) async fn create_certificate_from_csr(call: &Call) -> Result<Reply, ApiError> {
    let csr: Csr = call.member("certificateSigningRequest").required()?;
    let active = call.query("setAsActive").or_default()?;
    let record = call.provisioner().create_certificate_from_csr(&csr.0, active).await?;
    Ok(Reply::members(json!({
        "certificateArn": call.arn(ResourceKind::Certificate, record.certificate_id),
        "certificateId": record.certificate_id,
        "certificatePem": record.pem(),
    })))
}

/// The only answer that shows the private key.
pub(super) async fn create_provisioning_claim(call: &Call) -> Result<Reply, ApiError> {
    let template: TemplateName = call.label("templateName").required()?;
    let issued = call.provisioner().create_provisioning_claim(&template).await?;
    Ok(Reply::members(json!({
        "certificateId": issued.claim.certificate_id,
        "certificatePem": issued.certificate_pem,
        "keyPair": key_pair(&issued.keys),
        "expiration": issued.claim.expires_at.epoch_seconds(),
    })))
}

fn key_pair(keys: &DeviceKeys) -> Value {
    json!({
        "PublicKey": keys.public_key_pem,
        "PrivateKey": keys.private_key.to_traditional_pem().as_str(),
    })
}
