//! What a connected client sends.
use super::properties::{self, Carried};
use super::reader::Reader;
use super::{Frame, Violation};
use crate::backend::{ProtocolVersion, RetainHandling, SubscribeOptions};
use crate::message::{PublishProperties, QoS};
use mqtt_protocol_core::mqtt::packet::{PacketType, Property, PropertyId};
use mqtt_protocol_core::mqtt::result_code::DisconnectReasonCode;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

/// One packet of a connected client.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Inbound<'a> {
    Publish(InboundPublish<'a>),
    Puback {
        packet_id: u16,
    },
    Pubrec {
        packet_id: u16,
        /// The client refuses the message: nothing follows.
        refused: bool,
    },
    Pubrel {
        packet_id: u16,
    },
    Pubcomp {
        packet_id: u16,
    },
    Subscribe {
        packet_id: u16,
        subscriptions: Vec<Subscription<'a>>,
    },
    Unsubscribe {
        packet_id: u16,
        filters: Vec<&'a str>,
    },
    Pingreq,
    Disconnect {
        /// DISCONNECT 0x04, or any error code: the will is published.
        with_will: bool,
        session_expiry: Option<u32>,
    },
}

/// A PUBLISH.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct InboundPublish<'a> {
    pub topic: PublishTopic<'a>,
    /// 0 for QoS 0.
    pub packet_id: u16,
    pub qos: QoS,
    pub retain: bool,
    pub payload: &'a [u8],
    pub properties: Option<Box<PublishProperties>>,
    pub expiry: Option<Duration>,
}

/// The topic as sent, or the one that an alias stands for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum PublishTopic<'a> {
    Named(&'a str),
    Aliased(Arc<str>),
}

impl PublishTopic<'_> {
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Named(topic) => topic,
            Self::Aliased(topic) => topic,
        }
    }
}

/// One filter of a SUBSCRIBE.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Subscription<'a> {
    pub filter: &'a str,
    pub options: SubscribeOptions,
}

/// The topic aliases that a client has set, 1 to the maximum that CONNACK announced.
#[derive(Debug)]
pub(crate) struct Aliases {
    maximum: u16,
    topics: Vec<Option<Arc<str>>>,
}

impl Aliases {
    pub(crate) fn new(maximum: u16) -> Self {
        Self { maximum, topics: Vec::new() }
    }

    /// Aliases that memory is held for.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn held(&self) -> usize {
        self.topics.len()
    }

    fn resolve<'a>(&mut self, topic: &'a str, alias: Option<u16>) -> Result<PublishTopic<'a>, Violation> {
        let Some(alias) = alias else {
            return match topic {
                "" => Err(Violation::protocol("a PUBLISH with neither topic nor topic alias")),
                _ => Ok(PublishTopic::Named(topic)),
            };
        };
        let invalid = || {
            let message = format!("the topic alias {alias} is not within 1 to {}", self.maximum);
            Violation::new(DisconnectReasonCode::TopicAliasInvalid, message)
        };
        let index =
            usize::from(alias).checked_sub(1).filter(|_| alias <= self.maximum).ok_or_else(invalid)?;
        if topic.is_empty() {
            let known = self.topics.get(index).cloned().flatten();
            return known.map(PublishTopic::Aliased).ok_or_else(|| {
                Violation::protocol(format!("a PUBLISH with the topic alias {alias}, which is not set"))
            });
        }
        let topic: Arc<str> = topic.into();
        if self.topics.len() <= index {
            self.topics.resize(index + 1, None);
        }
        if let Some(slot) = self.topics.get_mut(index) {
            *slot = Some(Arc::clone(&topic));
        }
        Ok(PublishTopic::Aliased(topic))
    }
}

