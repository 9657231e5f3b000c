//! What the broker sends, written into one buffer (OASIS MQTT 5.0 section 3).
use super::outbound_aliases::{Alias, OutboundAliases};
use crate::backend::ProtocolVersion;
use crate::batch::{Packets, PacketsOf, Part};
use crate::message::{Delivery, PublishProperties, QoS};
use mqtt_protocol_core::mqtt::packet::{
    AssignedClientIdentifier, MaximumPacketSize, MaximumQos, Property, ReasonString, ReceiveMaximum,
    RetainAvailable, ServerKeepAlive, SessionExpiryInterval, SharedSubscriptionAvailable,
    SubscriptionIdentifierAvailable, TopicAliasMaximum, WildcardSubscriptionAvailable,
};
use mqtt_protocol_core::mqtt::result_code::{ConnectReasonCode, DisconnectReasonCode};
use tokio::time::Instant;

/// Bytes of the largest CONNACK that lets a client in. None of its properties may be left out.
pub(crate) const LARGEST_CONNACK: u32 = 34;
/// What an assigned client id, a UUID, adds to it.
pub(super) const ASSIGNED_CLIENT_ID: u32 = 3 + 36;
/// Bytes of a CONNACK with nothing but its reason code.
pub(super) const SHORTEST_CONNACK: u32 = 5;

/// Bytes of the property Topic Alias.
const ALIAS: usize = 3;

/// The packets of one wake-up, in order, for one client.
#[derive(Debug)]
pub(crate) struct Outbound {
    buffer: Vec<u8>,
    version: ProtocolVersion,
    /// The largest packet that the client takes.
    maximum_packet_size: usize,
    aliases: OutboundAliases,
    /// An expiry is rounded down, as AWS does.
    expiry_down: bool,
}

/// What CONNACK tells an MQTT 5 client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConnackProperties<'a> {
    pub receive_maximum: u16,
    pub maximum_packet_size: u32,
    pub topic_alias_maximum: u16,
    /// If it differs from what CONNECT asked for.
    pub session_expiry: Option<u32>,
    /// If it differs from what CONNECT asked for.
    pub keep_alive: Option<u16>,
    pub assigned_client_id: Option<&'a str>,
    /// Neither QoS 2 nor Subscription Identifiers (profile `aws`).
    pub at_most_qos_1: bool,
}

impl Outbound {
    /// Never worth giving back.
    const KEPT: usize = 1024;

    pub(crate) fn new(version: ProtocolVersion, maximum_packet_size: u32) -> Self {
        let maximum_packet_size = usize::try_from(maximum_packet_size).unwrap_or(usize::MAX);
        let aliases = OutboundAliases::default();
        Self { buffer: Vec::new(), version, maximum_packet_size, aliases, expiry_down: false }
    }

    /// From now on what is left of an expiry is rounded down.
    pub(crate) fn round_expiry_down(&mut self) {
        self.expiry_down = true;
    }

    /// From now on topics are written with so many aliases.
    pub(crate) fn use_aliases(&mut self, maximum: u16) {
        self.aliases = OutboundAliases::new(maximum);
    }

