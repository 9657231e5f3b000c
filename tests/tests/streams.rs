//! Messages that a client sends without waiting are passed on together. Nobody notices, but for the speed.
use anyhow::{Context, ensure};
use jitp_tests::wire::Frame;
use jitp_tests::{Plant, Wire, eventually, wire};

/// More than a read of the broker brings, and than what it passes on at once.
const MESSAGES: u16 = 3000;

async fn client(plant: &Plant, name: &str) -> anyhow::Result<Wire> {
    let (wire, answer) = Wire::connect(&plant.broker, &*plant.staff.device(name)?, name).await?;
    ensure!(answer.connack_code()? == 0, "{answer:?}");
    Ok(wire)
}

async fn subscriber(plant: &Plant, name: &str, filter: &str, qos: u8) -> anyhow::Result<Wire> {
    let mut wire = client(plant, name).await?;
    wire.send(&wire::subscribe(filter, qos, 1)).await?;
    wire.receive_kind(9).await?.context("no SUBACK")?;
    Ok(wire)
}

/// A message whose payload is its number, and whose packet id is one more.
fn numbered(topic: &str, qos: u8, number: u16) -> Vec<u8> {
    wire::publish(topic, &number.to_be_bytes(), qos, number + 1)
}

/// The number of the next message, which is acknowledged.
async fn next_number(wire: &mut Wire) -> anyhow::Result<u16> {
    let frame = wire.receive_kind(3).await?.context("disconnected")?;
    let (before, number) = frame.body.split_last_chunk().context("no number")?;
    if frame.header & 0x06 != 0 {
        let id = before.last_chunk().context("no packet id")?;
        wire.send(&wire::puback(u16::from_be_bytes(*id))).await?;
    }
    Ok(u16::from_be_bytes(*number))
}

