//! Attachments between things and certificates (`spec/control-plane.md` section 4).
use jitp_provisioner::ResourceKind;
use jitp_provisioner::names::{CertificateId, ThingName};
use jitp_provisioner::records::PrincipalType;
use serde_json::json;

use crate::call::Call;
use crate::error::ApiError;
use crate::reply::Reply;

/// The header that names the certificate.
const PRINCIPAL: &str = "x-amzn-principal";

pub(super) async fn attach(call: &Call) -> Result<Reply, ApiError> {
    let thing: ThingName = call.label("thingName").required()?;
    let certificate = call.principal(call.header(PRINCIPAL))?;
    let kind: PrincipalType = call.query("thingPrincipalType").or_default()?;
    call.registry().attach_thing_principal(&thing, certificate, kind).await?;
    Ok(Reply::nothing())
}

pub(super) async fn detach(call: &Call) -> Result<Reply, ApiError> {
    let thing: ThingName = call.label("thingName").required()?;
    let certificate = call.principal(call.header(PRINCIPAL))?;
    call.registry().detach_thing_principal(&thing, certificate).await?;
    Ok(Reply::nothing())
}

pub(super) async fn list_of_thing(call: &Call) -> Result<Reply, ApiError> {
    let thing: ThingName = call.label("thingName").required()?;
    let page = call.registry().list_thing_principals(&thing, None, &call.token_page()?).await?;
    let arns: Vec<_> = page.items.iter().map(|(id, _)| call.arn(ResourceKind::Certificate, id)).collect();
    Ok(Reply::members(json!({"principals": arns, "nextToken": call.next_token(page.next)})))
}

pub(super) async fn list_things(call: &Call) -> Result<Reply, ApiError> {
    let certificate = call.principal(call.header(PRINCIPAL))?;
    let page = call.registry().list_principal_things(certificate, None, &call.token_page()?).await?;
    let names: Vec<_> = page.items.iter().map(|(name, _)| name).collect();
    Ok(Reply::members(json!({"things": names, "nextToken": call.next_token(page.next)})))
}

pub(super) async fn list_of_thing_v2(call: &Call) -> Result<Reply, ApiError> {
    let thing: ThingName = call.label("thingName").required()?;
    let kind: Option<PrincipalType> = call.query("thingPrincipalType").optional()?;
    let page = call.registry().list_thing_principals(&thing, kind, &call.token_page()?).await?;
    let item = |(id, kind): &(CertificateId, PrincipalType)| json!({"principal": call.arn(ResourceKind::Certificate, id), "thingPrincipalType": kind});
    Ok(Reply::members(json!({
        "thingPrincipalObjects": page.items.iter().map(item).collect::<Vec<_>>(),
        "nextToken": call.next_token(page.next),
    })))
}

pub(super) async fn list_things_v2(call: &Call) -> Result<Reply, ApiError> {
    let certificate = call.principal(call.header(PRINCIPAL))?;
    let kind: Option<PrincipalType> = call.query("thingPrincipalType").optional()?;
    let page = call.registry().list_principal_things(certificate, kind, &call.token_page()?).await?;
    let item =
        |(name, kind): &(ThingName, PrincipalType)| json!({"thingName": name, "thingPrincipalType": kind});
    Ok(Reply::members(json!({
        "principalThingObjects": page.items.iter().map(item).collect::<Vec<_>>(),
        "nextToken": call.next_token(page.next),
    })))
}
