//! CONNECT: what a client asks for, or what it is told instead (OASIS MQTT 5.0 section 3.1, 3.1.1 section
//! 3.1).
use super::outbound::{ASSIGNED_CLIENT_ID, LARGEST_CONNACK, SHORTEST_CONNACK};
use super::properties::{self, Carried};
use super::reader::Reader;
use super::{Violation, frame::Frame};
use crate::backend::ProtocolVersion;
use crate::message::{PublishProperties, QoS};
use mqtt_protocol_core::mqtt::packet::{Property, PropertyId};
use mqtt_protocol_core::mqtt::result_code::{ConnectReasonCode, DisconnectReasonCode};
use std::time::Duration;

/// Longest client id in bytes (`spec/mqtt-behaviour.md` section 2).
const MAX_CLIENT_ID: usize = 128;

/// A CONNECT that can be answered. User name and password are not kept: the certificate says who it is
/// (`spec/mqtt-behaviour.md` section 3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Connect {
    pub version: ProtocolVersion,
    /// Empty: the broker assigns one.
    pub client_id: String,
    pub clean_start: bool,
    /// Seconds, as asked for.
    pub keep_alive: u16,
    pub will: Option<WillRequest>,
    /// Session Expiry Interval in seconds; 0 for 3.1.1, where [`Connect::clean_start`] decides.
    pub session_expiry: u32,
    pub receive_maximum: u16,
    /// The largest packet that the client takes.
    pub maximum_packet_size: u32,
    /// Topic aliases that the client takes.
    pub topic_alias_maximum: u16,
}

/// The will of a CONNECT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WillRequest {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: QoS,
    pub retain: bool,
    pub properties: Option<Box<PublishProperties>>,
    pub message_expiry: Option<Duration>,
    pub delay: Duration,
}

/// The answer to a CONNECT that is refused, in both versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConnackCode {
    /// `None`: 3.1.1 has no code for it, the connection is just closed.
    pub v311: Option<u8>,
    pub v5: ConnectReasonCode,
}

impl ConnackCode {
    pub(crate) const UNSUPPORTED_VERSION: Self = Self::both(1, ConnectReasonCode::UnsupportedProtocolVersion);
    pub(crate) const BAD_CLIENT_ID: Self = Self::both(2, ConnectReasonCode::ClientIdentifierNotValid);
    pub(crate) const UNAVAILABLE: Self = Self::both(3, ConnectReasonCode::ServerUnavailable);
    pub(crate) const QUOTA: Self = Self::both(3, ConnectReasonCode::QuotaExceeded);
    pub(crate) const NOT_AUTHORIZED: Self = Self::both(5, ConnectReasonCode::NotAuthorized);
    pub(crate) const EXHAUSTED: Self = Self::both(5, ConnectReasonCode::QuotaExceeded);
    pub(crate) const WILL_TOPIC: Self = Self::only_v5(ConnectReasonCode::TopicNameInvalid);
    pub(crate) const WILL_QOS: Self = Self::only_v5(ConnectReasonCode::QosNotSupported);
    pub(crate) const TOO_LARGE: Self = Self::only_v5(ConnectReasonCode::PacketTooLarge);
    pub(crate) const SUPERSEDED: Self = Self::only_v5(ConnectReasonCode::ServerBusy);

    const fn both(v311: u8, v5: ConnectReasonCode) -> Self {
        Self { v311: Some(v311), v5 }
    }
    const fn only_v5(v5: ConnectReasonCode) -> Self {
        Self { v311: None, v5 }
    }
}

/// A CONNECT that is refused before anyone asks who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConnectRefused {
    /// How to answer; `None`: not even the version is known, so just close.
    pub answer: Option<(ProtocolVersion, ConnackCode)>,
    /// For the log.
    pub message: String,
}

impl Connect {
    /// Reads the body of a CONNECT.
    pub(crate) fn parse(frame: &Frame<'_>) -> Result<Self, ConnectRefused> {
        let mut reader = Reader::new(frame.body);
        let version = version(&mut reader)?;
        let padded = version == ProtocolVersion::V5 && frame.padded;
        let read = match padded {
            true => Err(Violation::malformed("a remaining length that is longer than need be")),
            false => Self::parse_rest(version, reader),
        };
        match read {
            Ok(connect) => connect.check(),
            Err(violation) => Err(ConnectRefused {
                answer: Some((version, connack(violation.code))),
                message: format!("the CONNECT is invalid: {}", violation.message),
            }),
        }
    }

