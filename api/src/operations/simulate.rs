//! The dry run of a template over a certificate: nothing is written.
use jitp_provisioner::names::TemplateName;

use super::certificates::Pem;
use super::templates::TemplateBody;
use crate::call::Call;
use crate::error::ApiError;
use crate::reply::Reply;

/// `POST /jitp/v1/simulate`: `certificatePem` with `templateBody`, or with `templateName` for a stored template's default
/// version.
pub(super) async fn simulate(call: &Call) -> Result<Reply, ApiError> {
    let certificate: Pem = call.member("certificatePem").required()?;
    let body: Option<TemplateBody> = call.member("templateBody").optional()?;
    let name: Option<TemplateName> = call.member("templateName").optional()?;
    let body = match (body, name) {
        (Some(body), None) => body.0,
        (None, Some(name)) => {
            let version = call.registry().template(&name).await?.default_version;
            call.registry().template_version(&name, version).await?.body
        }
        _ => return Err(ApiError::invalid("templateBody", "give either this or templateName")),
    };
    Reply::document(&call.provisioner().simulate(&body, &certificate.0).await?)
}
