//! Registration tasks: bulk provisioning (`spec/control-plane.md` section 8).
use jitp_provisioner::RegistryError;
use jitp_provisioner::bulk::{ReportLink, ReportType, StartTask, TaskStatus};
use serde_json::json;

use super::templates::TemplateBody;
use crate::call::Call;
use crate::error::ApiError;
use crate::reply::Reply;
use crate::text::Bounded;

type TaskId = Bounded<1, 40>;

pub(super) async fn start(call: &Call) -> Result<Reply, ApiError> {
    let body: TemplateBody = call.member("templateBody").required()?;
    let bucket: Bounded<3, 256> = call.member("inputFileBucket").required()?;
    let key: Bounded<1, 1024> = call.member("inputFileKey").required()?;
    let role_arn: Bounded<20, 2048> = call.member("roleArn").required()?;
    let request = StartTask {
        template_body: body.0,
        bucket: bucket.0,
        key: key.0,
        role_arn: role_arn.0,
        region: call.region().into(),
    };
    let id = call.provisioner().registration_tasks().start(request).await?;
    Ok(Reply::members(json!({ "taskId": id })))
}

pub(super) async fn describe(call: &Call) -> Result<Reply, ApiError> {
    let id: TaskId = call.label("taskId").required()?;
    let task = call.provisioner().registration_tasks().describe(&id.0).await?;
    Ok(Reply::members(json!({
        "taskId": task.id,
        "creationDate": task.created_at.epoch_seconds(),
        "lastModifiedDate": task.modified_at.epoch_seconds(),
        "templateBody": task.template_body,
        "inputFileBucket": task.bucket,
        "inputFileKey": task.key,
        "roleArn": task.role_arn,
        "status": task.status,
        "message": task.message,
        "successCount": task.succeeded,
        "failureCount": task.failed,
        "percentageProgress": task.percentage,
    })))
}

pub(super) async fn list(call: &Call) -> Result<Reply, ApiError> {
    let status: Option<TaskStatus> = call.query("status").optional()?;
    let page = call.provisioner().registration_tasks().list(status, &call.token_page()?).await?;
    Ok(Reply::members(json!({ "taskIds": page.items, "nextToken": call.next_token(page.next) })))
}

pub(super) async fn stop(call: &Call) -> Result<Reply, ApiError> {
    let id: TaskId = call.label("taskId").required()?;
    call.provisioner().registration_tasks().stop(&id.0).await?;
    Ok(Reply::nothing())
}

/// A task has one report of each type; none is listed while it is empty.
pub(super) async fn list_reports(call: &Call) -> Result<Reply, ApiError> {
    let id: TaskId = call.label("taskId").required()?;
    let report: ReportType = call.query("reportType").required()?;
    call.token_page()?;
    let link = call.provisioner().registration_tasks().report_link(&id.0, report).await;
    // AWS's model has no other exception for this operation.
    let link = link.map_err(|error| match error {
        RegistryError::NotFound { .. } => ApiError::invalid("taskId", error),
        error => error.into(),
    })?;
    let links: Vec<String> = link.iter().map(|link| url(call, link)).collect();
    Ok(Reply::members(json!({ "resourceLinks": links, "reportType": report })))
}

/// The link as a URL of the API as the caller reached it.
fn url(call: &Call, link: &ReportLink) -> String {
    let forwarded = call.raw_header("x-forwarded-proto") == Some("https");
    let scheme = if call.shared().encrypted || forwarded { "https" } else { "http" };
    let host = call.raw_header("host").unwrap_or("localhost");
    let ReportLink { task_id, report, expires, signature } = link;
    let report = report.as_str();
    let expires = expires.millis();
    format!("{scheme}://{host}/jitp/v1/reports/{task_id}/{report}?expires={expires}&signature={signature}")
}
