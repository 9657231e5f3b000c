//! Which registry events are published (`spec/control-plane.md` section 9).
use std::collections::BTreeMap;

use jitp_provisioner::records::EventConfigurations;
use serde::Deserialize;
use serde_json::json;

use crate::call::Call;
use crate::error::ApiError;
use crate::object::Object;
use crate::reply::Reply;

pub(super) async fn describe(call: &Call) -> Result<Reply, ApiError> {
    let record = call.registry().event_configurations().await?;
    let entry = |key: &'static str| (key, json!({"Enabled": record.is_enabled(key)}));
    Ok(Reply::members(json!({
        "eventConfigurations": EventConfigurations::KEYS.into_iter().map(entry).collect::<BTreeMap<_, _>>(),
        "creationDate": record.created_at.epoch_seconds(),
        "lastModifiedDate": record.modified_at.epoch_seconds(),
    })))
}

pub(super) async fn update(call: &Call) -> Result<Reply, ApiError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Configuration {
        enabled: Option<bool>,
    }
    let given: BTreeMap<String, Object<Configuration>> = call.member("eventConfigurations").or_default()?;
    let changes =
        given.into_iter().map(|(key, Object(value))| (key, value.enabled.unwrap_or(false))).collect();
    call.registry().update_event_configurations(&changes).await?;
    Ok(Reply::nothing())
}
