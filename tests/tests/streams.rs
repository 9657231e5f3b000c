//! Messages that a client sends without waiting are passed on together. Nobody notices, but for the speed.
use anyhow::{Context, ensure};
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
