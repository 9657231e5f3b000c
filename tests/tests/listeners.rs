//! The front doors: several listeners, IPv6, and the PROXY protocol of load balancers in front.
#![allow(clippy::indexing_slicing, reason = "a JSON value indexed by what it lacks gives null")]

use anyhow::ensure;
use jitp_certs::Issued;
use jitp_tests::{Broker, BrokerOptions, PATIENCE, Plant, Wire, wire};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use tokio::io::AsyncWriteExt;

/// Three more listeners: one that expects load balancers of 127.0.0.1, one that expects others, and one of HTTPS.
const LISTENERS: &str = r#"
[[broker.listeners]]
address = "127.0.0.1:0"
proxy_protocol = true
trusted_proxies = ["192.0.2.0/24", "127.0.0.1"]

[[broker.listeners]]
address = "127.0.0.1:0"
proxy_protocol = true
trusted_proxies = ["192.0.2.0/24"]

[[broker.listeners]]
address = "127.0.0.1:0"
kind = "https"
proxy_protocol = true
"#;
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// A header that says PROXY for a TCP client.
fn proxied(client: SocketAddr) -> Vec<u8> {
    let (family, mut addresses) = match client {
        SocketAddr::V4(v4) => (0x11, [v4.ip().octets(), [10, 0, 0, 1]].concat()),
        SocketAddr::V6(v6) => (0x21, [v6.ip().octets(), [0; 16]].concat()),
    };
    addresses.extend(client.port().to_be_bytes());
    addresses.extend(8883_u16.to_be_bytes());
    // What a load balancer adds: PP2_TYPE_UNIQUE_ID, and one of AWS's (0xEA).
    addresses.extend([0x05, 0, 4, 1, 2, 3, 4, 0xea, 0, 2, 9, 9]);
    let mut header = [&SIGNATURE[..], &[0x21, family]].concat();
    header.extend((addresses.len() as u16).to_be_bytes());
    header.extend(addresses);
    header
}

/// TLS and CONNECT behind these bytes; the code of CONNACK.
async fn connect(
    plant: &Plant,
    to: SocketAddr,
    header: &[u8],
    device: &Issued,
    name: &str,
) -> anyhow::Result<u8> {
    let mut tcp = tokio::net::TcpStream::connect(to).await?;
    tcp.write_all(header).await?;
    let mut wire = Wire::over(tcp, wire::device_tls(&plant.broker, device)?).await?;
    wire.send(&wire::connect(5, name)).await?;
    match wire.receive().await? {
        Some(answer) => answer.connack_code(),
        None => anyhow::bail!("closed without CONNACK"),
    }
}

/// Sends bytes without TLS, and waits until the broker closes.
fn shout(to: SocketAddr, bytes: &[u8]) -> anyhow::Result<()> {
    let mut tcp = TcpStream::connect(to)?;
    tcp.set_read_timeout(Some(PATIENCE))?;
    tcp.write_all(bytes)?;
    match tcp.read(&mut [0; 16]) {
        Ok(0) => Ok(()),
        // A reset is as good as an orderly end.
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(()),
        other => anyhow::bail!("{other:?} instead of the end"),
    }
}

/// An attempt whose message says this.
fn attempted(plant: &Plant, says: &str) -> anyhow::Result<()> {
    let found = |answer: &Value| {
        let attempts = answer.as_array().into_iter().flatten();
        attempts.filter_map(|attempt| attempt["message"].as_str()).any(|message| message.contains(says))
    };
    plant.broker.wait_for(&["attempts", "--reason", "TLS_HANDSHAKE_FAILED"], found).map(|_| ())
}

