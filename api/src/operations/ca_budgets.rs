//! The provisioning budget of a CA: how fast, and how many certificates, it may register by itself (`spec/jitp.md`
//! section 4).
use jitp_provisioner::names::CertificateId;
use jitp_provisioner::{CaBudget, UpdateCaBudget};
use serde_json::json;

use crate::call::Call;
use crate::error::ApiError;
use crate::reply::Reply;

/// `GET /jitp/v1/ca-certificates/{caCertificateId}/budget`.
pub(super) async fn get(call: &Call) -> Result<Reply, ApiError> {
    let ca: CertificateId = call.label("caCertificateId").required()?;
    answer(call, ca, call.registry().ca_budget(ca).await?).await
}

/// `PATCH /jitp/v1/ca-certificates/{caCertificateId}/budget`: `totalRuns` and `runsPerSecond`; absent leaves a limit as it
/// is, `null` lifts it.
pub(super) async fn update(call: &Call) -> Result<Reply, ApiError> {
    let ca: CertificateId = call.label("caCertificateId").required()?;
    let update = UpdateCaBudget {
        runs_per_second: call.nullable_member("runsPerSecond")?,
        total_runs: call.nullable_member("totalRuns")?,
    };
    answer(call, ca, call.registry().update_ca_budget(ca, update).await?).await
}

async fn answer(call: &Call, ca: CertificateId, budget: CaBudget) -> Result<Reply, ApiError> {
    let default = call.registry().options().runs_per_ca_per_second;
    Ok(Reply::members(json!({
        "caCertificateId": ca,
        "totalRuns": budget.total_runs,
        "usedRuns": call.registry().ca_budget_used(ca).await?,
        "runsPerSecond": budget.runs_per_second,
        "runsPerSecondInForce": budget.runs_per_second.unwrap_or(default),
    })))
}
