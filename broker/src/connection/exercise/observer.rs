//! Watches the wire of one connection, both ways: what the broker may say is what was asked for, published and allowed.
use super::super::codec::{Aliases, Connect, Frame, Inbound, InboundPublish, next_frame};
use super::rules::Rules;
use super::sent;
use crate::backend::ProtocolVersion;
use crate::message::QoS;
use crate::session::Awaited;
use crate::topic;
use mqtt_protocol_core::mqtt::packet::PacketType;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// What is known of all connections together.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Topics and payloads that somebody published who may.
    published: HashSet<(String, Vec<u8>)>,
    /// Topics that somebody retained a message on who may.
    pub(super) may_be_retained: HashSet<String>,
    /// By client id: filters with the QoS asked for that were granted, or may have been.
    subscribed: HashMap<String, Vec<(String, u8)>>,
    /// Messages that came to somebody.
    pub(super) delivered: usize,
    /// By client id: packet ids of messages that it acknowledged with PUBREC.
    received: HashMap<String, HashSet<u16>>,
}

/// One connection.
pub(super) struct Observer {
    rules: Arc<Rules>,
    /// Longest packet that the broker takes.
    packet_bytes: u32,
    /// Most that the broker has in flight towards a client.
    receive_maximum: usize,
    aliases: Aliases,
    stage: Stage,
    /// Sent, and not a whole packet yet.
    sending: Vec<u8>,
    /// Received, and not a whole packet yet.
    receiving: Vec<u8>,
    version: ProtocolVersion,
    client_id: String,
    connect: Option<Connect>,
    /// CONNACK came: was it accepted?
    pub(super) accepted: Option<bool>,
    /// DISCONNECT came.
    disconnected: bool,
    /// The client does not read at once, so that it is unknown which of its acknowledgements were for what.
    pub(super) lax: bool,
    owed: Owed,
    /// Packet ids of messages towards the client.
    in_flight: BTreeMap<u16, Awaited>,
    /// Topics that the broker gave an alias.
    topics: HashMap<u16, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Greeting,
    Talking,
    /// The client said goodbye or something wrong: the connection must end.
    Over,
}

/// What the client has asked for and not got yet.
#[derive(Debug, Default)]
struct Owed {
    pubacks: Vec<u16>,
    pubrecs: Vec<u16>,
    pubrels: Vec<u16>,
    pubcomps: Vec<u16>,
    subacks: Vec<(u16, Vec<(String, u8)>)>,
    unsubacks: Vec<u16>,
    pings: usize,
}

impl Observer {
    /// `alias`: the name that the client gets if it has none.
    pub(super) fn new(rules: &Arc<Rules>, limits: &crate::Limits, alias: String) -> Self {
        Self {
            rules: Arc::clone(rules),
            packet_bytes: limits.packet_bytes,
            receive_maximum: usize::from(limits.receive_maximum),
            aliases: Aliases::new(limits.topic_aliases),
            stage: Stage::Greeting,
            sending: Vec::new(),
            receiving: Vec::new(),
            version: ProtocolVersion::V311,
            client_id: alias,
            connect: None,
            accepted: None,
            disconnected: false,
            lax: false,
            owed: Owed::default(),
            in_flight: BTreeMap::new(),
            topics: HashMap::new(),
        }
    }

    pub(super) fn must_end(&self) -> bool {
        self.stage == Stage::Over || self.accepted == Some(false) || self.disconnected
    }