impl<'a> Inbound<'a> {
    /// Reads a packet. A second CONNECT, and AUTH, are protocol errors.
    pub(crate) fn parse(
        frame: &Frame<'a>,
        version: ProtocolVersion,
        aliases: &mut Aliases,
    ) -> Result<Self, Violation> {
        let mut reader = Reader::new(frame.body);
        let v5 = version == ProtocolVersion::V5;
        if v5 && frame.padded {
            return Err(Violation::malformed("a remaining length that is longer than need be"));
        }
        match frame.kind {
            PacketType::Publish => publish(frame.flags, reader, v5, aliases).map(Self::Publish),
            PacketType::Puback => {
                acknowledgement(reader, v5, RECEIVED).map(|(packet_id, _)| Self::Puback { packet_id })
            }
            PacketType::Pubrec => acknowledgement(reader, v5, RECEIVED)
                .map(|(packet_id, code)| Self::Pubrec { packet_id, refused: code >= 0x80 }),
            PacketType::Pubrel => {
                acknowledgement(reader, v5, RELEASED).map(|(packet_id, _)| Self::Pubrel { packet_id })
            }
            PacketType::Pubcomp => {
                acknowledgement(reader, v5, RELEASED).map(|(packet_id, _)| Self::Pubcomp { packet_id })
            }
            PacketType::Subscribe => subscribe(reader, v5),
            PacketType::Unsubscribe => unsubscribe(reader, v5),
            PacketType::Pingreq => reader.end().map(|()| Self::Pingreq),
            PacketType::Disconnect if reader.is_empty() => {
                Ok(Self::Disconnect { with_will: false, session_expiry: None })
            }
            PacketType::Disconnect if v5 => disconnect(&mut reader),
            PacketType::Disconnect => Err(Violation::malformed("a DISCONNECT with a body")),
            PacketType::Connect => Err(Violation::protocol("a second CONNECT")),
            PacketType::Auth => {
                Err(Violation::protocol("an AUTH without an Authentication Method in CONNECT"))
            }
            _ => Err(Violation::protocol("a packet that only servers may send")),
        }
    }
}

fn publish<'a>(
    flags: u8,
    mut reader: Reader<'a>,
    v5: bool,
    aliases: &mut Aliases,
) -> Result<InboundPublish<'a>, Violation> {
    let qos = qos(flags >> 1 & 0b11)?;
    let topic = reader.text()?;
    let packet_id = if qos == QoS::AtMostOnce { 0 } else { reader.packet_id()? };
    let carried = match v5 {
        true => Carried::new(properties::read(&mut reader, PUBLISH_PROPERTIES)?)?,
        false => Carried::default(),
    };
    Ok(InboundPublish {
        topic: aliases.resolve(topic, carried.topic_alias)?,
        packet_id,
        qos,
        retain: flags & 1 != 0,
        payload: reader.rest(),
        properties: Carried::boxed(carried.properties),
        expiry: carried.expiry,
    })
}

const PUBLISH_PROPERTIES: &[PropertyId] = &[
    PropertyId::PayloadFormatIndicator,
    PropertyId::MessageExpiryInterval,
    PropertyId::TopicAlias,
    PropertyId::ResponseTopic,
    PropertyId::CorrelationData,
    PropertyId::UserProperty,
    PropertyId::ContentType,
];

/// Reason codes of PUBACK and PUBREC.
const RECEIVED: &[u8] = &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
/// Reason codes of PUBREL and PUBCOMP.
const RELEASED: &[u8] = &[0x00, 0x92];
/// Reason codes of DISCONNECT that a client may send.
const GOODBYES: &[u8] = &[0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99];

fn reason_code(reader: &mut Reader<'_>, packet: &str, known: &[u8]) -> Result<u8, Violation> {
    match reader.byte()? {
        code if known.contains(&code) => Ok(code),
        code => Err(Violation::malformed(format!(
            "{packet} with the reason code {code:#04x}, which it cannot have"
        ))),
    }
}

/// Packet identifier and reason code of PUBACK, PUBREC, PUBREL, PUBCOMP.
fn acknowledgement(mut reader: Reader<'_>, v5: bool, codes: &[u8]) -> Result<(u16, u8), Violation> {
    let packet_id = reader.packet_id()?;
    if !v5 || reader.is_empty() {
        return reader.end().map(|()| (packet_id, 0));
    }
    let code = reason_code(&mut reader, "an acknowledgement", codes)?;
    if !reader.is_empty() {
        properties::read(&mut reader, &[PropertyId::ReasonString, PropertyId::UserProperty])?;
    }
    reader.end().map(|()| (packet_id, code))
}

