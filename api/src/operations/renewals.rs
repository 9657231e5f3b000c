//! Which certificate renewed which.
use jitp_provisioner::RenewalLink;
use jitp_provisioner::names::CertificateId;
use serde_json::{Map, Value, json};

use crate::call::Call;
use crate::error::ApiError;
use crate::reply::Reply;

/// `GET /jitp/v1/certificates/{certificateId}/renewals`: the chain that a certificate is part of, oldest first.
pub(super) async fn list(call: &Call) -> Result<Reply, ApiError> {
    let certificate: CertificateId = call.label("certificateId").required()?;
    let chain = call.registry().renewal_chain(certificate).await?;
    Ok(Reply::members(json!({ "certificates": chain.iter().map(shown).collect::<Vec<_>>() })))
}

fn shown(link: &RenewalLink) -> Value {
    let mut members = Map::new();
    members.insert("certificateId".into(), json!(link.certificate_id));
    let mut member = |name: &str, value: Option<Value>| {
        members.extend(value.map(|value| (name.to_owned(), value)));
    };
    member("status", link.status.map(|status| json!(status)));
    for (name, moment) in [
        ("creationDate", link.created_at),
        ("renewedDate", link.renewed_at),
        ("retiresDate", link.retires_at),
        ("retiredDate", link.retired_at),
    ] {
        member(name, moment.map(|moment| json!(moment.epoch_seconds())));
    }
    Value::Object(members)
}
