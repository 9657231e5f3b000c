//! AWS's data plane, as far as operators call it: end a connection, publish a message, read what is retained
//! (`spec/control-plane.md` section 9).
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jitp_provisioner::{DataPlane, DeleteConnection, RetainedMessage};
use serde_json::json;

use crate::call::Call;
use crate::error::ApiError;
use crate::publication::{flag, user_properties_json};
use crate::reply::Reply;
use crate::text::Bounded;

/// DeleteConnection.
pub(super) async fn delete_connection(call: &Call) -> Result<Reply, ApiError> {
    let client_id = call.label::<Bounded<1, 128>>("clientId").required()?.0;
    if client_id.starts_with('$') {
        return Err(ApiError::invalid("clientId", "no client id starts with $"));
    }
    let given = |name: &'static str| call.raw_query(name).map_or(Ok(false), |text| flag(name, text));
    let how = DeleteConnection {
        clean_session: given("cleanSession")?,
        prevent_will: given("preventWillMessage")?,
    };
    match broker(call)?.delete_connection(&client_id, how) {
        true => Ok(Reply::empty()),
        false => Err(ApiError::not_found(format!("no client with the id {client_id:?} is connected"))),
    }
}

/// Publish.
pub(super) async fn publish(call: &Call) -> Result<Reply, ApiError> {
    broker(call)?.publish(call.publication()?).await?;
    Ok(Reply::empty())
}

/// GetRetainedMessage.
pub(super) async fn retained(call: &Call) -> Result<Reply, ApiError> {
    let topic: String = call.label("topic").required()?;
    let Some(found) = broker(call)?.retained(&topic) else {
        return Err(ApiError::not_found(format!("no message is retained on {topic:?}")));
    };
    let user_properties = (!found.user_properties.is_empty())
        .then(|| STANDARD.encode(user_properties_json(&found.user_properties)));
    Ok(Reply::members(json!({
        "topic": found.topic,
        "payload": STANDARD.encode(&found.payload),
        "qos": found.qos,
        "lastModifiedTime": found.modified.millis(),
        "userProperties": user_properties,
    })))
}

/// ListRetainedMessages.
pub(super) async fn list_retained(call: &Call) -> Result<Reply, ApiError> {
    let request = call.token_page_of_at_most(MOST_RETAINED)?;
    let page = broker(call)?.list_retained(request.after.as_deref(), request.limit);
    let item = |message: &RetainedMessage| {
        json!({
            "topic": message.topic,
            "payloadSize": message.payload.len(),
            "qos": message.qos,
            "lastModifiedTime": message.modified.millis(),
        })
    };
    let next = page.messages.last().filter(|_| page.more).map(|message| message.topic.to_string());
    Ok(Reply::members(json!({
        "retainedTopics": page.messages.iter().map(item).collect::<Vec<_>>(),
        "nextToken": call.next_token(next),
    })))
}

/// AWS's largest page of retained messages.
const MOST_RETAINED: usize = 200;

fn broker(call: &Call) -> Result<Arc<dyn DataPlane>, ApiError> {
    call.provisioner().data_plane().get().ok_or_else(ApiError::no_broker)
}
