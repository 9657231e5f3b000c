//! MQTT over WebSocket: tungstenite as the client, over TLS with device certificates.
#![allow(clippy::indexing_slicing, reason = "a test that fails may panic")]

use anyhow::{Context, bail, ensure};
use jitp_certs::Issued;
use jitp_tests::{Broker, BrokerOptions, PATIENCE, Plant, Shared, Wire, wire};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use tungstenite::client::IntoClientRequest;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::{Message, WebSocket};

type Tls = StreamOwned<ClientConnection, TcpStream>;

static PLANT: Shared<Plant> = Shared::new();

fn plant() -> anyhow::Result<Arc<Plant>> {
    PLANT.get(|| Plant::with(BrokerOptions::arguments(&["--https", "127.0.0.1:0"])))
}

fn tls(broker: &Broker, device: &Issued) -> anyhow::Result<Tls> {
    let tcp = TcpStream::connect(broker.https())?;
    tcp.set_read_timeout(Some(PATIENCE))?;
    let session =
        ClientConnection::new(wire::device_tls(broker, device)?, ServerName::try_from("localhost")?)?;
    Ok(StreamOwned::new(session, tcp))
}

/// A WebSocket with MQTT on it.
struct Device {
    socket: WebSocket<Tls>,
    /// What came and is not a whole packet yet.
    received: Vec<u8>,
}

impl Device {
    /// The opening handshake, no MQTT yet.
    fn open(plant: &Plant, device: &Issued) -> anyhow::Result<Self> {
        let mut request = "wss://localhost/mqtt".into_client_request()?;
        request.headers_mut().insert("Sec-WebSocket-Protocol", "mqtt".parse()?);
        let (socket, response) = tungstenite::client::client(request, tls(&plant.broker, device)?)
            .map_err(|error| anyhow::anyhow!("the WebSocket was refused: {error}"))?;
        ensure!(response.headers()["sec-websocket-protocol"] == "mqtt", "{response:?}");
        Ok(Self { socket, received: Vec::new() })
    }

    /// CONNECT, which is accepted.
    fn connect(plant: &Plant, device: &Issued, level: u8, client_id: &str) -> anyhow::Result<Self> {
        let mut device = Self::open(plant, device)?;
        device.send(&wire::connect(level, client_id))?;
        let connack = device.packet()?;
        ensure!(connack[0] == 0x20 && connack[3] == 0, "{connack:?}");
        Ok(device)
    }

    fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        Ok(self.socket.send(Message::binary(bytes.to_vec()))?)
    }

    /// The next packet.
    fn packet(&mut self) -> anyhow::Result<Vec<u8>> {
        loop {
            if let Some(length) =
                packet_length(&self.received).filter(|length| *length <= self.received.len())
            {
                return Ok(self.received.drain(..length).collect());
            }
            match self.socket.read()? {
                Message::Binary(bytes) => self.received.extend_from_slice(&bytes),
                Message::Pong(_) => {}
                other => bail!("{other:?} instead of a packet"),
            }
        }
    }

    /// The broker closes with this code, in order.
    fn closed(&mut self, code: CloseCode) -> anyhow::Result<()> {
        ensure!(self.received.is_empty(), "{:?} before the end", self.received);
        let close = CloseFrame { code, reason: "".into() };
        let said = self.socket.read()?;
        ensure!(said == Message::Close(Some(close)), "{said:?}");
        // In order mostly; a client that takes too long to say Close, too, is not waited for.
        ensure!(self.socket.read().is_err(), "something came after Close");
        Ok(())
    }
}

/// Header, remaining length and body together.
fn packet_length(bytes: &[u8]) -> Option<usize> {
    let digits = bytes.get(1..)?.iter().position(|digit| digit & 0x80 == 0)? + 1;
    let body = bytes[1..=digits].iter().rev().fold(0, |sum, digit| sum << 7 | usize::from(digit & 0x7f));
    Some(1 + digits + body)
}

