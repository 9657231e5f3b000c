//! Configured rates, as a client meets them: what is too much is dropped, waits, or is refused, and an operator sees it.
use anyhow::{Context, ensure};
use jitp_tests::mqtt::Connect;
use jitp_tests::{BrokerOptions, Frame, Plant, Wire, wire};
use std::time::{Duration, Instant};

/// Far more than any rate here lets pass while a flood is read.
const FLOOD: u16 = 500;

fn with(keys: &str) -> anyhow::Result<Plant> {
    Plant::with(BrokerOptions::config(&format!("[broker]\nconnect_deadline_seconds = 120\n{keys}\n")))
}

async fn connected(plant: &Plant, level: u8, name: &str) -> anyhow::Result<Wire> {
    let who = plant.staff.device(name)?;
    let (wire, answer) = Wire::connect_as(&plant.broker, &who, &wire::connect(level, name)).await?;
    ensure!(answer.connack_code()? == 0, "{answer:?}");
    Ok(wire)
}

async fn subscribed(plant: &Plant, name: &str, filter: &str) -> anyhow::Result<Wire> {
    let mut wire = connected(plant, 4, name).await?;
    wire.send(&wire::subscribe(filter, 1, 1)).await?;
    wire.receive_kind(9).await?.context("no SUBACK")?;
    Ok(wire)
}

/// One write of so many messages; packet ids from 1.
fn flood(topic: &str, qos: u8, count: u16) -> Vec<u8> {
    (1..=count).flat_map(|id| wire::publish(topic, b"flood", qos, id)).collect()
}

fn payload(frame: &Frame) -> &[u8] {
    let [high, low, rest @ ..] = frame.body.as_slice() else { return &[] };
    let id = if frame.header & 6 == 0 { 0 } else { 2 };
    rest.get(usize::from(u16::from_be_bytes([*high, *low])) + id..).unwrap_or_default()
}

/// Counts what comes until the message `last`.
async fn until_last(wire: &mut Wire) -> anyhow::Result<u16> {
    let mut count = 0;
    loop {
        let frame = wire.receive_kind(3).await?.context("closed before the last message")?;
        if payload(&frame) == b"last" {
            return Ok(count);
        }
        count += 1;
    }
}

/// Packets of this kind that come before the answer to a ping that was sent already.
async fn before_pong(wire: &mut Wire, kind: u8) -> anyhow::Result<u16> {
    let mut count = 0;
    loop {
        let frame = wire.receive().await?.context("closed")?;
        match frame.kind() {
            13 => return Ok(count),
            found => count += u16::from(found == kind),
        }
    }
}

async fn limited(plant: &Plant, limit: &str, action: &str) -> anyhow::Result<f64> {
    let labels = [format!("limit=\"{limit}\""), format!("action=\"{action}\"")];
    plant.broker.api()?.metric("jitp_rate_limited_total", &[&labels[0], &labels[1]]).await
}

#[tokio::test]
async fn what_is_published_too_fast_is_dropped_at_qos_0_and_waits_at_qos_1() -> anyhow::Result<()> {
    let plant = with("max_publishes_per_second = 10")?;
    let mut listener = subscribed(&plant, "listener", "t").await?;
    let mut sender = connected(&plant, 4, "sender").await?;
    sender.send(&flood("t", 0, FLOOD)).await?;
    sender.send(&wire::publish("t", b"last", 1, 1)).await?;
    let came = until_last(&mut listener).await?;
    ensure!((10..FLOOD).contains(&came), "{came}");
    assert_eq!(limited(&plant, "publishes", "dropped").await?, f64::from(FLOOD - came));
    sender.receive_kind(4).await?.context("no PUBACK")?;

    let started = Instant::now();
    sender.send(&flood("t", 1, 40)).await?;
    for _ in 0..40 {
        sender.receive_kind(4).await?.context("no PUBACK")?;
    }
    // A second's worth may come at once: 30 are left for three seconds, but for the last, which is not waited for.
    ensure!(started.elapsed() >= Duration::from_millis(2800), "{:?}", started.elapsed());
    for _ in 0..40 {
        ensure!(payload(&listener.receive_kind(3).await?.context("closed")?) == b"flood");
    }
    ensure!(limited(&plant, "publishes", "delayed").await? >= 1.0);
    let says = "exceeds max_publishes_per_second";
    plant.broker.wait_for_log("what is too fast", |log| log.contains(says))?;
    assert_eq!(plant.broker.log().matches(says).count(), 1, "it is said once per connection");
    sender.ping().await
}

