//! Whoever comes with anything but good manners is shown the door, told why in the log, and disturbs nobody.
#![allow(clippy::indexing_slicing, reason = "a JSON value indexed by what it lacks gives null")]

use anyhow::{Context, ensure};
use jitp_certs::Issued;
use jitp_tests::{BrokerOptions, Factory, PATIENCE, Plant, Shared, Wire, eventually, wire};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

static PLANT: Shared<Plant> = Shared::new();
static HASTY: Shared<Plant> = Shared::new();

/// On a busy machine good manners take their time.
fn plant() -> anyhow::Result<Arc<Plant>> {
    let config = "[broker]\nhandshake_deadline_seconds = 60\nconnect_deadline_seconds = 60\n";
    PLANT.get(|| Plant::with(BrokerOptions::config(config)))
}

/// One that waits for nobody longer than [`DEADLINE`].
fn hasty() -> anyhow::Result<Arc<Plant>> {
    let config = "[broker]\nhandshake_deadline_seconds = 1\nconnect_deadline_seconds = 1\n";
    HASTY.get(|| Plant::with(BrokerOptions::config(config)))
}

const DEADLINE: Duration = Duration::from_secs(1);

/// A handshake with the hasty one that came in time.
async fn shaken(plant: &Plant, device: &Issued) -> anyhow::Result<Wire> {
    eventually("a handshake in time", || async { Ok(Wire::open(&plant.broker, device).await.ok()) }).await
}

/// A device that is connected while others misbehave, and must not notice.
struct Bystander {
    wire: Wire,
    topic: String,
}

impl Bystander {
    async fn of(plant: &Plant, name: &str) -> anyhow::Result<Self> {
        let (wire, answer) = Wire::connect(&plant.broker, &*plant.factory.device(name)?, name).await?;
        ensure!(answer.connack_code()? == 0, "{answer:?}");
        Ok(Self { wire, topic: format!("devices/{name}/alive") })
    }

    async fn is_served(&mut self) -> anyhow::Result<()> {
        ensure!(self.wire.publishes(&self.topic, b"here").await?, "the bystander was disconnected");
        Ok(())
    }
}

/// Sends bytes without TLS and reads until the broker closes; returns what it said.
async fn shout(plant: &Plant, bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut tcp = TcpStream::connect(plant.broker.mqtt()).await?;
    let _ = tcp.write_all(bytes).await;
    until_closed(&mut tcp).await
}

async fn until_closed(tcp: &mut TcpStream) -> anyhow::Result<Vec<u8>> {
    let mut said = Vec::new();
    // A reset is as good as an orderly end.
    let _ = tokio::time::timeout(PATIENCE, tcp.read_to_end(&mut said)).await.context("it is not closed")?;
    Ok(said)
}

/// A device of the plant that has been provisioned and is not connected.
async fn known(plant: &Plant, name: &str) -> anyhow::Result<Issued> {
    let device = plant.factory.device(name)?.issued;
    let (_, answer) = Wire::connect(&plant.broker, &device, name).await?;
    ensure!(answer.connack_code()? == 0, "{answer:?}");
    Ok(device)
}

/// An attempt with this reason whose message says this.
fn attempted(plant: &Plant, reason: &str, says: &str) -> anyhow::Result<()> {
    let found = |answer: &serde_json::Value| {
        let attempts = answer.as_array().into_iter().flatten();
        attempts.filter_map(|attempt| attempt["message"].as_str()).any(|message| message.contains(says))
    };
    plant.broker.wait_for(&["attempts", "--reason", reason, "--limit", "1000"], found).map(|_| ())
}

