//! Where devices connect (`spec/control-plane.md` section 9).
use serde::Deserialize;
use serde_json::json;

use crate::call::Call;
use crate::error::ApiError;
use crate::reply::Reply;

pub(super) async fn describe(call: &Call) -> Result<Reply, ApiError> {
    // One broker serves them all; the type is checked so that a typing error shows.
    let _: Option<EndpointType> = call.query("endpointType").optional()?;
    Ok(Reply::members(json!({"endpointAddress": call.shared().endpoint})))
}

#[derive(Deserialize)]
enum EndpointType {
    #[serde(rename = "iot:Data")]
    Data,
    #[serde(rename = "iot:Data-ATS")]
    DataAts,
    #[serde(rename = "iot:Data-Beta")]
    DataBeta,
    #[serde(rename = "iot:CredentialProvider")]
    CredentialProvider,
    #[serde(rename = "iot:Jobs")]
    Jobs,
}