#[tokio::test]
async fn a_client_that_waits_for_its_rate_is_not_taken_for_a_silent_one() -> anyhow::Result<()> {
    let plant = with("max_bytes_per_second = 1024\npacket_deadline_seconds = 2")?;
    let who = plant.staff.device("slow")?;
    let connect = Connect { keep_alive: 2, ..Connect::v3("slow") };
    let (mut slow, _) = Wire::connect_as(&plant.broker, &who, &connect.encode()).await?;
    // It takes twelve seconds to read this, and pauses of more than the keep alive and the deadline.
    let mut packets = wire::publish("t", &[b'x'; 12 * 1024], 1, 1);
    packets.extend(wire::PINGREQ);
    slow.send(&packets).await?;
    slow.receive_kind(4).await?.context("closed while it had to wait")?;
    slow.receive_kind(13).await?.context("closed while it had to wait").map(|_| ())
}

#[tokio::test]
async fn who_publishes_too_fast_can_be_disconnected() -> anyhow::Result<()> {
    let plant = with("max_publishes_per_second = 10\npublish_excess = \"disconnect\"")?;
    let mut sender = connected(&plant, 5, "five").await?;
    for id in 1..=FLOOD {
        let _ = sender.send(&wire::publish5("t", b"flood", 0, id)).await;
    }
    let goodbye = sender.receive_kind(14).await?.context("closed without DISCONNECT")?;
    assert_eq!(goodbye.body.first(), Some(&0x96), "{goodbye:?}");
    ensure!(goodbye.text().contains("max_publishes_per_second"), "{}", goodbye.text());
    let mut sender = connected(&plant, 4, "three").await?;
    sender.send(&flood("t", 0, FLOOD)).await?;
    assert_eq!(sender.receive().await?, None);
    assert_eq!(limited(&plant, "publishes", "disconnected").await?, 2.0);
    Ok(())
}

#[tokio::test]
async fn profile_aws_drops_without_notice_what_exceeds_the_rate_of_aws() -> anyhow::Result<()> {
    // The first connection of a device is closed with profile aws, so its certificate is made known without it.
    let Plant { broker, factory, staff } = Plant::new()?;
    let who = staff.device("sender")?;
    let (_, answer) = Wire::connect(&broker, &who, "sender").await?;
    ensure!(answer.connack_code()? == 0);
    let mut broker = broker;
    broker.terminate()?;
    let options = BrokerOptions::arguments(&["--profile", "aws"]);
    let plant = Plant { broker: broker.restart_with(options)?, factory, staff };
    let (mut sender, answer) = Wire::connect(&plant.broker, &who, "sender").await?;
    ensure!(answer.connack_code()? == 0);
    // The connection's 512 KiB a second are not reached.
    sender.send(&flood("t", 1, 2000)).await?;
    sender.send(&wire::PINGREQ).await?;
    let acknowledged = before_pong(&mut sender, 4).await?;
    ensure!((100..2000).contains(&acknowledged), "{acknowledged}");
    assert_eq!(limited(&plant, "publishes", "dropped").await?, f64::from(2000 - acknowledged));
    Ok(())
}

#[tokio::test]
async fn what_is_delivered_too_fast_is_dropped_at_qos_0_and_waits_at_qos_1() -> anyhow::Result<()> {
    let plant = with("max_deliveries_per_second = 10")?;
    let mut listener = subscribed(&plant, "listener", "t").await?;
    let mut sender = connected(&plant, 4, "sender").await?;
    sender.send(&flood("t", 0, FLOOD)).await?;
    sender.send(&flood("t", 1, 30)).await?;
    sender.send(&wire::publish("t", b"last", 1, 31)).await?;
    let (mut at_0, mut at_1) = (0, 0);
    loop {
        let frame = listener.receive_kind(3).await?.context("closed")?;
        match (payload(&frame), frame.header & 6) {
            (b"last", _) => break,
            (_, 0) => at_0 += 1,
            _ => at_1 += 1,
        }
    }
    ensure!((1..FLOOD).contains(&at_0), "{at_0}");
    assert_eq!(at_1, 30);
    assert_eq!(limited(&plant, "deliveries", "dropped").await?, f64::from(FLOOD - at_0));
    ensure!(limited(&plant, "deliveries", "delayed").await? >= 1.0);
    Ok(())
}

#[tokio::test]
async fn bytes_wait_and_connections_of_one_certificate_share_their_rates() -> anyhow::Result<()> {
    let keys = "max_bytes_per_second = 4096\nmax_publishes_per_second_of_certificate = 20";
    let plant = with(keys)?;
    let mut listener = subscribed(&plant, "listener", "shared/#").await?;
    let who = plant.staff.device("both")?;
    let (mut one, _) = Wire::connect(&plant.broker, &who, "one").await?;
    let (mut other, _) = Wire::connect(&plant.broker, &who, "other").await?;
    for wire in [&mut one, &mut other] {
        wire.send(&flood("shared/x", 0, FLOOD / 10)).await?;
        wire.send(&wire::publish("quiet", b"", 1, 1)).await?;
        wire.receive_kind(4).await?.context("no PUBACK")?;
    }
    one.send(&wire::publish("shared/x", b"last", 1, 2)).await?;
    let came = until_last(&mut listener).await?;
    ensure!((20..FLOOD / 5).contains(&came), "{came}");
    let dropped = limited(&plant, "publishes_of_certificate", "dropped").await?;
    assert_eq!(dropped, f64::from(FLOOD / 5 - came));

    for id in 1..=3 {
        other.send(&wire::publish("quiet", &[b'x'; 4096], 1, id)).await?;
    }
    for _ in 0..3 {
        other.receive_kind(4).await?.context("no PUBACK")?;
    }
    ensure!(limited(&plant, "bytes", "delayed").await? >= 1.0);
    Ok(())
}

