//! From what the control plane, or a device over HTTP, asks to publish to a message: the checks that a PUBLISH packet
//! goes through as well (`spec/mqtt-behaviour.md` sections 2, 5 and 7).
use crate::backend::PublishError;
use crate::connection::Shared;
use crate::message::{Message, PayloadFormat, PublishProperties, QoS};
use crate::services::Reservation;
use jitp_provisioner::{Publication, PublicationError};

/// The message, if it keeps the limits and its topic is not reserved. Who may publish it is the caller's matter.
pub(crate) fn message(shared: &Shared, publication: Publication) -> Result<Message, PublicationError> {
    let most = shared.limits.payload_bytes;
    if publication.payload.len() > usize::try_from(most).unwrap_or(usize::MAX) {
        return Err(PublicationError::PayloadTooLarge { most });
    }
    let topic = publication.topic.as_str();
    if let Err(error) = shared.topics.check_topic(topic) {
        return Err(PublicationError::Invalid(format!("the topic cannot be used: {error}")));
    }
    if let Err(why) = Reservation::of(topic).check_publish() {
        return Err(PublicationError::Forbidden(format!("a message to {topic:?} is refused: {why}")));
    }
    if let Some(response) = &publication.response_topic
        && let Err(error) = shared.topics.check_topic(response)
    {
        return Err(PublicationError::Invalid(format!("the response topic cannot be used: {error}")));
    }
    let properties = properties(&publication);
    let texts = properties.user_properties.iter().flat_map(|(name, value)| [name, value]);
    if texts.chain(&properties.content_type).any(|text| text.contains('\0')) {
        return Err(PublicationError::Invalid("a content type or user property contains U+0000".into()));
    }
    shared
        .limits
        .check_properties(Some(&properties))
        .map_err(|problem| PublicationError::Invalid(format!("the message has {problem}")))?;

    let qos = if publication.at_least_once { QoS::AtLeastOnce } else { QoS::AtMostOnce };
    let mut message = Message::new(publication.topic, publication.payload, qos);
    message.retain = publication.retain;
    message.properties = (!properties.is_empty()).then(|| Box::new(properties));
    Ok(match publication.expiry {
        Some(expiry) => message.expiring_after(expiry.min(shared.limits.message_expiry)),
        None => message,
    })
}

/// Publishes it. A message that asks for an acknowledgement is stored when this returns, where it has to be.
pub(crate) async fn publish(shared: &Shared, message: Message) -> Result<(), PublicationError> {
    shared.figures.messages_received.increment(1);
    let published = shared.backend.publish_in_turns(message).await.map_err(|error| match error {
        PublishError::RetainedFull { .. } | PublishError::RetainedTooOften => {
            PublicationError::LimitExceeded(error.to_string())
        }
        PublishError::RetainedReserved => PublicationError::Invalid(error.to_string()),
        PublishError::NotStored => PublicationError::Unavailable(error.to_string()),
    })?;
    if let Some(lag) = &published.lag {
        shared.figures.publisher_waits.increment(1);
        lag.wait().await;
    }
    let stored = shared.backend.stored(published).await;
    stored.map_err(|error| PublicationError::Unavailable(error.to_string()))
}

fn properties(publication: &Publication) -> PublishProperties {
    let text = |text: &Option<String>| text.as_deref().map(Box::from);
    let user = publication.user_properties.iter();
    PublishProperties {
        payload_format: publication.payload_is_utf8.then_some(PayloadFormat::Utf8),
        content_type: text(&publication.content_type),
        response_topic: text(&publication.response_topic),
        correlation_data: publication.correlation_data.clone(),
        user_properties: user.map(|(name, value)| (name.as_str().into(), value.as_str().into())).collect(),
    }
}