    /// An empty one for the same client, for what is sent later: without aliases, as those may be set meanwhile.
    pub(crate) fn like(&self) -> Self {
        Self {
            buffer: Vec::new(),
            version: self.version,
            maximum_packet_size: self.maximum_packet_size,
            aliases: OutboundAliases::default(),
            expiry_down: self.expiry_down,
        }
    }
    /// Appends the first bytes of another one, which loses them.
    pub(crate) fn take_from(&mut self, other: &mut Self, bytes: usize) {
        self.buffer.extend(other.buffer.drain(..bytes.min(other.buffer.len())));
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer
    }
    pub(crate) fn len(&self) -> usize {
        self.buffer.len()
    }
    pub(crate) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }
    /// Only this much was written: the rest comes first if anything is said at all any more.
    pub(crate) fn written(&mut self, bytes: usize) {
        self.buffer.drain(..bytes.min(self.buffer.len()));
    }
    /// All was written. A buffer that was needed stays, one that was not is given back.
    pub(crate) fn clear(&mut self) {
        let used = self.buffer.len();
        self.buffer.clear();
        if used < self.buffer.capacity() / 8 {
            self.buffer.shrink_to(Self::KEPT.max(2 * used));
        }
    }

    /// CONNACK 0.
    pub(crate) fn connack(&mut self, session_present: bool, properties: &ConnackProperties<'_>) {
        match self.version {
            ProtocolVersion::V311 => self.buffer.extend_from_slice(&[0x20, 2, u8::from(session_present), 0]),
            ProtocolVersion::V5 => {
                let properties = properties.to_properties();
                self.connack_v5(session_present, ConnectReasonCode::Success, &properties);
            }
        }
    }

    /// CONNACK with an error; `false` when 3.1.1 has none for it.
    pub(crate) fn connack_refused(&mut self, code: super::ConnackCode, reason: Option<&str>) -> bool {
        match (self.version, code.v311) {
            (ProtocolVersion::V311, None) => return false,
            (ProtocolVersion::V311, Some(code)) => self.buffer.extend_from_slice(&[0x20, 2, 0, code]),
            (ProtocolVersion::V5, _) => self.connack_v5(false, code.v5, &reason_string(reason)),
        }
        true
    }

    fn connack_v5(&mut self, session_present: bool, code: ConnectReasonCode, properties: &[Property]) {
        let properties = self.fitting(properties, 8);
        self.head(0x20, 2 + block_length(properties));
        self.buffer.extend_from_slice(&[u8::from(session_present), code as u8]);
        self.block(properties);
    }

    /// DISCONNECT; MQTT 3.1.1 has none from a server.
    pub(crate) fn disconnect(&mut self, code: DisconnectReasonCode, reason: Option<&str>) {
        if self.version == ProtocolVersion::V5 {
            let properties = reason_string(reason);
            let properties = self.fitting(&properties, 8);
            self.head(0xe0, 1 + block_length(properties));
            self.buffer.push(code as u8);
            self.block(properties);
        }
    }

    pub(crate) fn pingresp(&mut self) {
        self.buffer.extend_from_slice(&[0xd0, 0]);
    }

    pub(crate) fn puback(&mut self, packet_id: u16, code: u8) {
        self.acknowledgement(0x40, packet_id, code);
    }
    pub(crate) fn pubrec(&mut self, packet_id: u16, code: u8) {
        self.acknowledgement(0x50, packet_id, code);
    }
    pub(crate) fn pubrel(&mut self, packet_id: u16, code: u8) {
        self.acknowledgement(0x62, packet_id, code);
    }
    pub(crate) fn pubcomp(&mut self, packet_id: u16, code: u8) {
        self.acknowledgement(0x70, packet_id, code);
    }

    fn acknowledgement(&mut self, first: u8, packet_id: u16, code: u8) {
        let [high, low] = packet_id.to_be_bytes();
        match self.version {
            ProtocolVersion::V5 if code != 0 => {
                self.buffer.extend_from_slice(&[first, 3, high, low, code]);
            }
            _ => self.buffer.extend_from_slice(&[first, 2, high, low]),
        }
    }

    /// Does the client take a SUBACK or UNSUBACK with so many codes?
    pub(crate) fn fits_codes(&self, count: usize) -> bool {
        self.version == ProtocolVersion::V311 || {
            let remaining = 3 + count;
            1 + variable_length(remaining) + remaining <= self.maximum_packet_size
        }
    }

    /// SUBACK with one code per filter, in the codes of the client's version.
    pub(crate) fn suback(&mut self, packet_id: u16, codes: &[u8]) {
        self.codes(0x90, packet_id, codes);
    }

    /// UNSUBACK; MQTT 3.1.1 has no codes.
    pub(crate) fn unsuback(&mut self, packet_id: u16, codes: &[u8]) {
        let codes = if self.version == ProtocolVersion::V5 { codes } else { &[] };
        self.codes(0xb0, packet_id, codes);
    }

    fn codes(&mut self, first: u8, packet_id: u16, codes: &[u8]) {
        let v5 = self.version == ProtocolVersion::V5;
        self.head(first, 2 + usize::from(v5) + codes.len());
        self.buffer.extend_from_slice(&packet_id.to_be_bytes());
        if v5 {
            self.buffer.push(0);
        }
        self.buffer.extend_from_slice(codes);
    }

    /// PUBLISH. `false`, and nothing is written, when it is larger than the client takes. `packet_id` is 0
    /// for QoS 0.
    pub(crate) fn publish(&mut self, delivery: &Delivery, packet_id: u16, dup: bool, now: Instant) -> bool {
        let message = &*delivery.message;
        let with_id = delivery.qos != QoS::AtMostOnce;
        let v5 = self.version == ProtocolVersion::V5;
        let expiry = match self.expiry_down {
            _ if !v5 => None,
            true => message.whole_seconds_left(now),
            false => message.seconds_left(now),
        };
        let carried = if v5 { carried_length(delivery, expiry) } else { 0 };
        let others = 2 * usize::from(with_id) + message.payload.len();
        let lengths = |alias| {
            let topic = if let Alias::Known(_) = alias { 0 } else { message.topic.len() };
            let properties = if alias == Alias::None { carried } else { ALIAS + carried };
            let block = if v5 { variable_length(properties) + properties } else { 0 };
            (properties, 2 + topic + block + others)
        };
        let fits = |remaining| 1 + variable_length(remaining) + remaining <= self.maximum_packet_size;
        let mut alias = self.aliases.find(&message.topic);
        if !fits(lengths(alias).1) {
            alias = Alias::None;
        }
        let (properties, remaining) = lengths(alias);
        if !fits(remaining) {
            return false;
        }
        let first = 0x30 | u8::from(dup) << 3 | (delivery.qos as u8) << 1 | u8::from(delivery.retain);
        self.buffer.reserve(5 + remaining);
        self.head(first, remaining);
        self.binary(if let Alias::Known(_) = alias { b"" } else { message.topic.as_bytes() });
        if with_id {
            self.buffer.extend_from_slice(&packet_id.to_be_bytes());
        }
        if v5 {
            self.variable(properties);
            if let Alias::New(alias) | Alias::Known(alias) = alias {
                self.buffer.push(0x23);
                self.buffer.extend_from_slice(&alias.to_be_bytes());
            }
            if carried > 0 {
                self.carried(delivery, expiry);
            }
        }
        self.buffer.extend_from_slice(&message.payload);
        if let Alias::New(_) = alias {
            self.aliases.told(&message.topic);
        }
        true
    }

    /// The same for messages of QoS 0 that came together. Returns how many were written.
    pub(crate) fn publish_part(&mut self, part: &Part, now: Instant) -> usize {
        match self.packets_of(part, now) {
            Some(packets) => {
                self.buffer.extend_from_slice(packets.bytes);
                part.len()
            }
            None => part.deliveries().filter(|delivery| self.publish(delivery, 0, false, now)).count(),
        }
    }

    /// The same for messages of QoS 1 or 2, each with a packet id. Returns the ids of those that are not written.
    pub(crate) fn publish_part_assured(&mut self, part: &Part, packet_ids: &[u16], now: Instant) -> Vec<u16> {
        match self.packets_of(part, now) {
            Some(packets) => {
                let begin = self.buffer.len();
                self.buffer.extend_from_slice(packets.bytes);
                for (packet_id, place) in packet_ids.iter().zip(packets.packet_ids()) {
                    let place = self.buffer.get_mut(begin + place..).and_then(<[u8]>::first_chunk_mut);
                    if let Some(place) = place {
                        *place = packet_id.to_be_bytes();
                    }
                }
                Vec::new()
            }
            None => {
                let each = packet_ids.iter().copied().zip(part.deliveries());
                let too_large =
                    each.filter(|(packet_id, delivery)| !self.publish(delivery, *packet_id, false, now));
                too_large.map(|(packet_id, _)| packet_id).collect()
            }
        }
    }

    /// The packets that others get, too, if this client may have them.
    fn packets_of<'p>(&self, part: &'p Part, now: Instant) -> Option<PacketsOf<'p>> {
        let has_alias = part.first().is_some_and(|message| self.aliases.find(&message.topic) != Alias::None);
        let packets =
            || part.packets(self.version, self.maximum_packet_size, |all| plain(self.version, all, now));
        (!has_alias).then(packets).flatten()
    }

    fn carried(&mut self, delivery: &Delivery, expiry: Option<u32>) {
        if let Some(seconds) = expiry {
            self.buffer.push(0x02);
            self.buffer.extend_from_slice(&seconds.to_be_bytes());
        }
        for identifier in delivery.subscription_identifiers.as_slice() {
            self.buffer.push(0x0b);
            self.variable(usize::try_from(identifier.get()).unwrap_or(usize::MAX));
        }
        let Some(properties) = delivery.message.properties.as_deref() else { return };
        if let Some(format) = properties.payload_format {
            self.buffer.extend_from_slice(&[0x01, format as u8]);
        }
        if let Some(content_type) = &properties.content_type {
            self.buffer.push(0x03);
            self.binary(content_type.as_bytes());
        }
        if let Some(topic) = &properties.response_topic {
            self.buffer.push(0x08);
            self.binary(topic.as_bytes());
        }
        if let Some(data) = &properties.correlation_data {
            self.buffer.push(0x09);
            self.binary(data);
        }
        for (name, value) in &properties.user_properties {
            self.buffer.push(0x26);
            self.binary(name.as_bytes());
            self.binary(value.as_bytes());
        }
    }

    fn head(&mut self, first: u8, remaining: usize) {
        self.buffer.push(first);
        self.variable(remaining);
    }

    fn block(&mut self, properties: &[Property]) {
        self.variable(properties.iter().map(Property::size).sum());
        for property in properties {
            self.buffer.extend_from_slice(&property.to_continuous_buffer());
        }
    }

    /// The properties, or none if the packet would be larger than the client takes.
    fn fitting<'p>(&self, properties: &'p [Property], others: usize) -> &'p [Property] {
        if others + block_length(properties) > self.maximum_packet_size { &[] } else { properties }
    }

    /// At most 65,535 bytes: every text and payload that gets here was read with such a length.
    fn binary(&mut self, bytes: &[u8]) {
        let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        self.buffer.extend_from_slice(&length.to_be_bytes());
        self.buffer.extend_from_slice(bytes.get(..usize::from(length)).unwrap_or(bytes));
    }

    fn variable(&mut self, mut value: usize) {
        loop {
            let digit = (value & 0x7f) as u8;
            value >>= 7;
            if value == 0 {
                self.buffer.push(digit);
                return;
            }
            self.buffer.push(digit | 0x80);
        }
    }
}