// 3.1.1: 6.0.0-4
// 5.0: 6.0.0-4
#[tokio::test]
async fn an_unknown_device_is_provisioned_and_talks_with_others_over_tcp() -> anyhow::Result<()> {
    let plant = plant()?;
    let mut watcher = plant.watcher("ws-watcher", &["devices/ws-first/#"]).await?;
    let certificate = plant.factory.device("ws-first")?;
    let mut device = Device::connect(&plant, &certificate, 4, "ws-first")?;
    let attempts = plant.broker.attempts(&certificate.id(), 1)?;
    ensure!(attempts[0]["thingName"] == "ws-first", "{attempts:?}");
    ensure!(attempts[0]["sourceIp"] == "127.0.0.1", "{attempts:?}");

    device.send(&wire::publish("devices/ws-first/out", b"\"hello\"", 1, 7))?;
    ensure!(device.packet()? == wire::puback(7));
    ensure!(watcher.next().await?.payload == "hello");

    device.send(&wire::subscribe("devices/ws-first/in", 1, 8))?;
    ensure!(device.packet()? == [0x90, 3, 0, 8, 1]);
    let (mut other, answer) =
        Wire::connect(&plant.broker, &*plant.staff.device("ws-staff")?, "ws-staff").await?;
    ensure!(answer.connack_code()? == 0);
    // Longer than any buffer, so that it comes in pieces.
    let long = vec![b'x'; 120_000];
    ensure!(other.publishes("devices/ws-first/in", &long).await?);
    let packet = device.packet()?;
    ensure!(packet[0] == 0x32 && packet.ends_with(&long));
    Ok(())
}

// 3.1.1: 6.0.0-2
// 5.0: 6.0.0-2
#[test]
fn packets_span_messages_and_share_them_and_a_frame_may_be_longer_than_any_packet() -> anyhow::Result<()> {
    let plant = plant()?;
    let mut device = Device::open(&plant, &*plant.factory.device("ws-frames")?)?;
    for byte in wire::connect(4, "ws-frames") {
        device.send(&[byte])?;
        device.socket.send(Message::Ping("still there?".into()))?;
    }
    let mut pongs = 0;
    loop {
        match device.socket.read()? {
            Message::Pong(pong) => {
                ensure!(&pong[..] == b"still there?");
                pongs += 1;
            }
            Message::Binary(packet) => {
                ensure!(packet[..] == [0x20, 2, 0, 0], "{packet:?}");
                break;
            }
            other => bail!("{other:?}"),
        }
    }
    ensure!(pongs > 0, "no ping was answered before CONNACK");

    // Far more than max_packet_bytes in one frame, in small packets.
    let packets: Vec<u8> =
        (1..=400).flat_map(|id| wire::publish("devices/ws-frames/out", &[b'x'; 1000], 1, id)).collect();
    let (first, rest) = packets.split_at(packets.len() - 1000);
    let frame =
        |bytes: &[u8], kind, last| Message::Frame(Frame::message(bytes.to_vec(), OpCode::Data(kind), last));
    device.socket.send(frame(first, Data::Binary, false))?;
    device.socket.send(frame(rest, Data::Continue, true))?;
    for id in 1..=400 {
        let packet = device.packet()?;
        ensure!(packet == wire::puback(id), "{packet:?} instead of PUBACK {id}");
    }
    Ok(())
}

#[test]
fn a_packet_that_is_too_large_is_refused_as_on_tcp() -> anyhow::Result<()> {
    let plant = plant()?;
    let mut device = Device::connect(&plant, &*plant.factory.device("ws-large")?, 5, "ws-large")?;
    // The header of a PUBLISH of 200,000 bytes is enough.
    device.send(&[0x30, 0xc0, 0x9a, 0x0c])?;
    let packet = device.packet()?;
    ensure!((packet[0], packet[2]) == (0xe0, 0x95), "{packet:?}");
    device.closed(CloseCode::Normal)
}

#[test]
fn disconnect_is_followed_by_the_closing_handshake() -> anyhow::Result<()> {
    let plant = plant()?;
    let mut device = Device::connect(&plant, &*plant.factory.device("ws-bye")?, 5, "ws-bye")?;
    device.send(&[0xe0, 0])?;
    device.closed(CloseCode::Normal)
}

