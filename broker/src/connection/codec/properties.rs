//! Property blocks: which properties a packet may carry, each at most once (OASIS MQTT 5.0 section 2.2.2).
use super::Violation;
use super::reader::Reader;
use crate::message::{PayloadFormat, PublishProperties};
use bytes::Bytes;
use mqtt_protocol_core::mqtt::packet::{Property, PropertyId};
use mqtt_protocol_core::mqtt::result_code::{DisconnectReasonCode, MqttError};
use std::time::Duration;

/// Reads a property block. Only `allowed` properties may occur, and User Property alone more than once.
pub(super) fn read(reader: &mut Reader<'_>, allowed: &[PropertyId]) -> Result<Vec<Property>, Violation> {
    let length = reader.variable()?;
    let mut block = reader.take(usize::try_from(length).unwrap_or(usize::MAX))?;
    let mut properties: Vec<Property> = Vec::new();
    while !block.is_empty() {
        let (property, used) = Property::parse(block).map_err(|error| unreadable(block, error))?;
        check_encoding(&property, used)?;
        block = block.get(used..).unwrap_or_default();
        let id = property.id();
        if !allowed.contains(&id) {
            return Err(Violation::malformed(format!(
                "the property {} in a packet where it does not belong",
                id.as_str()
            )));
        }
        if id != PropertyId::UserProperty && properties.iter().any(|p| p.id() == id) {
            return Err(Violation::protocol(format!("the property {} twice", id.as_str())));
        }
        properties.push(property);
    }
    Ok(properties)
}

fn unreadable(block: &[u8], error: MqttError) -> Violation {
    match (block.first(), error) {
        (Some(&id), MqttError::ProtocolError) if id == PropertyId::TopicAlias.as_u8() => {
            Violation::new(DisconnectReasonCode::TopicAliasInvalid, "the topic alias 0")
        }
        (_, MqttError::ProtocolError) => Violation::protocol("a property with a value that is not allowed"),
        _ => Violation::malformed("a property that cannot be read"),
    }
}

/// What `mqtt-protocol-core` lets pass: U+0000 in a string, and an integer in more bytes than it needs.
fn check_encoding(property: &Property, used: usize) -> Result<(), Violation> {
    let has_nul = match property {
        Property::ContentType(p) => p.val().contains('\0'),
        Property::ResponseTopic(p) => p.val().contains('\0'),
        Property::AuthenticationMethod(p) => p.val().contains('\0'),
        Property::ReasonString(p) => p.val().contains('\0'),
        Property::UserProperty(p) => p.key().contains('\0') || p.val().contains('\0'),
        // The others are not strings, or only servers may send them.
        _ => false,
    };
    if has_nul {
        return Err(Violation::malformed("a property that contains U+0000"));
    }
    if used > property.size() {
        return Err(Violation::malformed("a variable byte integer that is longer than need be"));
    }
    Ok(())
}

/// What a PUBLISH or a will carries to its receivers.
#[derive(Debug, Default)]
pub(super) struct Carried {
    pub properties: PublishProperties,
    pub expiry: Option<Duration>,
    pub topic_alias: Option<u16>,
    pub will_delay: Duration,
}

impl Carried {
    pub(super) fn new(properties: Vec<Property>) -> Result<Self, Violation> {
        let mut carried = Self::default();
        for property in properties {
            match property {
                Property::PayloadFormatIndicator(p) => {
                    carried.properties.payload_format = Some(match p.val() {
                        1 => PayloadFormat::Utf8,
                        _ => PayloadFormat::Bytes,
                    });
                }
                Property::MessageExpiryInterval(p) => {
                    carried.expiry = Some(Duration::from_secs(u64::from(p.val().max(1))));
                }
                Property::TopicAlias(p) => carried.topic_alias = Some(p.val()),
                Property::WillDelayInterval(p) => {
                    carried.will_delay = Duration::from_secs(u64::from(p.val()))
                }
                Property::ContentType(p) => {
                    carried.properties.content_type = Some(p.val().into());
                }
                Property::ResponseTopic(p) => {
                    if p.val().is_empty() || p.val().contains(['+', '#']) {
                        return Err(Violation::protocol("a Response Topic that is empty or has wildcards"));
                    }
                    carried.properties.response_topic = Some(p.val().into());
                }
                Property::CorrelationData(p) => {
                    carried.properties.correlation_data = Some(Bytes::copy_from_slice(p.val()));
                }
                Property::UserProperty(p) => {
                    carried.properties.user_properties.push((p.key().into(), p.val().into()));
                }
                _ => {}
            }
        }
        Ok(carried)
    }

    pub(super) fn boxed(properties: PublishProperties) -> Option<Box<PublishProperties>> {
        (!properties.is_empty()).then(|| Box::new(properties))
    }
}