    fn parse_rest(version: ProtocolVersion, mut reader: Reader<'_>) -> Result<Self, Violation> {
        let v5 = version == ProtocolVersion::V5;
        let flags = Flags(reader.byte()?);
        flags.check(version)?;
        let keep_alive = reader.short()?;
        let mut connect = Self {
            version,
            client_id: String::new(),
            clean_start: flags.clean_start(),
            keep_alive,
            will: None,
            session_expiry: 0,
            receive_maximum: u16::MAX,
            maximum_packet_size: u32::MAX,
            topic_alias_maximum: 0,
        };
        if v5 {
            connect.take_properties(properties::read(&mut reader, CONNECT_PROPERTIES)?)?;
        }
        reader.text()?.clone_into(&mut connect.client_id);
        if flags.will() {
            let carried = match v5 {
                true => Carried::new(properties::read(&mut reader, WILL_PROPERTIES)?)?,
                false => Carried::default(),
            };
            connect.will = Some(WillRequest {
                topic: reader.text()?.to_owned(),
                payload: reader.binary()?.to_vec(),
                qos: flags.will_qos(),
                retain: flags.will_retain(),
                properties: Carried::boxed(carried.properties),
                message_expiry: carried.expiry,
                delay: carried.will_delay,
            });
        }
        if flags.user_name() {
            reader.text()?;
        }
        if flags.password() {
            reader.binary()?;
        }
        reader.end()?;
        Ok(connect)
    }