fn subscribe(mut reader: Reader<'_>, v5: bool) -> Result<Inbound<'_>, Violation> {
    let packet_id = reader.packet_id()?;
    let mut identifier = None;
    if v5 {
        let allowed = [PropertyId::SubscriptionIdentifier, PropertyId::UserProperty];
        for property in properties::read(&mut reader, &allowed)? {
            if let Property::SubscriptionIdentifier(p) = property {
                identifier = NonZeroU32::new(p.val());
            }
        }
    }
    let mut subscriptions = Vec::new();
    while !reader.is_empty() {
        let filter = reader.text()?;
        let options = subscribe_options(reader.byte()?, v5, identifier)?;
        subscriptions.push(Subscription { filter, options });
    }
    if subscriptions.is_empty() {
        return Err(Violation::protocol("a SUBSCRIBE without a filter"));
    }
    Ok(Inbound::Subscribe { packet_id, subscriptions })
}

fn subscribe_options(
    byte: u8,
    v5: bool,
    identifier: Option<NonZeroU32>,
) -> Result<SubscribeOptions, Violation> {
    let reserved = if v5 { 0b1100_0000 } else { 0b1111_1100 };
    if byte & reserved != 0 {
        return Err(Violation::malformed("subscription options with reserved bits"));
    }
    let retain_handling = match byte >> 4 & 0b11 {
        0 => RetainHandling::Send,
        1 => RetainHandling::SendIfNew,
        2 => RetainHandling::DoNotSend,
        _ => return Err(Violation::protocol("the Retain Handling 3")),
    };
    Ok(SubscribeOptions {
        qos: qos(byte & 0b11)?,
        no_local: byte & 0b0100 != 0,
        retain_as_published: byte & 0b1000 != 0,
        retain_handling,
        identifier,
    })
}

fn unsubscribe(mut reader: Reader<'_>, v5: bool) -> Result<Inbound<'_>, Violation> {
    let packet_id = reader.packet_id()?;
    if v5 {
        properties::read(&mut reader, &[PropertyId::UserProperty])?;
    }
    let mut filters = Vec::new();
    while !reader.is_empty() {
        filters.push(reader.text()?);
    }
    if filters.is_empty() {
        return Err(Violation::protocol("an UNSUBSCRIBE without a filter"));
    }
    Ok(Inbound::Unsubscribe { packet_id, filters })
}

fn disconnect(reader: &mut Reader<'_>) -> Result<Inbound<'static>, Violation> {
    let code = reason_code(reader, "a DISCONNECT", GOODBYES)?;
    let mut session_expiry = None;
    if !reader.is_empty() {
        let allowed = [PropertyId::SessionExpiryInterval, PropertyId::ReasonString, PropertyId::UserProperty];
        for property in properties::read(reader, &allowed)? {
            if let Property::SessionExpiryInterval(p) = property {
                session_expiry = Some(p.val());
            }
        }
    }
    reader.end()?;
    Ok(Inbound::Disconnect { with_will: code != 0, session_expiry })
}

fn qos(bits: u8) -> Result<QoS, Violation> {
    match bits {
        0 => Ok(QoS::AtMostOnce),
        1 => Ok(QoS::AtLeastOnce),
        2 => Ok(QoS::ExactlyOnce),
        _ => Err(Violation::malformed("the QoS 3")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::next_frame;
    use super::*;
    use crate::message::PayloadFormat;
    use ProtocolVersion::{V5, V311};
    use proptest::prelude::*;

    fn code(bytes: &[u8], version: ProtocolVersion) -> DisconnectReasonCode {
        let (frame, _) = next_frame(bytes, 1000).unwrap().unwrap();
        Inbound::parse(&frame, version, &mut Aliases::new(2)).unwrap_err().code
    }
    fn parse(bytes: &[u8], version: ProtocolVersion) -> Inbound<'_> {
        let (frame, _) = next_frame(bytes, 1000).unwrap().unwrap();
        Inbound::parse(&frame, version, &mut Aliases::new(2)).unwrap()
    }

    #[test]
    fn a_publish_is_read_in_both_versions() {
        let Inbound::Publish(p) = parse(b"\x33\x07\0\x01t\0\x09hi", V311) else { panic!() };
        assert_eq!((p.topic.as_str(), p.packet_id, p.payload), ("t", 9, &b"hi"[..]));
        assert_eq!((p.qos, p.retain, p.expiry), (QoS::AtLeastOnce, true, None));
        let Inbound::Publish(p) = parse(b"\x30\x0d\0\x01t\x07\x01\x01\x02\0\0\0\0hi", V5) else { panic!() };
        assert_eq!((p.payload, p.expiry), (&b"hi"[..], Some(Duration::from_secs(1))));
        assert_eq!(p.properties.unwrap().payload_format, Some(PayloadFormat::Utf8));
    }

    #[test]
    fn an_alias_stands_for_the_topic_that_set_it() {
        let mut aliases = Aliases::new(2);
        let mut topic = |bytes: &[u8]| {
            let (frame, _) = next_frame(bytes, 1000).unwrap().unwrap();
            match Inbound::parse(&frame, V5, &mut aliases) {
                Ok(Inbound::Publish(p)) => Ok(p.topic.as_str().to_owned()),
                other => Err(other.unwrap_err().code),
            }
        };
        assert_eq!(topic(b"\x30\x06\0\0\x03\x23\0\x02"), Err(DisconnectReasonCode::ProtocolError));
        assert_eq!(topic(b"\x30\x07\0\x01t\x03\x23\0\x02").as_deref(), Ok("t"));
        assert_eq!(topic(b"\x30\x06\0\0\x03\x23\0\x02").as_deref(), Ok("t"));
        for alias in [0, 3] {
            let packet = [&b"\x30\x07\0\x01t\x03\x23\0"[..], &[alias]].concat();
            assert_eq!(topic(&packet), Err(DisconnectReasonCode::TopicAliasInvalid), "{alias}");
        }
        assert_eq!(topic(b"\x30\x03\0\0\0"), Err(DisconnectReasonCode::ProtocolError));
    }

    #[test]
    fn options_of_a_subscription_are_read() {
        let packet = b"\x82\x0b\0\x07\x02\x0b\x05\0\x03a/+\x1d";
        let Inbound::Subscribe { packet_id: 7, subscriptions } = parse(packet, V5) else { panic!() };
        let options = subscriptions[0].options;
        assert_eq!(subscriptions[0].filter, "a/+");
        assert_eq!(
            (options.qos, options.no_local, options.retain_as_published),
            (QoS::AtLeastOnce, true, true)
        );
        assert_eq!(options.retain_handling, RetainHandling::SendIfNew);
        assert_eq!(options.identifier, NonZeroU32::new(5));
    }

    #[test]
    fn violations_have_the_code_of_the_specification() {
        use DisconnectReasonCode::{MalformedPacket, ProtocolError};
        for (packet, version, expected) in [
            (&b"\x10\x00"[..], V5, ProtocolError),                 // second CONNECT
            (b"\xf0\x00", V5, ProtocolError),                      // AUTH
            (b"\x82\x02\0\x07", V311, ProtocolError),              // no filter
            (b"\x82\x06\0\x07\0\x01a\x03", V311, MalformedPacket), // QoS 3
            (b"\x82\x06\0\x07\0\x01a\x05", V311, MalformedPacket), // options of version 5
            (b"\x82\x06\0\0\0\x01a\x01", V311, ProtocolError),     // packet identifier 0
            (b"\x30\x05\0\x05abc", V311, MalformedPacket),         // too short
            (b"\x30\x03\0\x01\xff", V311, MalformedPacket),        // not UTF-8
            (b"\x30\x03\0\x01\0", V311, MalformedPacket),          // U+0000
            (b"\x30\x06\0\x01t\x02\x0b\x01", V5, MalformedPacket), // Subscription Identifier from a client
            (b"\x30\x09\0\x01t\x05\x11\0\0\0\x01", V5, MalformedPacket), // a property of CONNECT
            (b"\x30\x08\0\x01t\x04\x03\0\x01\0", V5, MalformedPacket), // U+0000 in a property
            (b"\x30\x05\0\x01t\x80\0", V5, MalformedPacket),       // properties' length in two bytes
            (b"\x82\x0a\0\x07\x03\x0b\x85\0\0\x01a\0", V5, MalformedPacket), // identifier in two bytes
            (b"\x82\x09\0\x07\x02\x0b\0\0\x01a\0", V5, ProtocolError), // Subscription Identifier 0
            (b"\xc0\x80\0", V5, MalformedPacket),                  // remaining length in two bytes
            (b"\x40\x03\0\x07\x92", V5, MalformedPacket),          // a reason code of PUBCOMP
            (b"\x70\x03\0\x07\x10", V5, MalformedPacket),          // a reason code of PUBACK
            (b"\xe0\x01\x8b", V5, MalformedPacket),                // a reason code of servers
            (b"\xe0\x01\x04", V311, MalformedPacket),
            (b"\xe0\x01\x05", V5, MalformedPacket),
        ] {
            assert_eq!(code(packet, version), expected, "{packet:?}");
        }
    }

    #[test]
    fn a_disconnect_says_whether_the_will_is_sent() {
        let disconnect = |bytes| parse(bytes, V5);
        assert_eq!(disconnect(b"\xe0\x00"), Inbound::Disconnect { with_will: false, session_expiry: None });
        assert_eq!(
            disconnect(b"\xe0\x01\x04"),
            Inbound::Disconnect { with_will: true, session_expiry: None }
        );
        let packet = b"\xe0\x07\x00\x05\x11\0\0\0\x09";
        assert_eq!(disconnect(packet), Inbound::Disconnect { with_will: false, session_expiry: Some(9) });
    }

    proptest! {
        #[test]
        fn no_input_panics(first in any::<u8>(), body in proptest::collection::vec(any::<u8>(), 0..120), v5: bool) {
            let packet = [&[first, body.len() as u8][..], &body].concat();
            if let Ok(Some((frame, _))) = next_frame(&packet, 1000) {
                let _ = Inbound::parse(&frame, if v5 { V5 } else { V311 }, &mut Aliases::new(3));
            }
        }
    }
}
