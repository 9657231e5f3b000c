//! What must hold for every input whatsoever: called by the fuzz targets of `broker/fuzz` with anything, and by the
//! tests below with damaged packets, a bounded and repeatable piece of the same.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic here is the finding"
)]

mod observer;
mod random;
mod registered;
mod rules;
pub(crate) mod swarm;

use super::codec::{Aliases, Connect, Frame, Inbound, InboundPublish, LARGEST_CONNACK, Outbound, next_frame};
use super::{Shared, greet};
use crate::backend::{Counts, ProtocolVersion};
use crate::config::{Config, Limits, Profile};
use crate::message::{Delivery, Message, QoS, SubscriptionIdentifiers};
use crate::server::ServerIdentity;
use crate::tls::Peer;
use jitp_provisioner::certs::{Attribute, Authority, KeyKind, LeafRequest, Validity};
use jitp_provisioner::{Options, Provisioner, SystemClock};
use mqtt_protocol_core::mqtt::packet::{PacketType, Qos, v3_1_1, v5_0};
use mqtt_protocol_core::mqtt::result_code::MqttError;
use registered::register;
use rustls_pki_types::CertificateDer;
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::time::Instant;

/// No packet here is longer.
const LARGEST: u32 = 64 * 1024;
/// Topic aliases that a client may set.
const ALIASES: u16 = 4;

/// Reads packets from a client of either version, the first byte says which, and writes again what it can.
pub fn codec(input: &[u8]) {
    let Some((first, mut rest)) = input.split_first() else { return };
    let version = if first & 1 == 0 { ProtocolVersion::V311 } else { ProtocolVersion::V5 };
    let mut aliases = Aliases::new(ALIASES);
    while let Ok(Some((frame, length))) = next_frame(rest, LARGEST) {
        assert!((2..=rest.len()).contains(&length) && frame.body.len() <= length - 2);
        if frame.kind == PacketType::Connect {
            connect(&frame);
        }
        match Inbound::parse(&frame, version, &mut aliases) {
            Ok(packet) => inbound(&frame, packet),
            Err(violation) => assert!(!violation.message.is_empty()),
        }
        assert!(aliases.held() <= usize::from(ALIASES));
        rest = &rest[length..];
    }
}

/// What is kept of a CONNECT is no more than what came.
fn connect(frame: &Frame<'_>) {
    match Connect::parse(frame) {
        Ok(connect) => {
            let will = connect.will.as_ref().map_or(0, |will| {
                let properties = will.properties.as_deref();
                let carried = properties.map_or(0, crate::message::PublishProperties::passed_through_bytes);
                will.topic.len() + will.payload.len() + carried
            });
            assert!(connect.client_id.len() + will <= frame.body.len());
            assert!(connect.client_id.len() <= 128 && connect.maximum_packet_size >= LARGEST_CONNACK);
        }
        Err(refused) => assert!(!refused.message.is_empty()),
    }
}

/// What a packet holds is no more than what came, and reads the same after it was written.
fn inbound(frame: &Frame<'_>, packet: Inbound<'_>) {
    let size = frame.body.len();
    match packet {
        Inbound::Publish(publish) => {
            assert!(publish.payload.len() <= size);
            assert_eq!(publish.packet_id == 0, publish.qos == QoS::AtMostOnce);
            for version in [ProtocolVersion::V311, ProtocolVersion::V5] {
                written_and_read(&publish, version);
            }
        }
        Inbound::Subscribe { packet_id, subscriptions } => {
            assert!(3 * subscriptions.len() <= size && !subscriptions.is_empty());
            suback(packet_id, &vec![0; subscriptions.len()]);
        }
        Inbound::Unsubscribe { packet_id, filters } => {
            assert!(packet_id > 0 && 2 * filters.len() <= size && !filters.is_empty());
        }
        Inbound::Puback { packet_id } => acknowledged(packet_id, 0x87, Outbound::puback),
        Inbound::Pubrec { packet_id, .. } => acknowledged(packet_id, 0x87, Outbound::pubrec),
        Inbound::Pubrel { packet_id } => acknowledged(packet_id, 0x92, Outbound::pubrel),
        Inbound::Pubcomp { packet_id } => acknowledged(packet_id, 0x92, Outbound::pubcomp),
        Inbound::Pingreq | Inbound::Disconnect { .. } => {}
    }
}