// 3.1.1: 6.0.0-1
// 5.0: 6.0.0-1
#[test]
fn a_text_frame_ends_the_connection_with_1003() -> anyhow::Result<()> {
    let plant = plant()?;
    let mut device = Device::connect(&plant, &*plant.factory.device("ws-text")?, 5, "ws-text")?;
    device.socket.send(Message::text("hello"))?;
    let packet = device.packet()?;
    ensure!((packet[0], packet[2]) == (0xe0, 0x82), "{packet:?}");
    device.closed(CloseCode::Unsupported)?;
    plant.broker.wait_for_log("the text frame", |log| log.contains("a WebSocket text frame"))
}

#[test]
fn who_breaks_the_protocol_of_frames_is_told_1002() -> anyhow::Result<()> {
    let plant = plant()?;
    let mut device = Device::connect(&plant, &*plant.factory.device("ws-unmasked")?, 4, "ws-unmasked")?;
    let stream = device.socket.get_mut();
    stream.write_all(&[0x82, 2, 0xc0, 0])?;
    stream.flush()?;
    device.closed(CloseCode::Protocol)
}

#[test]
fn whoever_does_not_offer_mqtt_is_told_so_and_http_goes_on() -> anyhow::Result<()> {
    let plant = plant()?;
    let mut stream = tls(&plant.broker, &*plant.factory.device("ws-http")?)?;
    let mut ask = |more: &str| {
        let head = "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        stream.write_all(format!("{head}{more}\r\n").as_bytes())?;
        answer(&mut stream)
    };
    let (status, body) = ask("Upgrade: websocket\r\n")?;
    ensure!(status == 400 && body.contains("Sec-WebSocket-Protocol: mqtt"), "{status} {body}");
    let (status, body) = ask("Upgrade: websocket\r\nSec-WebSocket-Protocol: wamp\r\n")?;
    ensure!(status == 400 && body.contains("Sec-WebSocket-Protocol: mqtt"), "{status} {body}");
    let (status, body) = ask("")?;
    ensure!(status == 426 && body.contains("wss"), "{status} {body}");
    Ok(())
}

/// Status and body of an answer whose length is told.
fn answer(stream: &mut impl Read) -> anyhow::Result<(u16, String)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    let head = String::from_utf8(head)?.to_ascii_lowercase();
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
    let mut body = vec![0; length.context("no length")?.parse()?];
    stream.read_exact(&mut body)?;
    let status = head.split(' ').nth(1).context("no status")?;
    Ok((status.parse()?, String::from_utf8(body)?))
}

#[test]
fn a_device_that_the_policies_refuse_is_refused_over_websocket_too() -> anyhow::Result<()> {
    let plant = plant()?;
    let mut device = Device::open(&plant, &*plant.factory.device("ws-other")?)?;
    device.send(&wire::connect(5, "not-its-name"))?;
    let connack = device.packet()?;
    ensure!((connack[0], connack[3]) == (0x20, 0x87), "{connack:?}");
    device.closed(CloseCode::Normal)
}

#[test]
fn at_the_end_of_the_broker_a_device_is_told_and_everything_stops_in_order() -> anyhow::Result<()> {
    let mut plant = Plant::with(BrokerOptions::arguments(&["--https", "127.0.0.1:0"]))?;
    let certificate = plant.factory.device("ws-drained")?;
    let mut device = Device::connect(&plant, &certificate, 5, "ws-drained")?;
    // Opened, and no CONNECT yet: it is let go.
    let mut silent = Device::open(&plant, &certificate)?;
    let told = std::thread::spawn(move || {
        let packet = device.packet()?;
        ensure!((packet[0], packet[2]) == (0xe0, 0x8b), "{packet:?}");
        device.closed(CloseCode::Normal)
    });
    ensure!(plant.broker.terminate()? == Some(0), "{}", plant.broker.log());
    ensure!(silent.packet().is_err());
    told.join().map_err(|_| anyhow::anyhow!("panicked"))?
}
