//! What the broker sends, read strictly.
use super::fields::Rest;
use super::property::Property;
use super::{Publish, V5};
use crate::Frame;
use anyhow::{bail, ensure};

/// A packet from the broker. `kind` is the packet type.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields of the specification")]
pub enum Packet {
    Connack {
        session_present: bool,
        code: u8,
        properties: Vec<Property>,
    },
    Publish(Publish),
    /// PUBACK 4, PUBREC 5, PUBREL 6, PUBCOMP 7.
    Answer {
        kind: u8,
        packet_id: u16,
        code: u8,
        properties: Vec<Property>,
    },
    /// SUBACK 9, UNSUBACK 11 (in MQTT 3.1.1 without codes).
    Codes {
        kind: u8,
        packet_id: u16,
        codes: Vec<u8>,
        properties: Vec<Property>,
    },
    Pingresp,
    Disconnect {
        code: u8,
        properties: Vec<Property>,
    },
}

/// Every CONNACK code of each version.
const CONNACK: [&[u8]; 2] = [
    &[0, 1, 2, 3, 4, 5],
    &[
        0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90, 0x95, 0x97, 0x99,
        0x9a, 0x9b, 0x9c, 0x9d, 0x9f,
    ],
];
/// Every DISCONNECT code that a server may send.
const DISCONNECT: &[u8] = &[
    0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8b, 0x8d, 0x8e, 0x8f, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97,
    0x98, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1, 0xa2,
];
const SUBACK: [&[u8]; 2] =
    [&[0, 1, 2, 0x80], &[0, 1, 2, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2]];
const UNSUBACK: &[u8] = &[0x00, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91];
const RECEIVED: &[u8] = &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
const RELEASED: &[u8] = &[0x00, 0x92];

impl Packet {
    /// Reads a packet of a connection of this version.
    pub fn decode(frame: &Frame, level: u8) -> anyhow::Result<Self> {
        let (kind, flags, rest) = (frame.kind(), frame.header & 0xf, Rest(&frame.body));
        if kind != 3 {
            ensure!(flags == if kind == 6 { 2 } else { 0 }, "reserved flags: {frame:?}");
        }
        let packet = Self::decode_kind(kind, flags, rest, level)?;
        for property in packet.properties() {
            ensure!(property.belongs_to(kind), "{property:?} does not belong there: {packet:?}");
        }
        Ok(packet)
    }

    fn decode_kind(kind: u8, flags: u8, mut rest: Rest<'_>, level: u8) -> anyhow::Result<Self> {
        let v5 = level == V5;
        let of = |[old, new]: [&'static [u8]; 2]| if v5 { new } else { old };
        let properties = |rest: &mut Rest<'_>| match v5 && !rest.0.is_empty() {
            true => Property::decode_block(rest),
            false => Ok(Vec::new()),
        };
        let packet = match kind {
            2 => {
                let (flags, code) = (rest.byte()?, rest.byte()?);
                ensure!(flags < 2 && of(CONNACK).contains(&code), "CONNACK {flags:#x} {code:#x}");
                ensure!(code == 0 || flags == 0, "Session Present of a refusal");
                ensure!(!v5 || !rest.0.is_empty(), "CONNACK without a property length");
                Self::Connack { session_present: flags == 1, code, properties: properties(&mut rest)? }
            }
            3 => return Publish::decode(flags, rest, level).map(Self::Publish),
            4..=7 => {
                let packet_id = rest.short()?;
                let code = if v5 && !rest.0.is_empty() { rest.byte()? } else { 0 };
                let codes = if kind < 6 { RECEIVED } else { RELEASED };
                ensure!(packet_id > 0 && codes.contains(&code), "{kind} of {packet_id} with {code:#x}");
                Self::Answer { kind, packet_id, code, properties: properties(&mut rest)? }
            }
            9 | 11 => {
                let packet_id = rest.short()?;
                ensure!(packet_id > 0 && (!v5 || !rest.0.is_empty()), "SUBACK or UNSUBACK that is too short");
                let properties = properties(&mut rest)?;
                let codes = std::mem::take(&mut rest.0).to_vec();
                let known = if kind == 9 { of(SUBACK) } else { UNSUBACK };
                ensure!(codes.iter().all(|code| known.contains(code)), "{kind} with {codes:x?}");
                ensure!(v5 || kind == 9 || codes.is_empty(), "an UNSUBACK of 3.1.1 with codes");
                Self::Codes { kind, packet_id, codes, properties }
            }
            13 => Self::Pingresp,
            14 if v5 => {
                let code = if rest.0.is_empty() { 0 } else { rest.byte()? };
                ensure!(DISCONNECT.contains(&code), "DISCONNECT {code:#x}");
                Self::Disconnect { code, properties: properties(&mut rest)? }
            }
            _ => bail!("a packet of type {kind} from a server"),
        };
        rest.end()?;
        Ok(packet)
    }

    /// Its properties.
    pub fn properties(&self) -> &[Property] {
        match self {
            Self::Connack { properties, .. }
            | Self::Answer { properties, .. }
            | Self::Codes { properties, .. }
            | Self::Disconnect { properties, .. } => properties,
            Self::Publish(publish) => &publish.properties,
            Self::Pingresp => &[],
        }
    }

    /// CONNACK's code; fails for anything else.
    pub fn connack_code(&self) -> anyhow::Result<u8> {
        match self {
            Self::Connack { code, .. } => Ok(*code),
            other => bail!("no CONNACK: {other:?}"),
        }
    }

    /// CONNACK's Session Present.
    pub fn session_present(&self) -> bool {
        matches!(self, Self::Connack { session_present: true, .. })
    }

    /// The first property of which there is a value.
    pub fn property<T>(&self, value: impl Fn(&Property) -> Option<T>) -> Option<T> {
        self.properties().iter().find_map(value)
    }
}