fn plant() -> anyhow::Result<(Plant, [SocketAddr; 3])> {
    let plant = Plant::with(BrokerOptions::config(LISTENERS))?;
    // The first listener of each kind comes first.
    let [(first, _), (https, c), (trusting, a), (wary, b)] = plant.broker.listening() else {
        anyhow::bail!("{:?}", plant.broker.listening());
    };
    ensure!([first, https, trusting, wary] == ["mqtts", "https", "mqtts", "mqtts"]);
    let addresses = [*a, *b, *c];
    Ok((plant, addresses))
}

#[tokio::test]
async fn devices_behind_a_load_balancer_are_known_by_their_own_addresses() -> anyhow::Result<()> {
    let (plant, [trusting, ..]) = plant()?;
    for (name, client) in [("lb-4", "203.0.113.7:5000"), ("lb-6", "[2001:db8::7]:5000")] {
        let device = plant.factory.device(name)?;
        let client: SocketAddr = client.parse()?;
        ensure!(connect(&plant, trusting, &proxied(client), &device, name).await? == 0);
        let attempt = &plant.broker.attempts(&device.id(), 1)?[0];
        ensure!(attempt["sourceIp"] == client.ip().to_string(), "{attempt}");
        ensure!(attempt["sourcePort"] == client.port(), "{attempt}");
    }

    let document = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:Connect","Resource":"*",
        "Condition":{"IpAddress":{"aws:SourceIp":"203.0.113.0/24"}}}]}"#;
    let file = plant.factory.file("by-address.json", document)?;
    plant.broker.ask(&["policy", "create", "by-address", "--document", &file.display().to_string()])?;
    let template = jitp_tests::edited(|template| {
        template["Resources"]["policy"]["Properties"]["PolicyName"] = "by-address".into();
    })?;
    let factory = jitp_tests::Factory::new("By address")?;
    factory.register(&plant.broker, &template)?;
    let device = factory.device("lb-policy")?;
    for (client, code) in [("203.0.113.9:1", 0), ("198.51.100.9:1", 0x87)] {
        let header = proxied(client.parse()?);
        ensure!(connect(&plant, trusting, &header, &device, "lb-policy").await? == code, "{client}");
    }
    Ok(())
}