    fn take_properties(&mut self, properties: Vec<Property>) -> Result<(), Violation> {
        let has_method = properties.iter().any(|p| p.id() == PropertyId::AuthenticationMethod);
        for property in properties {
            match property {
                Property::SessionExpiryInterval(p) => self.session_expiry = p.val(),
                Property::ReceiveMaximum(p) => self.receive_maximum = p.val(),
                Property::MaximumPacketSize(p) => self.maximum_packet_size = p.val(),
                Property::TopicAliasMaximum(p) => self.topic_alias_maximum = p.val(),
                Property::AuthenticationMethod(_) => {
                    return Err(Violation::new(NO_AUTH, "enhanced authentication"));
                }
                Property::AuthenticationData(_) if !has_method => {
                    return Err(Violation::protocol("Authentication Data without an Authentication Method"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What is well-formed but not accepted.
    fn check(self) -> Result<Self, ConnectRefused> {
        let refused =
            |code, message: String| Err(ConnectRefused { answer: Some((self.version, code)), message });
        let id = &self.client_id;
        if id.len() > MAX_CLIENT_ID {
            let message = format!("the client id has {} bytes, the limit is {MAX_CLIENT_ID}", id.len());
            return refused(ConnackCode::BAD_CLIENT_ID, message);
        }
        if id.starts_with('$') {
            let message = format!("the client id {id:?} starts with '$', which is reserved");
            return refused(ConnackCode::BAD_CLIENT_ID, message);
        }
        if id.is_empty() && !self.clean_start && self.version == ProtocolVersion::V311 {
            let message = "an empty client id needs Clean Session in MQTT 3.1.1".to_owned();
            return refused(ConnackCode::BAD_CLIENT_ID, message);
        }
        let needed = match id.is_empty() {
            true => LARGEST_CONNACK + ASSIGNED_CLIENT_ID,
            false => LARGEST_CONNACK,
        };
        if self.maximum_packet_size < needed {
            let message = format!(
                "the client takes packets of {} bytes only; CONNACK alone may need {needed}",
                self.maximum_packet_size
            );
            let answer = (self.maximum_packet_size >= SHORTEST_CONNACK)
                .then_some((self.version, ConnackCode::TOO_LARGE));
            return Err(ConnectRefused { answer, message });
        }
        Ok(self)
    }
}

/// Stands for Bad Authentication Method, which DISCONNECT does not have, until [`connack`] turns it into
/// CONNACK's.
const NO_AUTH: DisconnectReasonCode = DisconnectReasonCode::ImplementationSpecificError;

const CONNECT_PROPERTIES: &[PropertyId] = &[
    PropertyId::SessionExpiryInterval,
    PropertyId::ReceiveMaximum,
    PropertyId::MaximumPacketSize,
    PropertyId::TopicAliasMaximum,
    PropertyId::RequestResponseInformation,
    PropertyId::RequestProblemInformation,
    PropertyId::UserProperty,
    PropertyId::AuthenticationMethod,
    PropertyId::AuthenticationData,
];

const WILL_PROPERTIES: &[PropertyId] = &[
    PropertyId::WillDelayInterval,
    PropertyId::PayloadFormatIndicator,
    PropertyId::MessageExpiryInterval,
    PropertyId::ContentType,
    PropertyId::ResponseTopic,
    PropertyId::CorrelationData,
    PropertyId::UserProperty,
];

fn version(reader: &mut Reader<'_>) -> Result<ProtocolVersion, ConnectRefused> {
    let unreadable = |v: Violation| ConnectRefused {
        answer: None,
        message: format!("the first packet is not a CONNECT that can be read: {}", v.message),
    };
    let name = reader.text().map_err(unreadable)?;
    let level = reader.byte().map_err(unreadable)?;
    match (name, level) {
        ("MQTT", 4) => Ok(ProtocolVersion::V311),
        ("MQTT", 5) => Ok(ProtocolVersion::V5),
        ("MQIsdp" | "MQTT", _) => {
            // What comes after 5 is most likely laid out as 5 is, unless it is as 3.1.1 is.
            let as_v311 = || Connect::parse_rest(ProtocolVersion::V311, *reader).is_ok();
            let answer_in = if level > 5 && !as_v311() { ProtocolVersion::V5 } else { ProtocolVersion::V311 };
            Err(ConnectRefused {
                answer: Some((answer_in, ConnackCode::UNSUPPORTED_VERSION)),
                message: format!(
                    "the client speaks {name} level {level}; MQTT 3.1.1 (level 4) and 5 (level 5) are supported"
                ),
            })
        }
        _ => Err(ConnectRefused {
            answer: None,
            message: format!(
                "the first packet names the protocol {:?}, not MQTT",
                name.chars().take(20).collect::<String>()
            ),
        }),
    }
}

/// How a CONNECT that cannot be read is answered: 3.1.1 closes.
fn connack(code: DisconnectReasonCode) -> ConnackCode {
    let v5 = match code {
        NO_AUTH => ConnectReasonCode::BadAuthenticationMethod,
        DisconnectReasonCode::ProtocolError => ConnectReasonCode::ProtocolError,
        DisconnectReasonCode::QuotaExceeded => ConnectReasonCode::QuotaExceeded,
        _ => ConnectReasonCode::MalformedPacket,
    };
    ConnackCode { v311: None, v5 }
}

#[derive(Clone, Copy)]
struct Flags(u8);

impl Flags {
    fn check(self, version: ProtocolVersion) -> Result<(), Violation> {
        if self.0 & 1 != 0 {
            return Err(Violation::malformed("the reserved connect flag is set"));
        }
        if !self.will() && self.0 & 0b0011_1000 != 0 || self.0 & 0b0001_1000 == 0b0001_1000 {
            return Err(Violation::malformed("will flags that contradict each other"));
        }
        if version == ProtocolVersion::V311 && self.password() && !self.user_name() {
            return Err(Violation::malformed("a password without a user name"));
        }
        Ok(())
    }
    fn clean_start(self) -> bool {
        self.0 & 0b0000_0010 != 0
    }
    fn will(self) -> bool {
        self.0 & 0b0000_0100 != 0
    }
    fn will_qos(self) -> QoS {
        match self.0 & 0b0001_1000 {
            0b0000_1000 => QoS::AtLeastOnce,
            0b0001_0000 => QoS::ExactlyOnce,
            _ => QoS::AtMostOnce,
        }
    }
    fn will_retain(self) -> bool {
        self.0 & 0b0010_0000 != 0
    }
    fn password(self) -> bool {
        self.0 & 0b0100_0000 != 0
    }
    fn user_name(self) -> bool {
        self.0 & 0b1000_0000 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::super::next_frame;
    use super::*;
    use proptest::prelude::*;

    fn packet(body: &[u8]) -> Vec<u8> {
        let mut packet = match body.len() {
            length @ ..0x80 => vec![0x10, length as u8],
            length => vec![0x10, length as u8 | 0x80, (length >> 7) as u8],
        };
        packet.extend_from_slice(body);
        packet
    }
    fn parse(body: &[u8]) -> Result<Connect, ConnectRefused> {
        let packet = packet(body);
        let (frame, _) = next_frame(&packet, 1000).unwrap().unwrap();
        Connect::parse(&frame)
    }
    fn v311(flags: u8, rest: &[u8]) -> Result<Connect, ConnectRefused> {
        parse(&[b"\0\x04MQTT\x04", &[flags, 0, 60][..], rest].concat())
    }
    fn v5(flags: u8, rest: &[u8]) -> Result<Connect, ConnectRefused> {
        parse(&[b"\0\x04MQTT\x05", &[flags, 0, 60][..], rest].concat())
    }
    fn answer(result: Result<Connect, ConnectRefused>) -> (ProtocolVersion, ConnackCode) {
        result.unwrap_err().answer.unwrap()
    }

    #[test]
    fn a_user_name_without_a_password_is_accepted() {
        let connect = v311(0b1000_0010, b"\0\x01a\0\x0b?SDK=Python").unwrap();
        assert_eq!(connect.client_id, "a");
        assert_eq!((connect.keep_alive, connect.clean_start), (60, true));
        assert!(v5(0b1000_0010, b"\0\0\x01a\0\x04?SDK").is_ok());
    }

    #[test]
    fn a_password_without_a_user_name_is_accepted_by_version_5_alone() {
        assert!(v5(0b0100_0010, b"\0\0\x01a\0\x01p").is_ok());
        assert_eq!(answer(v311(0b0100_0010, b"\0\x01a\0\x01p")).1.v311, None);
    }

    #[test]
    fn version_3_1_is_told_so() {
        let refused = parse(b"\0\x06MQIsdp\x03\x02\0\x3c\0\x01a").unwrap_err();
        assert_eq!(refused.answer, Some((ProtocolVersion::V311, ConnackCode::UNSUPPORTED_VERSION)));
        // A level that nobody knows yet is answered in the layout that it comes in.
        for (rest, version) in [
            (&b"\0\x01a"[..], ProtocolVersion::V311),
            (b"\0\0\x01a", ProtocolVersion::V5),
            (b"", ProtocolVersion::V5),
        ] {
            let refused = parse(&[b"\0\x04MQTT\x06\x02\0\x3c", rest].concat()).unwrap_err();
            assert_eq!(refused.answer, Some((version, ConnackCode::UNSUPPORTED_VERSION)));
        }
        assert_eq!(parse(b"\0\x04HTTP\x04\x02\0\x3c\0\x01a").unwrap_err().answer, None);
    }

    #[test]
    fn bad_client_ids_have_their_own_code() {
        let long = [&[0, 129][..], &[b'x'; 129]].concat();
        for rest in [&b"\0\x02$x"[..], &long, b"\0\0"] {
            let flags = if rest == b"\0\0" { 0 } else { 0b10 };
            assert_eq!(answer(v311(flags, rest)).1, ConnackCode::BAD_CLIENT_ID);
        }
        assert!(v311(0b10, b"\0\0").is_ok(), "with Clean Session an empty one is assigned");
        assert!(v5(0, b"\0\0\0").is_ok(), "version 5 is told its assigned one");
    }

    #[test]
    fn a_will_is_read_with_its_properties() {
        let rest = [&b"\0\0\x01a\x05\x18\0\0\0\x0a\0\x01t\0\x02hi"[..]].concat();
        let will = v5(0b0010_1110, &rest).unwrap().will.unwrap();
        assert_eq!((will.topic.as_str(), will.payload.as_slice()), ("t", &b"hi"[..]));
        assert_eq!((will.qos, will.retain, will.delay), (QoS::AtLeastOnce, true, Duration::from_secs(10)));
    }

    #[test]
    fn contradictory_flags_are_malformed() {
        for flags in [0b0000_0011, 0b0010_0010, 0b0000_1010, 0b0001_1110] {
            let code = answer(v5(flags, b"\0\0\x01a")).1.v5;
            assert_eq!(code, ConnectReasonCode::MalformedPacket, "{flags:08b}");
        }
    }

    #[test]
    fn enhanced_authentication_is_refused_by_its_name() {
        let code = answer(v5(0b10, b"\x04\x15\0\x01x\0\x01a")).1.v5;
        assert_eq!(code, ConnectReasonCode::BadAuthenticationMethod);
    }

    #[test]
    fn a_client_that_takes_no_connack_is_refused_and_told_so_if_it_takes_that() {
        let connect = |size: u8, client_id: &[u8]| {
            v5(0b10, &[&[5, 0x27, 0, 0, 0, size][..], &[0, client_id.len() as u8], client_id].concat())
        };
        assert!(connect(34, b"a").is_ok() && connect(73, b"").is_ok());
        for (size, client_id) in [(33, &b"a"[..]), (72, b""), (5, b"a")] {
            assert_eq!(answer(connect(size, client_id)).1, ConnackCode::TOO_LARGE, "{size}");
        }
        assert_eq!(connect(4, b"a").unwrap_err().answer, None);
    }

    #[test]
    fn a_property_given_twice_is_a_protocol_error() {
        let code = answer(v5(0b10, b"\x06\x21\0\x0a\x21\0\x0a\0\x01a")).1.v5;
        assert_eq!(code, ConnectReasonCode::ProtocolError);
    }

    #[test]
    fn bytes_after_the_end_are_malformed() {
        assert_eq!(answer(v5(0b10, b"\0\0\x01axx")).1.v5, ConnectReasonCode::MalformedPacket);
    }

    proptest! {
        #[test]
        fn no_input_panics(level in 3u8..7, body in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = parse(&[b"\0\x04MQTT", &[level][..], &body].concat());
        }
    }
}
