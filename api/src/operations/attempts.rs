//! The attempt log: who tried to connect or was provisioned, and what came of it (`spec/jitp.md` section 7).
use jitp_provisioner::{AttemptFilter, Outcome, ReasonCode, Timestamp};
use serde::Deserialize;
use serde::de::Error as _;

use crate::call::Call;
use crate::error::ApiError;
use crate::log_reply;
use crate::reply::Reply;
use crate::text::Bounded;

/// `GET /jitp/v1/attempts`: newest first. Filters `outcome`, `reason`, `certificateId`, `caCertificateId`, `clientId`,
/// `since` (milliseconds since the Unix epoch, as in the reply); `limit` 1 to 1000; `before`, a sequence.
pub(super) async fn list(call: &Call) -> Result<Reply, ApiError> {
    log_reply::list(call, call.provisioner().attempt_log(), &filter(call)?, "attempts").await
}

/// `GET /jitp/v1/attempts/tail`: JSON lines, oldest first, as they happen; after the sequence `after`, else from now on.
/// The same filters. An empty line is a heartbeat.
pub(super) async fn tail(call: &Call) -> Result<Reply, ApiError> {
    log_reply::tail(call, call.provisioner().attempt_log(), filter(call)?)
}

fn filter(call: &Call) -> Result<AttemptFilter, ApiError> {
    let client_id: Option<Bounded<0, 65_535>> = call.query("clientId").optional()?;
    Ok(AttemptFilter {
        outcome: call.query::<Outcome>("outcome").optional()?,
        reason: call.query::<Reason>("reason").optional()?.map(|Reason(code)| code),
        certificate_id: call.query("certificateId").optional()?,
        ca_certificate_id: call.query("caCertificateId").optional()?,
        client_id: client_id.map(|client_id| client_id.0),
        since: call.query("since").optional()?.map(Timestamp),
    })
}

/// A reason code.
struct Reason(ReasonCode);
impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(D::Error::custom)
    }
}