#[tokio::test]
async fn only_the_header_of_version_2_from_a_trusted_load_balancer_opens_the_door() -> anyhow::Result<()> {
    let (plant, [trusting, wary, https]) = plant()?;
    let client = proxied("203.0.113.7:5000".parse()?);

    // A load balancer that speaks for itself, as its health checks do.
    let local = [&SIGNATURE[..], &[0x20, 0, 0, 0]].concat();
    let device = plant.factory.device("lb-local")?;
    ensure!(connect(&plant, trusting, &local, &device, "lb-local").await? == 0);
    ensure!(plant.broker.attempts(&device.id(), 1)?[0]["sourceIp"] == "127.0.0.1");

    ensure!(connect(&plant, trusting, &[], &*plant.factory.device("lb-none")?, "lb-none").await.is_err());
    attempted(&plant, "does not begin with a PROXY protocol header")?;
    shout(trusting, b"PROXY TCP4 203.0.113.7 10.0.0.1 5000 8883\r\n")?;
    attempted(&plant, "version 1")?;
    shout(trusting, &[&SIGNATURE[..], &[0x21, 0x11, 0xff, 0xff]].concat())?;
    attempted(&plant, "65535 bytes")?;
    shout(trusting, &[&SIGNATURE[..], &[0x21, 0x31, 0, 216], &[0; 216]].concat())?;
    attempted(&plant, "names no TCP client")?;
    shout(wary, &client)?;
    attempted(&plant, "trusted_proxies")?;
    shout(plant.broker.mqtt(), &client)?;
    attempted(&plant, "set proxy_protocol")?;
    let mut tcp = tokio::net::TcpStream::connect(https).await?;
    tcp.write_all(&client).await?;
    let mut wire = Wire::over(tcp, wire::device_tls(&plant.broker, &device)?).await?;
    wire.send(b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
    ensure!(wire.line().await? == "HTTP/1.1 426 Upgrade Required", "no HTTP behind the header");
    Ok(())
}

#[test]
fn half_a_header_is_not_waited_for() -> anyhow::Result<()> {
    let config = format!("[broker]\nhandshake_deadline_seconds = 1\n{LISTENERS}");
    let broker = Broker::start_with(BrokerOptions::config(&config))?;
    let trusting = broker.listening()[2].1;
    shout(trusting, &proxied("203.0.113.7:5000".parse()?)[..20])?;
    broker.wait_for_log("the deadline", |log| log.contains("did not finish within 1s"))
}

#[tokio::test]
async fn one_broker_listens_on_ipv4_and_ipv6_and_drains_all_of_it() -> anyhow::Result<()> {
    let options =
        BrokerOptions::arguments(&["--mqtt", "[::1]:0", "--https", "[::1]:0", "--https", "127.0.0.1:0"]);
    let mut plant = Plant::with(options)?;
    let kinds: Vec<&str> = plant.broker.listening().iter().map(|(kind, _)| kind.as_str()).collect();
    ensure!(kinds == ["mqtts", "https", "mqtts", "https"], "{kinds:?}");
    let staff = plant.staff.device("drained")?;
    let mut drained = Vec::new();
    for (_, address) in plant.broker.listening().iter().filter(|(kind, _)| kind == "mqtts") {
        let mut wire = Wire::open_with(*address, wire::device_tls(&plant.broker, &staff)?).await?;
        wire.send(&wire::connect(5, &format!("drained-{}", address.is_ipv6()))).await?;
        ensure!(wire.receive().await?.is_some_and(|frame| frame.connack_code().is_ok_and(|code| code == 0)));
        drained.push(wire);
    }
    ensure!(plant.broker.terminate()? == Some(0), "{}", plant.broker.log());
    for mut wire in drained {
        let frame = wire.receive_kind(14).await?;
        ensure!(frame.is_some_and(|frame| frame.body.first() == Some(&0x8b)));
    }
    Ok(())
}

#[test]
fn an_address_that_is_taken_is_named_with_its_flag() -> anyhow::Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let arguments = |flag: &str| BrokerOptions::arguments(&[flag, &address]);
    let listener = format!("[[broker.listeners]]\naddress = \"{address}\"");
    for (options, named) in [
        (arguments("--mqtt"), "--mqtt, broker.listen"),
        (arguments("--https"), "--https, https.listen"),
        (arguments("--api"), "--api, api.listen"),
        (BrokerOptions::config(&listener), "broker.listeners[0]"),
    ] {
        let ended = Broker::refused(options)?;
        ensure!(ended.code == Some(1), "{ended:?}");
        let expected = format!("cannot listen on {address} ({named})");
        ensure!(ended.stderr.contains(&expected), "{}", ended.stderr);
    }
    Ok(())
}

#[test]
fn mqtt_without_tls_is_refused_with_what_is_offered_instead() -> anyhow::Result<()> {
    let file = "[[broker.listeners]]\naddress = \"127.0.0.1:0\"\nkind = \"mqtt\"";
    let ended = Broker::refused(BrokerOptions::config(file))?;
    ensure!(ended.code == Some(3), "{ended:?}");
    ensure!(ended.stderr.contains("MQTT without TLS is not offered"), "{}", ended.stderr);
    Ok(())
}

#[tokio::test]
async fn an_address_of_the_command_line_takes_the_place_of_one_that_the_file_leaves_out() -> anyhow::Result<()>
{
    let leaves_out = "[broker]\nlisten = \"\"\n";
    // Every broker of these tests is started with --mqtt.
    let plant = Plant::with(BrokerOptions::config(leaves_out))?;
    let device = plant.staff.device("by-argument")?;
    let (_, answer) = Wire::connect(&plant.broker, &device, "by-argument").await?;
    ensure!(answer.connack_code()? == 0, "{answer:?}");
    Ok(())
}