impl ConnackProperties<'_> {
    fn to_properties(&self) -> Vec<Property> {
        let mut properties: Vec<Property> = Vec::new();
        let mut add = |property: Option<Property>| properties.extend(property);
        add(ReceiveMaximum::new(self.receive_maximum).ok().map(Property::from));
        add(MaximumPacketSize::new(self.maximum_packet_size).ok().map(Property::from));
        add(TopicAliasMaximum::new(self.topic_alias_maximum).ok().map(Property::from));
        add(self.session_expiry.and_then(|s| SessionExpiryInterval::new(s).ok()).map(Property::from));
        add(self.keep_alive.and_then(|s| ServerKeepAlive::new(s).ok()).map(Property::from));
        add(self
            .assigned_client_id
            .and_then(|id| AssignedClientIdentifier::new(id).ok())
            .map(Property::from));
        add(RetainAvailable::new(1).ok().map(Property::from));
        add(WildcardSubscriptionAvailable::new(1).ok().map(Property::from));
        add(SharedSubscriptionAvailable::new(1).ok().map(Property::from));
        let identifiers = u8::from(!self.at_most_qos_1);
        add(SubscriptionIdentifierAvailable::new(identifiers).ok().map(Property::from));
        if self.at_most_qos_1 {
            add(MaximumQos::new(1).ok().map(Property::from));
        }
        properties
    }
}

