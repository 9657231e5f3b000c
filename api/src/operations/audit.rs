//! The audit log: which calls changed something, or tried to.
use jitp_provisioner::{AuditFilter, Timestamp};

use crate::call::Call;
use crate::error::ApiError;
use crate::log_reply;
use crate::reply::Reply;
use crate::text::Bounded;

/// `GET /jitp/v1/audit`: newest first. Filters `accessKeyId`, `operation`, `since` (milliseconds since the Unix epoch, as
/// in the reply); `limit` 1 to 1000; `before`, a sequence.
pub(super) async fn list(call: &Call) -> Result<Reply, ApiError> {
    log_reply::list(call, call.provisioner().audit().records(), &filter(call)?, "records").await
}

/// `GET /jitp/v1/audit/tail`: JSON lines, oldest first, as they happen; after the sequence `after`, else from now on. The
/// same filters. An empty line is a heartbeat.
pub(super) async fn tail(call: &Call) -> Result<Reply, ApiError> {
    log_reply::tail(call, call.provisioner().audit().records(), filter(call)?)
}

fn filter(call: &Call) -> Result<AuditFilter, ApiError> {
    let text = |name| -> Result<Option<String>, ApiError> {
        let text: Option<Bounded<1, 128>> = call.query(name).optional()?;
        Ok(text.map(|text| text.0))
    };
    Ok(AuditFilter {
        access_key_id: text("accessKeyId")?,
        operation: text("operation")?,
        since: call.query("since").optional()?.map(Timestamp),
    })
}
