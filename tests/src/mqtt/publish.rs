//! PUBLISH, both ways.
use super::V5;
use super::fields::{Rest, text};
use super::property::{Property, block};
use crate::wire::packet;
use anyhow::ensure;

/// A PUBLISH.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Publish {
    /// The DUP flag.
    pub dup: bool,
    /// The quality of service.
    pub qos: u8,
    /// The RETAIN flag.
    pub retain: bool,
    /// The topic as it stands in the packet: empty with an alias alone.
    pub topic: String,
    /// 0 for QoS 0.
    pub packet_id: u16,
    /// None in MQTT 3.1.1.
    pub properties: Vec<Property>,
    /// The payload.
    pub payload: Vec<u8>,
}

impl Publish {
    /// A message; [`super::Client::publish`] gives it its packet id.
    pub fn new(topic: &str, payload: &str, qos: u8) -> Self {
        Self { qos, topic: topic.to_owned(), payload: payload.into(), ..Self::default() }
    }

    /// With RETAIN.
    #[must_use]
    pub fn retained(self) -> Self {
        Self { retain: true, ..self }
    }

    /// With one more property.
    #[must_use]
    pub fn with(mut self, property: Property) -> Self {
        self.properties.push(property);
        self
    }

    /// With a packet id.
    #[must_use]
    pub fn id(self, packet_id: u16) -> Self {
        Self { packet_id, ..self }
    }

    /// The payload as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }

    /// The packet.
    pub fn encode(&self, level: u8) -> Vec<u8> {
        let mut body = text(&self.topic);
        if self.qos > 0 {
            body.extend(self.packet_id.to_be_bytes());
        }
        if level == V5 {
            body.extend(block(&self.properties));
        }
        body.extend(&self.payload);
        packet(0x30 | u8::from(self.dup) << 3 | self.qos << 1 | u8::from(self.retain), &body)
    }

    pub(super) fn decode(flags: u8, mut rest: Rest<'_>, level: u8) -> anyhow::Result<Self> {
        let (dup, qos, retain) = (flags & 8 != 0, flags >> 1 & 3, flags & 1 != 0);
        ensure!(qos < 3 && (qos > 0 || !dup), "PUBLISH with the flags {flags:04b}");
        let topic = rest.text()?;
        let packet_id = if qos > 0 { rest.short()? } else { 0 };
        ensure!(qos == 0 || packet_id > 0, "the packet id 0");
        let properties = if level == V5 { Property::decode_block(&mut rest)? } else { Vec::new() };
        let alias = properties.iter().any(|property| matches!(property, Property::TopicAlias(_)));
        ensure!(alias || !topic.is_empty(), "neither topic nor alias");
        ensure!(!topic.contains(['+', '#', '\0']), "the topic {topic:?}");
        Ok(Self { dup, qos, retain, topic, packet_id, properties, payload: rest.0.to_vec() })
    }
}