/// What all receivers of one version get, unless something of their own is in it.
fn plain(version: ProtocolVersion, all: &Part, now: Instant) -> Packets {
    let mut out = Outbound::new(version, u32::MAX);
    let ends = all.deliveries().map(|delivery| {
        out.publish(&delivery, 0, false, now);
        out.len()
    });
    let ends = ends.collect();
    let topic = all.first().map_or(0, |message| message.topic.len());
    Packets::new(out.buffer, ends, 2 + topic)
}

fn reason_string(reason: Option<&str>) -> Vec<Property> {
    reason.and_then(|r| ReasonString::new(r).ok()).map(Property::from).into_iter().collect()
}

fn block_length(properties: &[Property]) -> usize {
    let length = properties.iter().map(Property::size).sum();
    variable_length(length) + length
}

fn carried_length(delivery: &Delivery, expiry: Option<u32>) -> usize {
    let identifiers: usize = delivery
        .subscription_identifiers
        .as_slice()
        .iter()
        .map(|id| 1 + variable_length(usize::try_from(id.get()).unwrap_or(usize::MAX)))
        .sum();
    expiry.map_or(0, |_| 5)
        + identifiers
        + delivery.message.properties.as_deref().map_or(0, |properties: &PublishProperties| {
            let text = |text: &Option<Box<str>>| text.as_ref().map_or(0, |t| 3 + t.len());
            let user = properties.user_properties.iter().map(|(n, v)| 5 + n.len() + v.len());
            properties.payload_format.map_or(0, |_| 2)
                + text(&properties.content_type)
                + text(&properties.response_topic)
                + properties.correlation_data.as_ref().map_or(0, |d| 3 + d.len())
                + user.sum::<usize>()
        })
}