fn written_and_read(publish: &InboundPublish<'_>, version: ProtocolVersion) {
    let mut message = Message::new(publish.topic.as_str(), publish.payload.to_vec(), publish.qos);
    message.properties = publish.properties.clone();
    if let Some(expiry) = publish.expiry {
        message = message.expiring_after(expiry);
    }
    let delivery = Delivery {
        message: Arc::new(message),
        qos: publish.qos,
        retain: publish.retain,
        stored: crate::session::durable::Sequence::default(),
        subscription_identifiers: SubscriptionIdentifiers::None,
        shared: None,
    };
    let mut out = Outbound::new(version, u32::MAX);
    assert!(out.publish(&delivery, publish.packet_id, false, Instant::now()));
    let (frame, length) = next_frame(out.bytes(), u32::MAX).unwrap().unwrap();
    assert_eq!(length, out.len());
    let again = match Inbound::parse(&frame, version, &mut Aliases::new(0)) {
        Ok(Inbound::Publish(again)) => again,
        other => panic!("{publish:?} was written as {other:?}"),
    };
    assert_eq!(
        (again.topic.as_str(), again.packet_id, again.qos, again.retain, again.payload),
        (publish.topic.as_str(), publish.packet_id, publish.qos, publish.retain, publish.payload)
    );
    if version == ProtocolVersion::V5 {
        assert_eq!(again.properties, publish.properties);
        assert_eq!(again.expiry.is_some(), publish.expiry.is_some());
    }
    sent(out.bytes(), version);
}

fn acknowledged(packet_id: u16, refusal: u8, write: impl Fn(&mut Outbound, u16, u8)) {
    for version in [ProtocolVersion::V311, ProtocolVersion::V5] {
        for code in [0, refusal] {
            let mut out = Outbound::new(version, u32::MAX);
            write(&mut out, packet_id, code);
            let (frame, length) = next_frame(out.bytes(), 16).unwrap().unwrap();
            assert_eq!((length, &frame.body[..2]), (out.len(), &packet_id.to_be_bytes()[..]));
            assert!(Inbound::parse(&frame, version, &mut Aliases::new(0)).is_ok());
        }
    }
}

fn suback(packet_id: u16, codes: &[u8]) {
    for version in [ProtocolVersion::V311, ProtocolVersion::V5] {
        let mut out = Outbound::new(version, u32::MAX);
        out.suback(packet_id, codes);
        assert_eq!(sent(out.bytes(), version), [Sent::Answer]);
    }
}

/// A packet from the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Sent {
    Connack { accepted: bool },
    Publish { bytes: usize },
    Answer,
    Disconnect,
}

/// Reads what the broker sent with another's decoder; all of it must be whole packets.
fn sent(mut bytes: &[u8], version: ProtocolVersion) -> Vec<Sent> {
    let mut packets = Vec::new();
    while let Some((first, rest)) = bytes.split_first() {
        let digits = rest.iter().position(|digit| digit & 0x80 == 0).unwrap() + 1;
        let length = rest[..digits].iter().rev().fold(0, |sum, digit| sum << 7 | usize::from(digit & 0x7f));
        let body = &rest[digits..][..length];
        let read = match version {
            ProtocolVersion::V311 => packet_of_v3(*first, body),
            ProtocolVersion::V5 => packet_of_v5(*first, body),
        };
        let (packet, used) = read.unwrap_or_else(|error| panic!("{error:?}: {first:#04x} {body:02x?}"));
        assert_eq!(used, length, "{packet:?} has something behind it");
        packets.push(packet);
        bytes = &rest[digits + length..];
    }
    packets
}