    /// What the client has to acknowledge.
    pub(super) fn in_flight(&self) -> impl Iterator<Item = u16> + '_ {
        self.in_flight.keys().copied()
    }

    /// The client sends something.
    pub(super) fn sends(&mut self, bytes: &[u8], known: &mut Known) {
        self.sending.extend_from_slice(bytes);
        let sending = std::mem::take(&mut self.sending);
        let mut rest = &sending[..];
        while self.stage != Stage::Over {
            match next_frame(rest, self.packet_bytes) {
                Err(_) => self.stage = Stage::Over,
                Ok(None) => break,
                Ok(Some((frame, length))) => {
                    self.asks(&frame, known);
                    rest = &rest[length..];
                }
            }
        }
        self.sending = rest.to_vec();
    }

    fn asks(&mut self, frame: &Frame<'_>, known: &mut Known) {
        if self.stage == Stage::Greeting {
            self.stage = Stage::Over;
            if frame.kind != PacketType::Connect {
                return;
            }
            match Connect::parse(frame) {
                Ok(connect) => self.greets(connect, known),
                Err(refused) => {
                    self.version = refused.answer.map_or(ProtocolVersion::V311, |(version, _)| version);
                }
            }
            return;
        }
        let mut aliases = std::mem::replace(&mut self.aliases, Aliases::new(0));
        match Inbound::parse(frame, self.version, &mut aliases) {
            Err(_) => self.stage = Stage::Over,
            Ok(packet) => self.requests(packet, known),
        }
        self.aliases = aliases;
    }

    fn greets(&mut self, connect: Connect, known: &mut Known) {
        self.stage = Stage::Talking;
        self.version = connect.version;
        if !connect.client_id.is_empty() {
            self.client_id.clone_from(&connect.client_id);
        }
        if let Some(will) = &connect.will {
            self.publishes(&will.topic, &will.payload, will.retain, known);
        }
        self.connect = Some(connect);
    }

    fn requests(&mut self, packet: Inbound<'_>, known: &mut Known) {
        let owed = &mut self.owed;
        match packet {
            Inbound::Publish(publish) => self.request_to_publish(&publish, known),
            Inbound::Puback { packet_id } => self.acknowledges(packet_id, Awaited::Puback, None),
            Inbound::Pubcomp { packet_id } => self.acknowledges(packet_id, Awaited::Pubcomp, None),
            Inbound::Pubrec { packet_id, refused: true } => {
                self.acknowledges(packet_id, Awaited::Pubrec, None);
            }
            Inbound::Pubrec { packet_id, refused: false } => {
                owed.pubrels.push(packet_id);
                known.received.entry(self.client_id.clone()).or_default().insert(packet_id);
                self.acknowledges(packet_id, Awaited::Pubrec, Some(Awaited::Pubcomp));
            }
            Inbound::Pubrel { packet_id } => owed.pubcomps.push(packet_id),
            Inbound::Subscribe { packet_id, subscriptions } => {
                let filters: Vec<(String, u8)> = subscriptions
                    .iter()
                    .map(|subscription| (subscription.filter.to_owned(), subscription.options.qos as u8))
                    .collect();
                owed.subacks.push((packet_id, filters));
            }
            Inbound::Unsubscribe { packet_id, .. } => owed.unsubacks.push(packet_id),
            Inbound::Pingreq => owed.pings += 1,
            Inbound::Disconnect { .. } => self.stage = Stage::Over,
        }
    }

    /// What the broker waits for next, if this is what it waits for now.
    fn acknowledges(&mut self, packet_id: u16, what: Awaited, next: Option<Awaited>) {
        if self.in_flight.get(&packet_id) != Some(&what) {
            // It may be for something that the client has not read yet.
            self.lax = true;
        } else if let Some(next) = next {
            self.in_flight.insert(packet_id, next);
        } else {
            self.in_flight.remove(&packet_id);
        }
    }

    fn request_to_publish(&mut self, publish: &InboundPublish<'_>, known: &mut Known) {
        match publish.qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => self.owed.pubacks.push(publish.packet_id),
            QoS::ExactlyOnce => self.owed.pubrecs.push(publish.packet_id),
        }
        self.publishes(publish.topic.as_str(), publish.payload, publish.retain, known);
    }

    fn publishes(&self, topic: &str, payload: &[u8], retain: bool, known: &mut Known) {
        let may = |action| self.rules.allow(&self.client_id, action, "topic", topic);
        if !may("iot:Publish") || (retain && !may("iot:RetainPublish")) {
            return;
        }
        known.published.insert((topic.to_owned(), payload.to_vec()));
        if retain {
            known.may_be_retained.insert(topic.to_owned());
        }
    }

    /// A whole CONNECT was sent.
    pub(super) fn is_greeted(&self) -> bool {
        self.stage != Stage::Greeting
    }

    /// What was asked for and is not answered may have been done.
    pub(super) fn may_have_subscribed(&self, known: &mut Known) {
        let asked = self.owed.subacks.iter().flat_map(|(_, filters)| filters);
        let allowed = asked.filter(|(filter, _)| self.rules.allow_subscribe(&self.client_id, filter));
        known.subscribed.entry(self.client_id.clone()).or_default().extend(allowed.cloned());
    }

    /// The connection is gone.
    pub(super) fn ends(&mut self, known: &mut Known) {
        self.may_have_subscribed(known);
        self.stage = Stage::Over;
        self.owed = Owed::default();
    }

    /// The broker sends something.
    pub(super) fn receives(&mut self, bytes: &[u8], known: &mut Known) {
        self.receiving.extend_from_slice(bytes);
        let receiving = std::mem::take(&mut self.receiving);
        let mut rest = &receiving[..];
        while let Some((body, length)) = whole_packet(rest) {
            if let Some(most) = self.connect.as_ref().map(|connect| connect.maximum_packet_size) {
                assert!(length <= most as usize, "a packet of {length} bytes for a client that takes {most}");
            }
            // Another's decoder agrees.
            sent(&rest[..length], self.version);
            self.answer(rest[0], body, known);
            rest = &rest[length..];
        }
        self.receiving = rest.to_vec();
    }

    fn answer(&mut self, first: u8, body: &[u8], known: &mut Known) {
        let id = || u16::from_be_bytes([body[0], body[1]]);
        assert!(!self.disconnected, "{first:#04x} after DISCONNECT");
        if first >> 4 == 2 {
            return self.accept(body[1] == 0);
        }
        assert_eq!(self.accepted, Some(true), "{first:#04x} before CONNACK, or after a refusal");
        match first >> 4 {
            3 => self.deliver(first, body, known),
            4 => take(&mut self.owed.pubacks, id(), "PUBACK"),
            5 => take(&mut self.owed.pubrecs, id(), "PUBREC"),
            6 => self.release(id(), known),
            7 => take(&mut self.owed.pubcomps, id(), "PUBCOMP"),
            9 => self.grant(id(), body, known),
            11 => take(&mut self.owed.unsubacks, id(), "UNSUBACK"),
            13 => {
                assert!(self.owed.pings > 0, "PINGRESP without PINGREQ");
                self.owed.pings -= 1;
            }
            14 => self.disconnected = true,
            kind => panic!("a packet of kind {kind}"),
        }
    }

    fn accept(&mut self, accepted: bool) {
        assert_eq!(self.accepted, None, "a second CONNACK");
        self.accepted = Some(accepted);
        let Some(connect) = self.connect.as_ref().filter(|_| accepted) else {
            return assert!(!accepted, "CONNACK 0 without a CONNECT");
        };
        let may = |action, kind, name: &str| self.rules.allow(&self.client_id, action, kind, name);
        // An assigned client id is not known here.
        if connect.client_id.is_empty() {
            return;
        }
        assert!(may("iot:Connect", "client", &connect.client_id), "connected without iot:Connect");
        if let Some(will) = &connect.will {
            assert!(may("iot:Publish", "topic", &will.topic), "a will without iot:Publish");
            assert!(!will.retain || may("iot:RetainPublish", "topic", &will.topic), "a retained will");
        }
    }

    /// PUBREL: to a PUBREC of this connection, or of one before it.
    fn release(&mut self, packet_id: u16, known: &Known) {
        if let Some(position) = self.owed.pubrels.iter().position(|owed| *owed == packet_id) {
            self.owed.pubrels.remove(position);
            return;
        }
        let received = known.received.get(&self.client_id);
        assert!(received.is_some_and(|ids| ids.contains(&packet_id)), "PUBREL {packet_id} to no PUBREC");
        self.in_flight.insert(packet_id, Awaited::Pubcomp);
    }

    /// SUBACK.
    fn grant(&mut self, packet_id: u16, body: &[u8], known: &mut Known) {
        let position = self.owed.subacks.iter().position(|(owed, _)| *owed == packet_id);
        let (_, filters) = self.owed.subacks.remove(position.unwrap_or_else(|| panic!("SUBACK {packet_id}")));
        let codes = &body[body.len() - filters.len()..];
        let granted = codes.iter().zip(filters).filter(|(code, _)| **code < 0x80);
        for (code, (filter, qos)) in granted {
            assert!(*code <= qos, "{filter} was granted {code}, and asked for with {qos}");
            assert!(self.rules.allow_subscribe(&self.client_id, &filter), "{filter} without iot:Subscribe");
            known.subscribed.entry(self.client_id.clone()).or_default().push((filter, qos));
        }
    }

    /// PUBLISH.
    fn deliver(&mut self, first: u8, body: &[u8], known: &mut Known) {
        known.delivered += 1;
        let qos = first >> 1 & 3;
        let (length, rest) = body.split_first_chunk::<2>().unwrap();
        let (topic, mut rest) = rest.split_at(usize::from(u16::from_be_bytes(*length)));
        let mut topic = std::str::from_utf8(topic).unwrap().to_owned();
        if qos > 0 {
            let (id, behind) = rest.split_first_chunk::<2>().unwrap();
            let awaited = if qos == 1 { Awaited::Puback } else { Awaited::Pubrec };
            self.is_sent(u16::from_be_bytes(*id), awaited, first & 8 != 0);
            rest = behind;
        }
        if self.version == ProtocolVersion::V5 {
            let (length, digits) = variable(rest).unwrap();
            let (properties, behind) = rest[digits..].split_at(length);
            if let Some(alias) = topic_alias(properties) {
                match topic.is_empty() {
                    true => topic.clone_from(&self.topics[&alias]),
                    false => drop(self.topics.insert(alias, topic.clone())),
                }
            }
            rest = behind;
        }
        let topic = topic.as_str();
        let client_id = &self.client_id;
        assert!(
            self.rules.allow(client_id, "iot:Receive", "topic", topic),
            "{client_id} got {topic} without iot:Receive"
        );
        let path = |filter: &str| match filter.strip_prefix("$share/") {
            Some(shared) => shared.split_once('/').map_or("", |(_, path)| path).to_owned(),
            None => filter.to_owned(),
        };
        let of_filter = |(filter, most): &(String, u8)| topic::matches(&path(filter), topic) && qos <= *most;
        let subscribed = known.subscribed.get(client_id).into_iter().flatten();
        assert!(
            subscribed.into_iter().any(of_filter),
            "{client_id} got {topic} with {qos} and no subscription"
        );
        assert!(
            topic.starts_with('$') || known.published.contains(&(topic.to_owned(), rest.to_vec())),
            "{client_id} got {topic} {rest:02x?}, which nobody published who may"
        );
    }

    fn is_sent(&mut self, packet_id: u16, awaited: Awaited, again: bool) {
        let new = self.in_flight.insert(packet_id, awaited).is_none();
        if self.lax {
            return;
        }
        assert!(new || again, "packet id {packet_id} is in flight already");
        let most = self.connect.as_ref().map_or(0, |connect| usize::from(connect.receive_maximum));
        let most = most.min(self.receive_maximum);
        assert!(self.in_flight.len() <= most, "{:?} are in flight, {most} may be", self.in_flight);
    }
}