#[tokio::test]
async fn connects_that_come_too_often_are_told_to_come_again() -> anyhow::Result<()> {
    let plant = with("max_connects_per_second_of_client = 1")?;
    let who = plant.staff.device("eager")?;
    for (level, refused) in [(4, 3), (5, 0x97)] {
        // Hands are shaken before, so that the connections come as fast as they can be sent.
        let mut wires = Vec::new();
        for _ in 0..20 {
            wires.push(Wire::open(&plant.broker, &who).await?);
        }
        let mut codes = Vec::new();
        let packet = wire::connect(level, &format!("eager-{level}"));
        for wire in &mut wires {
            wire.send(&packet).await?;
        }
        for wire in &mut wires {
            match wire.receive().await? {
                Some(answer) => codes.push(answer.connack_code()?),
                // 0x89, for which 3.1.1 has no code.
                None => ensure!(level == 4, "closed without CONNACK"),
            }
        }
        ensure!(codes.contains(&refused), "{codes:?}");
        // 0x89: a later one took over while it waited.
        ensure!(codes.iter().all(|code| [0, refused, 0x89].contains(code)), "{codes:?}");
        ensure!(codes.contains(&0), "{codes:?}");
    }
    ensure!(limited(&plant, "connects_of_client", "refused").await? >= 2.0);
    // Others are not concerned.
    connected(&plant, 4, "calm").await?;
    Ok(())
}

#[tokio::test]
async fn connects_are_limited_in_all() -> anyhow::Result<()> {
    let plant = with("max_connects_per_second = 2")?;
    let who = plant.staff.device("many")?;
    let mut wires = Vec::new();
    for _ in 0..20 {
        wires.push(Wire::open(&plant.broker, &who).await?);
    }
    for (number, wire) in wires.iter_mut().enumerate() {
        wire.send(&wire::connect(5, &format!("many-{number}"))).await?;
    }
    let mut codes = Vec::new();
    for wire in &mut wires {
        codes.push(wire.receive().await?.context("closed without CONNACK")?.connack_code()?);
    }
    ensure!(codes.contains(&0) && codes.contains(&0x97), "{codes:?}");
    ensure!(limited(&plant, "connects", "refused").await? >= 1.0);
    Ok(())
}

#[tokio::test]
async fn subscribes_and_retained_messages_that_come_too_often_are_refused() -> anyhow::Result<()> {
    let plant = with("max_subscribes_per_second = 2\nmax_retained_per_second_of_topic = 1")?;
    let mut client = connected(&plant, 5, "client").await?;
    let mut packets = Vec::new();
    for id in 1..=20u16 {
        let mut body = id.to_be_bytes().to_vec();
        body.extend([0, 0, 1, b'a' + id as u8, 0]);
        packets.extend(wire::packet(0x82, &body));
    }
    client.send(&packets).await?;
    let mut codes = Vec::new();
    for _ in 0..20 {
        let answer = client.receive_kind(9).await?.context("closed")?;
        codes.extend(answer.body.last());
    }
    ensure!(codes.contains(&0) && codes.contains(&0x97), "{codes:?}");

    let retained = |topic: &str, id| {
        let mut packet = wire::publish5(topic, b"state", 1, id);
        packet.first_mut().into_iter().for_each(|header| *header |= 1);
        packet
    };
    let mut packets: Vec<u8> = (1..=20).flat_map(|id| retained("state", id)).collect();
    packets.extend(retained("other", 21));
    client.send(&packets).await?;
    let mut codes = Vec::new();
    for _ in 0..21 {
        let answer = client.receive_kind(4).await?.context("closed")?;
        codes.push(answer.body.get(2).copied().unwrap_or(0));
    }
    // 0x10: nobody subscribes.
    let taken = |code: &u8| [0, 0x10].contains(code);
    ensure!(codes.first().is_some_and(taken) && codes.last().is_some_and(taken), "{codes:?}");
    ensure!(codes.contains(&0x97), "{codes:?}");
    ensure!(limited(&plant, "subscribes", "refused").await? >= 1.0);
    ensure!(limited(&plant, "retained_of_topic", "refused").await? >= 1.0);
    Ok(())
}