fn packet_of_v3(first: u8, body: &[u8]) -> Result<(Sent, usize), MqttError> {
    match first >> 4 {
        2 => v3_1_1::Connack::parse(body).map(|(_, n)| (Sent::Connack { accepted: body[1] == 0 }, n)),
        3 => v3_1_1::Publish::parse(first & 0xf, body.into()).map(|(packet, n)| {
            has_id_if_it_needs_one(packet.qos(), packet.packet_id());
            (Sent::Publish { bytes: body.len() }, n)
        }),
        4 => v3_1_1::Puback::parse(body).map(|(_, n)| (Sent::Answer, n)),
        5 => v3_1_1::Pubrec::parse(body).map(|(_, n)| (Sent::Answer, n)),
        6 => v3_1_1::Pubrel::parse(body).map(|(_, n)| (Sent::Answer, n)),
        7 => v3_1_1::Pubcomp::parse(body).map(|(_, n)| (Sent::Answer, n)),
        9 => v3_1_1::Suback::parse(body).map(|(_, n)| (Sent::Answer, n)),
        11 => v3_1_1::Unsuback::parse(body).map(|(_, n)| (Sent::Answer, n)),
        13 => v3_1_1::Pingresp::parse(body).map(|(_, n)| (Sent::Answer, n)),
        _ => Err(MqttError::ProtocolError),
    }
}

fn packet_of_v5(first: u8, body: &[u8]) -> Result<(Sent, usize), MqttError> {
    match first >> 4 {
        2 => v5_0::Connack::parse(body).map(|(_, n)| (Sent::Connack { accepted: body[1] == 0 }, n)),
        3 => v5_0::Publish::parse(first & 0xf, body.into()).map(|(packet, n)| {
            has_id_if_it_needs_one(packet.qos(), packet.packet_id());
            (Sent::Publish { bytes: body.len() }, n)
        }),
        4 => v5_0::Puback::parse(body).map(|(_, n)| (Sent::Answer, n)),
        5 => v5_0::Pubrec::parse(body).map(|(_, n)| (Sent::Answer, n)),
        6 => v5_0::Pubrel::parse(body).map(|(_, n)| (Sent::Answer, n)),
        7 => v5_0::Pubcomp::parse(body).map(|(_, n)| (Sent::Answer, n)),
        9 => v5_0::Suback::parse(body).map(|(_, n)| (Sent::Answer, n)),
        11 => v5_0::Unsuback::parse(body).map(|(_, n)| (Sent::Answer, n)),
        13 => v5_0::Pingresp::parse(body).map(|(_, n)| (Sent::Answer, n)),
        14 => v5_0::Disconnect::parse(body).map(|(_, n)| (Sent::Disconnect, n)),
        _ => Err(MqttError::ProtocolError),
    }
}

fn has_id_if_it_needs_one(qos: Qos, packet_id: Option<u16>) {
    assert_eq!(packet_id.is_some_and(|id| id > 0), qos != Qos::AtMostOnce);
}

/// A registry with one device, whose connections are played: all of a connection but TCP and TLS.
pub struct Plant {
    runtime: Runtime,
    provisioner: Provisioner,
    identity: ServerIdentity,
    device: CertificateDer<'static>,
}