/// Packets of these types, about these packet ids, come in this order.
async fn answered(wire: &mut Wire, expected: impl Iterator<Item = (u8, u16)>) -> anyhow::Result<()> {
    for (kind, id) in expected {
        let frame = wire.receive().await?.context("disconnected")?;
        ensure!((frame.kind(), &*frame.body) == (kind, &id.to_be_bytes()[..]), "{kind} for {id}: {frame:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_message_comes_once_and_in_order_and_is_acknowledged_whatever_its_topic_and_qos()
-> anyhow::Result<()> {
    let plant = Plant::new()?;
    let mut receivers = Vec::new();
    for (name, filter, qos) in [("all", "s/+", 0), ("sure", "s/#", 1), ("some", "s/1", 0)] {
        receivers.push((subscriber(&plant, name, filter, qos).await?, filter));
    }
    let mut publisher = client(&plant, "publisher").await?;
    // Long and short stretches of the same topic and QoS.
    let shape = |number: u16| (number / 200 % 2, (number / 150 % 3) as u8);
    let reading = tokio::spawn(async move {
        for (wire, filter) in &mut receivers {
            for expected in (0..MESSAGES).filter(|number| *filter != "s/1" || shape(*number).0 == 1) {
                let number = next_number(wire).await?;
                ensure!(number == expected, "{filter}: {number} instead of {expected}");
            }
            wire.ping().await?;
        }
        anyhow::Ok(())
    });
    // With QoS 2 no more than 100 at a time: that is what the broker takes.
    for first in (0..MESSAGES).step_by(100) {
        let stretch: Vec<u16> = (first..first + 100).collect();
        let packets = stretch.iter().flat_map(|number| {
            let (topic, qos) = shape(*number);
            numbered(&format!("s/{topic}"), qos, *number)
        });
        publisher.send(&packets.collect::<Vec<_>>()).await?;
        let of_qos =
            |qos| stretch.iter().filter(move |number| shape(**number).1 == qos).map(|number| number + 1);
        answered(
            &mut publisher,
            stretch.iter().filter_map(|number| match shape(*number).1 {
                0 => None,
                qos => Some((3 + qos, number + 1)),
            }),
        )
        .await?;
        let releases = of_qos(2).flat_map(|id| wire::packet(0x62, &id.to_be_bytes()));
        publisher.send(&releases.collect::<Vec<_>>()).await?;
        answered(&mut publisher, of_qos(2).map(|id| (7, id))).await?;
    }
    reading.await?
}

/// Flags, packet id and number of a message of QoS 1 or 2 to a topic of two bytes.
fn sent(frame: &Frame) -> anyhow::Result<(u8, u16, u16)> {
    let (_, rest) = frame.body.split_first_chunk::<4>().context("no topic")?;
    let id = rest.first_chunk().context("no packet id")?;
    Ok((frame.header, u16::from_be_bytes(*id), u16::from_be_bytes(*rest.last_chunk().context("no number")?)))
}

fn packets(header: u8, ids: impl Iterator<Item = u16>) -> Vec<u8> {
    ids.flat_map(|id| wire::packet(header, &id.to_be_bytes())).collect()
}

/// CONNECT of MQTT 5 of a client that takes packets of at most 100 bytes.
fn connect_with_small_packets(client_id: &str) -> Vec<u8> {
    let mut body = b"\0\x04MQTT\x05\x02\0\x3c\x05\x27\0\0\0\x64\0".to_vec();
    body.push(client_id.len() as u8);
    body.extend(client_id.as_bytes());
    wire::packet(0x10, &body)
}

/// What comes together is in flight together, also if its receiver answers in another order, or does not take all of it.
#[tokio::test(flavor = "multi_thread")]
async fn what_came_together_is_answered_in_any_order() -> anyhow::Result<()> {
    const COUNT: u16 = 90;
    let plant = Plant::new()?;
    for qos in [1, 2] {
        let topic = format!("q{qos}");
        let mut receivers = Vec::new();
        for name in ["one", "other"].map(|name| format!("{name}-{qos}")) {
            receivers.push((subscriber(&plant, &name, &topic, qos).await?, false));
        }
        let small = format!("small-{qos}");
        let device = plant.staff.device(&small)?;
        let (mut wire, _) =
            Wire::connect_as(&plant.broker, &device, &connect_with_small_packets(&small)).await?;
        let subscribe = [&[0, 1, 0, 0, 2][..], topic.as_bytes(), &[qos]].concat();
        wire.send(&wire::packet(0x82, &subscribe)).await?;
        wire.receive_kind(9).await?.context("no SUBACK")?;
        receivers.push((wire, true));
        let mut publisher = client(&plant, &format!("publisher-{qos}")).await?;
        // Twice: what is in flight must have gone in between, and packet ids go on.
        for _ in 0..2 {
            let is_large = |number: u16| number % 7 == 3;
            let publishes = (0..COUNT).flat_map(|number| {
                let filling = vec![b'x'; if is_large(number) { 200 } else { 0 }];
                let payload = [&filling[..], &number.to_be_bytes()].concat();
                wire::publish(&topic, &payload, qos, number + 1)
            });
            publisher.send(&publishes.collect::<Vec<_>>()).await?;
            answered(&mut publisher, (0..COUNT).map(|number| (3 + qos, number + 1))).await?;
            if qos == 2 {
                publisher.send(&packets(0x62, 1..COUNT + 1)).await?;
                answered(&mut publisher, (0..COUNT).map(|number| (7, number + 1))).await?;
            }
            for (wire, takes_small) in &mut receivers {
                let mut ids = Vec::new();
                for expected in (0..COUNT).filter(|number| !(*takes_small && is_large(*number))) {
                    let (header, id, number) = sent(&wire.receive_kind(3).await?.context("disconnected")?)?;
                    assert_eq!((header, number), (0x30 | qos << 1, expected));
                    ids.push(id);
                }
                assert!(ids.is_sorted_by(|one, next| one < next), "{ids:?}");
                // Every third, from the last to the first, and then the others.
                let (thirds, others): (Vec<_>, Vec<_>) =
                    ids.iter().enumerate().partition(|(place, _)| place % 3 == 1);
                let order: Vec<u16> = thirds.iter().rev().chain(&others).map(|(_, id)| **id).collect();
                if qos == 1 {
                    wire.send(&packets(0x40, order.iter().copied())).await?;
                } else {
                    wire.send(&packets(0x50, order.iter().copied())).await?;
                    answered(wire, order.iter().map(|id| (6, *id))).await?;
                    // In the order of sending, which is not that of PUBREC.
                    wire.send(&packets(0x70, ids.iter().copied())).await?;
                }
                wire.ping().await?;
            }
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_subscribes_in_the_middle_of_a_stream_gets_what_comes_from_then_on()
-> anyhow::Result<()> {
    let plant = Plant::new()?;
    let mut client = client(&plant, "client").await?;
    let third = |which: u16| (which * 300..(which + 1) * 300).flat_map(|number| numbered("t", 0, number));
    let mut packets: Vec<u8> = third(0).collect();
    packets.extend(wire::subscribe("t", 0, 1));
    packets.extend(third(1));
    packets.extend(wire::packet(0xa2, b"\0\x02\0\x01t"));
    packets.extend(third(2));
    client.send(&packets).await?;
    let mut numbers = Vec::new();
    let mut answers = Vec::new();
    while answers.len() < 2 || numbers.len() < 300 {
        let frame = client.receive().await?.context("disconnected")?;
        match frame.kind() {
            3 => numbers.push(u16::from_be_bytes(*frame.body.last_chunk().context("no number")?)),
            kind => answers.push(kind),
        }
    }
    assert_eq!(answers, [9, 11]);
    assert_eq!(numbers, (300..600).collect::<Vec<_>>());
    client.ping().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_has_published_is_counted_and_passed_on_when_it_is_ended_in_the_middle_of_a_stream()
-> anyhow::Result<()> {
    let plant = Plant::new()?;
    let mut receiver = subscriber(&plant, "receiver", "t", 0).await?;
    let mut publisher = client(&plant, "publisher").await?;
    let many: Vec<u8> = (0..MESSAGES).flat_map(|number| numbered("t", 0, number)).collect();
    let flood = tokio::spawn(async move { while publisher.send(&many).await.is_ok() {} });
    for _ in 0..MESSAGES {
        receiver.receive_kind(3).await?.context("disconnected")?;
    }
    let receiving = tokio::spawn(async move { while receiver.receive().await.is_ok() {} });
    plant.broker.api()?.delete("/connections/publisher").await?;
    flood.await?;
    eventually("all is counted", || async {
        let api = plant.broker.api()?;
        let came = api.metric("jitp_broker_messages_received_total", &[]).await?;
        let went = api.metric("jitp_broker_messages_sent_total", &[]).await?;
        let dropped = api.metric("jitp_messages_dropped_total", &["reason=\"queue_full\""]).await?;
        Ok((came == went + dropped).then_some(()))
    })
    .await?;
    receiving.abort();
    Ok(())
}
