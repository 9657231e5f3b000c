//! What another version of a template would have decided (`docs/replay.md`). Nothing is written.
use jitp_provisioner::names::TemplateName;
use jitp_provisioner::{ReplayRequest, Timestamp};

use crate::call::Call;
use crate::error::ApiError;
use crate::reply::Reply;

/// Attempts that one call looks at when the caller does not say.
const DEFAULT_LIMIT: usize = 250;

/// `POST /jitp/v1/replay`: `templateName`, `versionId`; attempts from `since` (milliseconds since the Unix epoch) on, `limit` 1
/// to 1000 of them, older than the sequence `before`.
pub(super) async fn replay(call: &Call) -> Result<Reply, ApiError> {
    let template: TemplateName = call.member("templateName").required()?;
    let limit = call.member::<u32>("limit").optional()?.map_or(DEFAULT_LIMIT, |limit| limit as usize);
    if !(1..=1000).contains(&limit) {
        return Err(ApiError::invalid("limit", format_args!("expected 1 to 1000, got {limit}")));
    }
    let request = ReplayRequest {
        template,
        version: call.member("versionId").required()?,
        since: Timestamp(call.member("since").or_default()?),
        before: call.member("before").optional()?,
        limit,
    };
    Reply::document(&call.provisioner().replay(&request).await?)
}