/// Bytes of a variable byte integer.
const fn variable_length(value: usize) -> usize {
    match value {
        0..=0x7f => 1,
        0x80..=0x3fff => 2,
        0x4000..=0x1f_ffff => 3,
        _ => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Batch;
    use crate::message::{Message, SubscriptionIdentifiers};
    use std::num::NonZeroU32;
    use std::sync::Arc;
    use std::time::Duration;

    fn delivery(payload: &'static str) -> Delivery {
        Delivery {
            message: Arc::new(Message::new("topic", payload, QoS::AtMostOnce)),
            qos: QoS::AtMostOnce,
            retain: false,
            stored: crate::session::durable::Sequence::default(),
            subscription_identifiers: SubscriptionIdentifiers::None,
            shared: None,
        }
    }

    #[test]
    fn a_topic_is_written_once_if_the_client_takes_aliases() {
        let mut out = Outbound::new(ProtocolVersion::V5, 17);
        out.use_aliases(1);
        let mut written = |payload| {
            let fits = out.publish(&delivery(payload), 0, false, Instant::now());
            let bytes = out.bytes().to_vec();
            out.clear();
            fits.then_some(bytes)
        };
        // With the alias it would be too large, and so the alias is not set.
        assert_eq!(written("payload").as_deref(), Some(&b"\x30\x0f\0\x05topic\0payload"[..]));
        assert_eq!(written("").as_deref(), Some(&b"\x30\x0b\0\x05topic\x03\x23\0\x01"[..]));
        assert_eq!(written("payload").as_deref(), Some(&b"\x30\x0d\0\0\x03\x23\0\x01payload"[..]));
        assert_eq!(written("0123456789 too large"), None);
    }

    fn each_with_each<A: Copy, B: Copy>(all: &[A], others: &[B]) -> Vec<(A, B)> {
        all.iter().flat_map(|one| others.iter().map(|other| (*one, *other))).collect()
    }

    #[test]
    fn what_came_together_is_written_as_if_it_had_come_one_after_the_other() {
        let now = Instant::now();
        // The length of one takes two bytes.
        let texts = [
            "a",
            "and",
            concat!(
                "one that is longer ",
                "than others, much longer than the others, as there are ",
                "words in it, one after the other, that would not be needed if it were shorter"
            ),
            "last",
        ];
        let messages = texts.map(|text| delivery(text).message);
        let check = |part: &Part, version, aliases, maximum| {
            let [mut together, mut alone] = [(); 2].map(|()| {
                let mut out = Outbound::new(version, maximum);
                out.use_aliases(aliases);
                out
            });
            let ids = [65_000, 258, 3, 40_000].iter().copied().take(part.len()).collect::<Vec<u16>>();
            let sent = part
                .deliveries()
                .zip(&ids)
                .filter(|(delivery, id)| alone.publish(delivery, **id, false, now));
            let sent: Vec<u16> = sent.map(|(_, id)| *id).collect();
            if part.qos() == QoS::AtMostOnce {
                assert_eq!(together.publish_part(part, now), sent.len());
            } else {
                let too_large = together.publish_part_assured(part, &ids, now);
                assert!(ids.iter().all(|id| sent.contains(id) != too_large.contains(id)));
            }
            assert_eq!(together.bytes(), alone.bytes());
        };
        let versions = [ProtocolVersion::V311, ProtocolVersion::V5];
        let limits = [(0, u32::MAX), (2, u32::MAX), (0, 16), (2, 16)];
        let ways = each_with_each(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce], &[1, 2]);
        for ((qos, receivers), identifier) in each_with_each(&ways, &[None, NonZeroU32::new(200)]) {
            let identifiers = identifier.into();
            let alike = std::iter::repeat_n((qos, &identifiers), receivers);
            let all = Batch::parts(&messages, alike).next().unwrap();
            let mut rest = all.clone();
            let first = rest.take(1);
            for (version, (aliases, maximum)) in each_with_each(&versions, &limits) {
                for part in [&all, &first, &rest] {
                    check(part, version, aliases, maximum);
                    let made = part.packets(version, usize::MAX, |_| panic!("not shared"));
                    assert_eq!(made.is_some(), receivers == 2 && identifier.is_none());
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_expiry_is_sent_less_the_whole_seconds_that_have_passed() {
        let message = Message::new("t", "", QoS::AtMostOnce).expiring_after(Duration::from_secs(9));
        let delivery = Delivery { message: Arc::new(message), ..delivery("") };
        tokio::time::advance(Duration::from_millis(1500)).await;
        let mut out = Outbound::new(ProtocolVersion::V5, u32::MAX);
        assert!(out.publish(&delivery, 0, false, Instant::now()));
        assert_eq!(out.bytes(), b"\x30\x09\0\x01t\x05\x02\0\0\0\x08");
        out.round_expiry_down();
        let mut later = out.like();
        assert!(later.publish(&delivery, 0, false, Instant::now()));
        assert_eq!(later.bytes(), b"\x30\x09\0\x01t\x05\x02\0\0\0\x07");
    }

    #[test]
    fn the_largest_connack_is_as_large_as_is_said() {
        let length = |assigned_client_id| {
            let mut out = Outbound::new(ProtocolVersion::V5, u32::MAX);
            let properties = ConnackProperties {
                receive_maximum: u16::MAX,
                maximum_packet_size: u32::MAX,
                topic_alias_maximum: u16::MAX,
                session_expiry: Some(u32::MAX),
                keep_alive: Some(u16::MAX),
                assigned_client_id,
                at_most_qos_1: true,
            };
            out.connack(false, &properties);
            out.len()
        };
        assert_eq!(length(None), LARGEST_CONNACK as usize);
        let id = uuid::Uuid::nil().to_string();
        assert_eq!(length(Some(id.as_str())), (LARGEST_CONNACK + ASSIGNED_CLIENT_ID) as usize);
        let mut out = Outbound::new(ProtocolVersion::V5, u32::MAX);
        out.connack_refused(super::super::ConnackCode::TOO_LARGE, None);
        assert_eq!(out.len(), SHORTEST_CONNACK as usize);
    }

    #[test]
    fn an_answer_fits_or_it_does_not() {
        let out = Outbound::new(ProtocolVersion::V5, 10);
        assert!(out.fits_codes(5) && !out.fits_codes(6));
        assert!(Outbound::new(ProtocolVersion::V311, u32::MAX).fits_codes(100_000));
    }
}