#[tokio::test]
async fn garbage_instead_of_tls_is_closed_and_logged() -> anyhow::Result<()> {
    let plant = plant()?;
    let mut bystander = Bystander::of(&plant, "by-garbage").await?;
    for garbage in
        [&b"\x00\x01\x02\x03\x04\x05\x06\x07"[..], &[0xff; 4096], b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"]
    {
        shout(&plant, garbage).await?;
    }
    bystander.is_served().await?;
    plant.broker.wait_for_log("the handshake that failed", |log| log.contains("does not speak TLS"))?;
    attempted(&plant, "TLS_HANDSHAKE_FAILED", "does not speak TLS")
}

#[tokio::test]
async fn mqtt_without_tls_is_closed_and_the_log_says_what_it_was() -> anyhow::Result<()> {
    let plant = plant()?;
    let mut bystander = Bystander::of(&plant, "by-plain").await?;
    assert_eq!(shout(&plant, &wire::connect(4, "plain")).await?, b"", "an answer to plain MQTT");
    bystander.is_served().await?;
    plant.broker.wait_for_log("MQTT without TLS", |log| log.contains("MQTT without TLS"))?;
    attempted(&plant, "TLS_HANDSHAKE_FAILED", "MQTT without TLS")
}

#[tokio::test]
async fn garbage_inside_a_tls_record_is_closed() -> anyhow::Result<()> {
    let plant = plant()?;
    let mut bystander = Bystander::of(&plant, "by-record").await?;
    let mut record = vec![0x16, 3, 1, 0x40, 0];
    record.extend([0xa5; 0x4000]);
    shout(&plant, &record).await?;
    bystander.is_served().await
}

#[tokio::test]
async fn a_client_without_a_certificate_does_not_get_through_the_handshake() -> anyhow::Result<()> {
    let plant = plant()?;
    let mut bystander = Bystander::of(&plant, "by-nameless").await?;
    let config = Arc::new(wire::tls(&plant.broker.server_ca()?, None)?);
    // With TLS 1.3 the client only learns of the refusal when it reads.
    if let Ok(mut wire) = Wire::open_with(plant.broker.mqtt(), config).await {
        let _ = wire.send(&wire::connect(4, "nameless")).await;
        assert_eq!(wire.receive().await?, None);
    }
    bystander.is_served().await?;
    plant.broker.wait_for_log("the missing certificate", |log| log.contains("offered no certificate"))?;
    attempted(&plant, "NOT_AUTHENTICATED", "offered no certificate")
}

#[tokio::test]
async fn a_handshake_that_stops_half_way_is_closed_at_the_deadline() -> anyhow::Result<()> {
    let plant = hasty()?;
    let mut silent = TcpStream::connect(plant.broker.mqtt()).await?;
    let mut half = TcpStream::connect(plant.broker.mqtt()).await?;
    half.write_all(&[0x16, 3, 1, 2, 0, 1]).await?;
    until_closed(&mut silent).await?;
    until_closed(&mut half).await?;
    attempted(&plant, "TLS_HANDSHAKE_FAILED", "did not finish within 1s")
}

#[tokio::test]
async fn a_client_that_says_nothing_after_the_handshake_is_closed_at_the_deadline() -> anyhow::Result<()> {
    let plant = hasty()?;
    let device = plant.factory.device("silent")?;
    // A handshake that the client has behind it may still have come too late for the broker.
    eventually("the deadline of CONNECT", || async {
        let mut wire = shaken(&plant, &device).await?;
        ensure!(wire.receive().await?.is_none(), "there is an answer");
        Ok(plant.broker.log().contains("no whole CONNECT came within 1s").then_some(()))
    })
    .await?;
    assert_eq!(plant.broker.run(&["cert", "show", &device.id()])?.code, Some(3), "it was registered");
    Ok(())
}

#[tokio::test]
async fn a_connect_packet_that_comes_a_byte_at_a_time_must_still_come_in_time() -> anyhow::Result<()> {
    let plant = hasty()?;
    let device = plant.factory.device("slow")?;
    let mut wire = shaken(&plant, &device).await?;
    let packet = wire::connect(4, "slow");
    let mut pace = tokio::time::interval(DEADLINE / 5);
    for byte in &packet {
        pace.tick().await;
        if wire.send(&[*byte]).await.is_err() {
            break;
        }
    }
    assert_eq!(wire.receive().await?, None);
    assert_eq!(plant.broker.run(&["thing", "show", "slow"])?.code, Some(3), "it was provisioned");
    Ok(())
}

#[tokio::test]
async fn a_packet_before_connect_is_answered_by_closing_and_provisions_nothing() -> anyhow::Result<()> {
    let plant = plant()?;
    let mut bystander = Bystander::of(&plant, "by-eager").await?;
    let device = plant.factory.device("eager")?;
    let packets =
        [wire::publish("devices/eager/x", b"1", 0, 0), wire::subscribe("#", 0, 1), wire::PINGREQ.to_vec()];
    for packet in packets {
        let mut wire = Wire::open(&plant.broker, &device).await?;
        wire.send(&packet).await?;
        assert_eq!(wire.receive().await?, None, "after {packet:?}");
    }
    assert_eq!(plant.broker.run(&["cert", "show", &device.id()])?.code, Some(3));
    bystander.is_served().await
}

#[tokio::test]
async fn a_malformed_connect_is_refused_and_provisions_nothing() -> anyhow::Result<()> {
    let plant = plant()?;
    let mut bystander = Bystander::of(&plant, "by-malformed").await?;
    let device = plant.factory.device("malformed")?;
    let cases: [(&str, Vec<u8>); 7] = [
        ("no protocol name", wire::packet(0x10, &[])),
        ("a wrong protocol name", wire::packet(0x10, b"\x00\x04MQXX\x04\x02\x00\x3c\x00\x01a")),
        ("flags in the header", wire::packet(0x1f, b"\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a")),
        ("the reserved flag", wire::packet(0x10, b"\x00\x04MQTT\x04\x03\x00\x3c\x00\x01a")),
        ("a client id longer than the packet", wire::packet(0x10, b"\x00\x04MQTT\x04\x02\x00\x3c\x00\xffa")),
        (
            "a client id that is not UTF-8",
            wire::packet(0x10, b"\x00\x04MQTT\x04\x02\x00\x3c\x00\x02\xc3\x28"),
        ),
        ("a remaining length of five bytes", vec![0x10, 0xff, 0xff, 0xff, 0xff, 0x01]),
    ];
    for (what, packet) in cases {
        let mut wire = Wire::open(&plant.broker, &device).await?;
        wire.send(&packet).await?;
        while let Some(answer) = wire.receive().await? {
            ensure!(answer.kind() == 2 && answer.connack_code()? != 0, "{what}: {answer:?}");
        }
    }
    assert_eq!(plant.broker.run(&["cert", "show", &device.id()])?.code, Some(3));
    bystander.is_served().await
}

#[tokio::test]
async fn an_unknown_protocol_level_is_told_so() -> anyhow::Result<()> {
    let plant = plant()?;
    let device = plant.factory.device("ancient")?;
    let packet = wire::packet(0x10, b"\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x07ancient");
    let (_, answer) = Wire::connect_as(&plant.broker, &device, &packet).await?;
    assert_eq!(answer.connack_code()?, 1);
    let (_, answer) = Wire::connect_as(&plant.broker, &device, &wire::connect(6, "ancient")).await?;
    assert!([1, 0x84].contains(&answer.connack_code()?), "{answer:?}");
    assert_eq!(plant.broker.run(&["cert", "show", &device.id()])?.code, Some(3));
    Ok(())
}

#[tokio::test]
async fn a_second_connect_ends_the_connection() -> anyhow::Result<()> {
    let plant = plant()?;
    let mut bystander = Bystander::of(&plant, "by-twice").await?;
    let mut watcher = plant.watcher("twice-watcher", &["$aws/events/presence/#"]).await?;
    let device = known(&plant, "twice").await?;
    let (mut wire, _) = Wire::connect5(&plant.broker, &device, "twice").await?;
    wire.send(&wire::connect(5, "twice")).await?;
    let goodbye = wire.receive().await?.context("closed without DISCONNECT")?;
    assert_eq!((goodbye.kind(), goodbye.body.first()), (14, Some(&0x82)), "{goodbye:?}");
    assert_eq!(wire.receive().await?, None);
    let topic = "$aws/events/presence/disconnected/twice";
    let event = watcher
        .until("the end", |m| m.topic == topic && m.text("disconnectReason") == "CLIENT_ERROR")
        .await?;
    assert_eq!(event.payload["clientInitiatedDisconnect"], false);
    bystander.is_served().await
}

#[tokio::test]
async fn malformed_packets_end_the_connection_and_nothing_else() -> anyhow::Result<()> {
    let plant = plant()?;
    let mut bystander = Bystander::of(&plant, "by-broken").await?;
    let device = known(&plant, "broken").await?;
    let cases: [(&str, Vec<u8>); 8] = [
        ("QoS 3", wire::packet(0x36, b"\x00\x01a\x00\x01")),
        ("a topic longer than the packet", wire::packet(0x30, b"\xff\xffa")),
        ("a wildcard in a topic", wire::publish("devices/broken/#", b"x", 0, 0)),
        ("packet id 0", wire::publish("devices/broken/x", b"x", 1, 0)),
        ("SUBSCRIBE without a filter", wire::packet(0x82, &[0, 1])),
        ("SUBSCRIBE with wrong flags", wire::packet(0x80, b"\x00\x01\x00\x01a\x00")),
        ("the packet type 0", vec![0x00, 0x00]),
        ("a CONNACK from a client", vec![0x20, 2, 0, 0]),
    ];
    for (what, packet) in cases {
        for level in [4, 5] {
            let (mut wire, answer) =
                Wire::connect_as(&plant.broker, &device, &wire::connect(level, "broken")).await?;
            ensure!(answer.connack_code()? == 0, "{what}: {answer:?}");
            wire.send(&packet).await?;
            // MQTT 5 is told; then it is over.
            while let Some(frame) = wire.receive().await? {
                ensure!(frame.kind() == 14, "{what}: {frame:?}");
            }
        }
    }
    bystander.is_served().await
}

#[tokio::test]
async fn an_oversized_packet_is_refused_by_its_length_alone() -> anyhow::Result<()> {
    let plant = plant()?;
    let mut bystander = Bystander::of(&plant, "by-large").await?;
    let device = known(&plant, "large").await?;
    let (mut wire, _) = Wire::connect5(&plant.broker, &device, "large").await?;
    // 256 MB are announced, four bytes of them come: a broker that waited for the rest would wait for ever.
    wire.send(&[0x30, 0xff, 0xff, 0xff, 0x7f, 0, 1, b'a', 0]).await?;
    let goodbye = wire.receive().await?.context("closed without DISCONNECT")?;
    assert_eq!((goodbye.kind(), goodbye.body.first()), (14, Some(&0x95)), "{goodbye:?}");
    assert_eq!(wire.receive().await?, None);

    let mut unknown = Wire::open(&plant.broker, &device).await?;
    unknown.send(&[0x10, 0xff, 0xff, 0xff, 0x7f, 0, 4]).await?;
    while let Some(answer) = unknown.receive().await? {
        assert_ne!(answer.connack_code()?, 0);
    }
    bystander.is_served().await
}

#[tokio::test]
async fn a_client_publish_to_the_brokers_own_topics_is_refused() -> anyhow::Result<()> {
    let plant = plant()?;
    let mut bystander = Bystander::of(&plant, "by-forger").await?;
    let staff = plant.staff.device("forger")?;
    let (mut wire, answer) = Wire::connect5(&plant.broker, &staff, "forger").await?;
    assert_eq!(answer.connack_code()?, 0);
    wire.send(&wire::publish5("$aws/events/presence/connected/forger", b"{}", 1, 9)).await?;
    let answer = wire.receive().await?.context("closed without an answer")?;
    let code = if answer.kind() == 4 { answer.body.get(2) } else { answer.body.first() };
    assert!(matches!(code, Some(0x87 | 0x90)), "{answer:?}");
    bystander.is_served().await
}

#[tokio::test]
async fn a_proof_of_another_key_does_not_get_through_the_handshake() -> anyhow::Result<()> {
    let plant = plant()?;
    let mut bystander = Bystander::of(&plant, "by-thief").await?;
    let victim = known(&plant, "victim").await?;
    let thief = Factory::new("Thief")?.device("thief")?;
    let stolen = Issued { certificate: victim.certificate, private_key: thief.issued.private_key.clone() };
    if let Ok(mut wire) = Wire::open(&plant.broker, &stolen).await {
        let _ = wire.send(&wire::connect(4, "victim")).await;
        assert_eq!(wire.receive().await?, None);
    }
    plant
        .broker
        .wait_for_log("the stolen certificate", |log| log.contains("does not hold the private key"))?;
    bystander.is_served().await
}