impl Plant {
    /// Within an empty directory.
    pub fn start(directory: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let validity = Validity { not_before: 0, not_after: 4_000_000_000 };
        let name = [(Attribute::CommonName, "plant".to_owned())];
        let authority = Authority::create(&name, validity, KeyKind::EcP256).unwrap();
        let server = authority.issue_server(&["localhost".to_owned()], &[], validity).unwrap();
        let identity = ServerIdentity {
            certificate_chain: server.certificate.to_pem(),
            private_key: server.private_key.expose().to_owned(),
        };
        let request = LeafRequest { subject: name.to_vec(), validity, key: KeyKind::EcP256 };
        let device = authority.issue_device(&request).unwrap().certificate;
        let provisioner = runtime.block_on(async {
            let provisioner =
                Provisioner::open(directory, Options::default(), Arc::new(SystemClock)).await.unwrap();
            let everything = r#"{"Version":"2012-10-17","Statement":[
                {"Effect":"Allow","Action":"iot:*","Resource":"*"},
                {"Effect":"Deny","Action":"iot:*","Resource":"arn:aws:iot:us-east-1:000000000000:*/denied"}]}"#;
            register(&provisioner, &device, "everything", everything).await;
            provisioner
        });
        let device = CertificateDer::from(device.der().to_vec());
        Self { runtime, provisioner, identity, device }
    }

    /// A client that sends this and then ends the connection, of a broker that was started for it.
    pub fn connection(&self, input: &[u8]) {
        let _ = self.answers(input);
    }

    fn answers(&self, input: &[u8]) -> Vec<Sent> {
        let (answer, counts) = self.runtime.block_on(self.play(input));
        let version = match input.get(8) {
            Some(5..) => ProtocolVersion::V5,
            _ => ProtocolVersion::V311,
        };
        let packets = sent(&answer, version);
        let Some((first, rest)) = packets.split_first() else { return packets };
        assert!(matches!(first, Sent::Connack { .. }), "{first:?} before CONNACK");
        assert!(*first == Sent::Connack { accepted: true } || rest.is_empty(), "{rest:?} after a refusal");
        let last = rest.iter().position(|packet| *packet == Sent::Disconnect).unwrap_or(rest.len());
        assert!(last + 1 >= rest.len(), "{rest:?} after DISCONNECT");
        assert!(!rest.iter().any(|packet| matches!(packet, Sent::Connack { .. })), "a second CONNACK");
        let largest = usize::try_from(Limits::default().packet_bytes).unwrap();
        let fits = |packet: &Sent| !matches!(packet, Sent::Publish { bytes } if *bytes > largest + 4);
        assert!(rest.iter().all(fits), "a message that grew");
        assert_eq!(counts.online, 0, "the connection has ended");
        assert!(counts.offline <= 1 && (counts.offline == 1 || counts.subscriptions == 0), "{counts:?}");
        packets
    }

    /// What the broker answered, and what it holds afterwards.
    async fn play(&self, input: &[u8]) -> (Vec<u8>, Counts) {
        let config = Config {
            listeners: Vec::new(),
            profile: Profile::Standard,
            limits: Limits::default(),
            disconnect_at_expiry: false,
            recheck_connect: false,
            http: None,
        };
        let (_running, stopping) = watch::channel(false);
        let shared = Shared::start(config, &self.identity, self.provisioner.clone(), stopping).await.unwrap();
        let leaf = jitp_provisioner::certs::Certificate::from_der(&self.device).unwrap();
        let peer = Peer { chain: vec![self.device.clone()], leaf, server_name: Some("localhost".into()) };
        let (client, server) = tokio::io::duplex(16 * 1024);
        let served = async {
            if let Some(established) =
                greet(Arc::clone(&shared), server, peer, ([127, 0, 0, 1], 1).into()).await
            {
                established.run().await;
            }
        };
        let (mut answers, mut packets) = tokio::io::split(client);
        let talk = async {
            // Fails when the broker has had enough.
            let _ = packets.write_all(input).await;
            let _ = packets.shutdown().await;
        };
        let mut answer = Vec::new();
        let ((), (), read) = tokio::join!(served, talk, answers.read_to_end(&mut answer));
        read.unwrap();
        let counts = shared.backend.counts();
        // The next one begins with nothing stored.
        shared.backend.forget_all().await;
        shared.backend.settled().await;
        (answer, counts)
    }
}

#[cfg(test)]
mod tests {
    use super::random::Random;
    use super::*;

    #[test]
    fn damaged_packets_are_read_or_refused_and_what_is_written_reads_the_same() {
        let mut random = Random(0x9E37_79B9_7F4A_7C15);
        for version in [4, 5] {
            let packets = packets(version);
            for packet in &packets {
                codec(&[&[version][..], packet].concat());
            }
            let all = [&[version][..], &packets.concat()].concat();
            codec(&all);
            for _ in 0..3_000 {
                codec(&damaged(&all, &packets, &mut random));
            }
        }
    }