fn take(owed: &mut Vec<u16>, packet_id: u16, what: &str) {
    let position = owed.iter().position(|owed| *owed == packet_id);
    let position = position.unwrap_or_else(|| panic!("{what} {packet_id} that nobody asked for: {owed:?}"));
    owed.remove(position);
}

/// The Topic Alias among the properties of a PUBLISH.
fn topic_alias(properties: &[u8]) -> Option<u16> {
    let text = |at: usize| 2 + usize::from(u16::from_be_bytes([properties[at], properties[at + 1]]));
    let mut at = 0;
    loop {
        match properties.get(at)? {
            0x23 => return Some(u16::from_be_bytes([properties[at + 1], properties[at + 2]])),
            0x01 => at += 2,
            0x02 => at += 5,
            0x0b => at += 1 + variable(&properties[at + 1..])?.1,
            0x26 => {
                at += 1 + text(at + 1);
                at += text(at);
            }
            _ => at += 1 + text(at + 1),
        }
    }
}

/// The body of the first packet, and the length of all of it.
fn whole_packet(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let (length, digits) = variable(bytes.get(1..)?)?;
    let body = bytes.get(1 + digits..)?.get(..length)?;
    Some((body, 1 + digits + length))
}

/// A number of variable length, and its length.
fn variable(bytes: &[u8]) -> Option<(usize, usize)> {
    let digits = bytes.iter().position(|digit| digit & 0x80 == 0)? + 1;
    Some((bytes[..digits].iter().rev().fold(0, |sum, digit| sum << 7 | usize::from(digit & 0x7f)), digits))
}
