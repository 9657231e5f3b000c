//! Logging options (`spec/control-plane.md` section 9): kept and given back; the configuration says what jitp logs.
use jitp_provisioner::records::{LogEventConfiguration, LogLevel, LoggingOptions};
use serde::Deserialize;
use serde_json::json;

use crate::call::Call;
use crate::error::ApiError;
use crate::object::Object;
use crate::reply::Reply;
use crate::text::{Bounded, Marks, Plain};

/// The name of a log group.
struct LogGroup;
impl Marks for LogGroup {
    const MARKS: &'static str = ".-_/#";
}

pub(super) async fn get(call: &Call) -> Result<Reply, ApiError> {
    let verbose: bool = call.query("verbose").or_default()?;
    let Some(options) = call.registry().logging_options().await? else {
        return Err(ApiError::not_configured("logging options have not been set: set them first"));
    };
    Ok(Reply::members(json!({
        "roleArn": options.role_arn,
        "defaultLogLevel": options.default_log_level,
        "disableAllLogs": options.disable_all_logs.unwrap_or(false),
        "eventConfigurations": options.event_configurations.filter(|_| verbose),
    })))
}

pub(super) async fn set(call: &Call) -> Result<Reply, ApiError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Event {
        event_type: Bounded<1, 512>,
        log_level: Option<LogLevel>,
        log_destination: Option<Plain<LogGroup, 512>>,
    }
    let events: Option<Vec<Object<Event>>> = call.member("eventConfigurations").optional()?;
    let role_arn: Option<Bounded<0, 2048>> = call.member("roleArn").optional()?;
    let read = |Object(event): Object<Event>| LogEventConfiguration {
        event_type: event.event_type.0,
        log_level: event.log_level,
        log_destination: event.log_destination.map(|text| text.0),
    };
    let options = LoggingOptions {
        role_arn: role_arn.map(|arn| arn.0),
        default_log_level: call.member("defaultLogLevel").optional()?,
        disable_all_logs: call.member("disableAllLogs").optional()?,
        event_configurations: events.map(|events| events.into_iter().map(read).collect()),
    };
    call.registry().set_logging_options(options).await?;
    Ok(Reply::nothing())
}