    #[test]
    fn any_sequence_of_packets_is_answered_in_order_and_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let plant = Plant::start(directory.path());
        let mut random = Random(0x2545_F491_4F6C_DD1D);
        for version in [4, 5] {
            let packets = packets(version);
            let connect = &packets[0];
            let undamaged = plant.answers(&packets[..packets.len() - 2].concat());
            let count = |is: fn(&Sent) -> bool| undamaged.iter().filter(|sent| is(sent)).count();
            assert_eq!(undamaged[0], Sent::Connack { accepted: true });
            assert!(count(|sent| matches!(sent, Sent::Publish { .. })) >= 2, "{undamaged:?}");
            assert!(count(|sent| *sent == Sent::Answer) >= 5, "{undamaged:?}");
            for packet in &packets {
                plant.connection(&[&connect[..], packet].concat());
            }
            for _ in 0..150 {
                let mut input = connect.clone();
                for _ in 0..random.below(12) {
                    input.extend(&packets[1 + random.below(packets.len() - 1)]);
                }
                plant.connection(&input);
                plant.connection(&damaged(&input, &packets, &mut random));
            }
        }
    }

    /// CONNECT first, then one and more of everything that a client may send. The last two end the connection.
    fn packets(version: u8) -> Vec<Vec<u8>> {
        let frame = |first: u8, parts: &[&[u8]]| {
            let body = parts.concat();
            assert!(body.len() < 128);
            [&[first, body.len() as u8][..], &body].concat()
        };
        // Property blocks are there in version 5 alone.
        let only_v5 = |block: &'static [u8]| if version == 5 { block } else { &[] };
        let v = |block: &'static [u8]| -> &'static [u8] { if version == 5 { block } else { b"" } };
        vec![
            frame(
                0x10,
                &[
                    b"\0\x04MQTT",
                    &[version, 0b1010_1110, 0, 60],
                    only_v5(b"\x0b\x11\0\0\0\x09\x21\0\x05\x22\0\x02"),
                    b"\0\x04pump",
                    only_v5(b"\x05\x18\0\0\0\x01"),
                    b"\0\x04will\0\x04gone\0\x04user",
                ],
            ),
            frame(0x82, &[b"\0\x01", v(b"\0"), b"\0\x01#\x02\0\x03a/+\x01\0\x06denied\0"]),
            frame(0x82, &[b"\0\x02", v(b"\x02\x0b\x07"), b"\0\x0a$share/g/a\x01"]),
            frame(0x82, &[b"\0\x03", v(b"\0"), b"\0\x0d$aws/events/#\x01\0\x03a/#\x01"]),
            frame(0x30, &[b"\0\x03a/b", v(b"\0"), b"payload"]),
            frame(0x31, &[b"\0\x03a/b", v(b"\x03\x23\0\x01"), b"retained"]),
            frame(0x32, &[b"\0\x01a\0\x05", v(b"\x07\x01\x01\x02\0\0\0\x09"), b"p"]),
            frame(0x34, &[b"\0\x01a\0\x06", v(b"\x0f\x03\0\x01t\x08\0\x01r\x26\0\x01n\0\x01v"), b"p"]),
            frame(0x3c, &[b"\0\x01a\0\x06", v(b"\x04\x09\0\x01c"), b"p"]),
            frame(0x62, &[b"\0\x06"]),
            frame(0x40, &[b"\0\x01"]),
            frame(0x50, &[b"\0\x02"]),
            frame(0x70, &[b"\0\x02"]),
            frame(0xa2, &[b"\0\x04", v(b"\0"), b"\0\x01#\0\x03a/+"]),
            frame(0xc0, &[]),
            frame(0xe0, &[v(b"\x04")]),
            frame(0x30, &[b"\0\x06denied", v(b"\0"), b"p"]),
        ]
    }

    /// Up to four edits: flip bits, cut a piece out, double one, put a packet in.
    fn damaged(seed: &[u8], packets: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
        let mut bytes = seed.to_vec();
        for _ in 0..=random.below(4) {
            let at = random.below(bytes.len());
            let end = (at + random.below(8)).min(bytes.len());
            match random.below(4) {
                0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
                1 => drop(bytes.drain(at..end)),
                2 => {
                    let copy = bytes[at..end].to_vec();
                    drop(bytes.splice(at..at, copy));
                }
                _ => drop(bytes.splice(at..at, packets[random.below(packets.len())].iter().copied())),
            }
        }
        bytes
    }
}
