//! What this process is and how it fares, at a glance.
use serde_json::json;

use super::{OperationRoute, operations};
use crate::call::Call;
use crate::error::ApiError;
use crate::health::readiness;
use crate::reply::Reply;

/// `GET /jitp/v1/operations`: what this API answers.
pub(super) async fn list_operations(_: &Call) -> Result<Reply, ApiError> {
    let item = |route: OperationRoute| {
        json!({
            "operation": route.operation,
            "method": route.method,
            "path": route.path,
            "right": format!("{:?}", route.right).to_lowercase(),
        })
    };
    Reply::document(&json!({"operations": operations().map(item).collect::<Vec<_>>()}))
}

/// `GET /jitp/v1/status`.
pub(super) async fn get(call: &Call) -> Result<Reply, ApiError> {
    let (_, health) = readiness(&call.provisioner().health());
    Reply::document(&json!({
        "version": env!("CARGO_PKG_VERSION"),
        "account": call.registry().account(),
        "region": call.registry().region(),
        "endpoint": call.shared().endpoint,
        "bulkDirectory": call.provisioner().registration_tasks().directory(),
        "time": call.provisioner().clock().now(),
        "revision": call.provisioner().changes().latest(),
        "health": health,
    }))
}
