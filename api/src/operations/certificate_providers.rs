//! The certificate provider (`spec/fleet-provisioning.md` section 9): the operator's program that signs what devices ask for.
use jitp_provisioner::ResourceKind;
use jitp_provisioner::names::CertificateProviderName;
use jitp_provisioner::records::CertificateProviderRecord;
use jitp_provisioner::registry::CreateCertificateProvider;
use serde::Deserialize;
use serde_json::{Value, json};

use super::tags;
use crate::call::Call;
use crate::error::ApiError;
use crate::reply::Reply;
use crate::text::Bounded;

type FunctionArn = Bounded<1, 2048>;
type ClientToken = Bounded<36, 64>;

/// What a provider can be the default for.
#[derive(Deserialize)]
enum Operation {
    CreateCertificateFromCsr,
}

pub(super) async fn create(call: &Call) -> Result<Reply, ApiError> {
    let function: FunctionArn = call.member("lambdaFunctionArn").required()?;
    let operations = call.member("accountDefaultForOperations").required()?;
    check_operations(operations)?;
    let token: Option<ClientToken> = call.member("clientToken").optional()?;
    if token.as_ref().is_some_and(|token| token.0.contains(char::is_whitespace)) {
        return Err(ApiError::invalid("clientToken", "expected no white space"));
    }
    let provider = CreateCertificateProvider {
        name: call.label("certificateProviderName").required()?,
        function_arn: function.0,
        client_token: token.map(|token| token.0),
        tags: tags::of_new(call)?,
    };
    let record = call.registry().create_certificate_provider(provider).await?;
    Ok(Reply::members(named(call, &record)))
}

pub(super) async fn describe(call: &Call) -> Result<Reply, ApiError> {
    let name: CertificateProviderName = call.label("certificateProviderName").required()?;
    let record = call.registry().certificate_provider(&name).await?;
    let mut members = named(call, &record);
    if let Value::Object(members) = &mut members {
        members.insert("lambdaFunctionArn".into(), record.function_arn.into());
        members.insert("accountDefaultForOperations".into(), json!(["CreateCertificateFromCsr"]));
        members.insert("creationDate".into(), record.created_at.epoch_seconds().into());
        members.insert("lastModifiedDate".into(), record.modified_at.epoch_seconds().into());
    }
    Ok(Reply::members(members))
}

/// There is at most one, so it is always one page.
pub(super) async fn list(call: &Call) -> Result<Reply, ApiError> {
    call.query::<bool>("isAscendingOrder").optional()?;
    call.first_page_only()?;
    let records = call.registry().certificate_providers().await?;
    let items: Vec<Value> = records.iter().map(|record| named(call, record)).collect();
    Ok(Reply::members(json!({"certificateProviders": items})))
}

pub(super) async fn update(call: &Call) -> Result<Reply, ApiError> {
    let name: CertificateProviderName = call.label("certificateProviderName").required()?;
    let function: Option<FunctionArn> = call.member("lambdaFunctionArn").optional()?;
    if let Some(operations) = call.member("accountDefaultForOperations").optional()? {
        check_operations(operations)?;
    }
    let record =
        call.registry().update_certificate_provider(&name, function.map(|function| function.0)).await?;
    Ok(Reply::members(named(call, &record)))
}

pub(super) async fn delete(call: &Call) -> Result<Reply, ApiError> {
    let name: CertificateProviderName = call.label("certificateProviderName").required()?;
    call.registry().delete_certificate_provider(&name).await?;
    Ok(Reply::nothing())
}

fn check_operations(operations: Vec<Operation>) -> Result<(), ApiError> {
    match operations.as_slice() {
        [Operation::CreateCertificateFromCsr] => Ok(()),
        _ => Err(ApiError::invalid("accountDefaultForOperations", "expected [\"CreateCertificateFromCsr\"]")),
    }
}

fn named(call: &Call, record: &CertificateProviderRecord) -> Value {
    json!({
        "certificateProviderName": record.name,
        "certificateProviderArn": call.arn(ResourceKind::CertificateProvider, &record.name),
    })
}
