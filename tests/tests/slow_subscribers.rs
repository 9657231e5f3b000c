//! What becomes of those who publish to a subscriber that is slower than they are.
use anyhow::{Context, ensure};
use jitp_tests::{BrokerOptions, Plant, Wire, eventually, wire};

/// Messages towards a client that it has not acknowledged: the default of `receive_maximum`.
const WINDOW: u16 = 100;

fn plant(patience: &str) -> anyhow::Result<Plant> {
    let keys = format!(
        "max_queued_messages = 20\nmax_retained_messages = 1\npublisher_patience_seconds = {patience}"
    );
    Plant::with(BrokerOptions::config(&format!("[broker]\n{keys}\n")))
}

async fn client(plant: &Plant, name: &str, filter: Option<&str>) -> anyhow::Result<Wire> {
    let (mut wire, connack) = Wire::connect(&plant.broker, &*plant.staff.device(name)?, name).await?;
    ensure!(connack.connack_code()? == 0, "{connack:?}");
    if let Some(filter) = filter {
        wire.send(&wire::subscribe(filter, 1, 1)).await?;
        wire.receive_kind(9).await?.context("no SUBACK")?;
    }
    Ok(wire)
}

/// Messages 1 to `count` with QoS 1 on a topic, as fast as the broker takes them.
fn burst(topic: &str, count: u16) -> Vec<u8> {
    (1..=count).flat_map(|id| wire::publish(topic, &id.to_be_bytes(), 1, id)).collect()
}

/// Sends a burst and waits for every acknowledgement.
async fn publish(mut sender: Wire, burst: Vec<u8>, count: u16) -> anyhow::Result<()> {
    sender.send(&burst).await?;
    for id in 1..=count {
        let ack = sender.receive_kind(4).await?.context("the publisher was disconnected")?;
        ensure!(ack.body == id.to_be_bytes(), "{id}: {ack:?}");
    }
    Ok(())
}

/// The next message: its packet id, and its number.
async fn receive(receiver: &mut Wire) -> anyhow::Result<(u16, u16)> {
    let frame = receiver.receive_kind(3).await?.context("the subscriber was disconnected")?;
    let (id, payload) =
        frame.body.split_last_chunk::<4>().map(|(_, end)| end.split_at(2)).context("short")?;
    let number = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| sum << 8 | u16::from(*byte));
    Ok((number(id), number(payload)))
}

async fn metric(plant: &Plant, name: &str, labels: &[&str]) -> anyhow::Result<f64> {
    plant.broker.api()?.metric(name, labels).await
}

async fn dropped(plant: &Plant) -> anyhow::Result<f64> {
    metric(plant, "jitp_messages_dropped_total", &["reason=\"queue_full\""]).await
}

#[tokio::test]
async fn a_publisher_slows_down_before_messages_for_a_slower_subscriber_are_dropped() -> anyhow::Result<()> {
    slows_down(burst).await
}

#[tokio::test]
async fn it_does_so_too_if_other_messages_that_it_sends_in_between_are_refused() -> anyhow::Result<()> {
    let retained = |topic| [&[0x31, 4, 0, 1][..], topic, b"x"].concat();
    slows_down(|topic, count| {
        let messages = (1..=count)
            .flat_map(|id| [wire::publish(topic, &id.to_be_bytes(), 1, id), retained(b"2")].concat());
        // One is retained, and there is room for no other.
        [retained(b"1"), messages.collect()].concat()
    })
    .await
}

/// Nothing is lost of what a publisher sends in one go, although the subscriber does not acknowledge it for a while.
async fn slows_down(burst: impl Fn(&str, u16) -> Vec<u8>) -> anyhow::Result<()> {
    const COUNT: u16 = 3000;
    let plant = plant("3600")?;
    let mut receiver = client(&plant, "receiver", Some("slow")).await?;
    let sender = client(&plant, "sender", None).await?;
    let sending = tokio::spawn(publish(sender, burst("slow", COUNT), COUNT));
    // It takes what the window allows, and acknowledges nothing before somebody waits for it.
    let mut ids = Vec::new();
    for expected in 1..=WINDOW {
        let (id, number) = receive(&mut receiver).await?;
        assert_eq!(number, expected);
        ids.push(id);
    }
    eventually("the publisher waits", || async {
        let waits = metric(&plant, "jitp_broker_publisher_waits_total", &[]).await?;
        Ok((waits > 0.0).then_some(()))
    })
    .await?;
    ensure!(!sending.is_finished());
    for id in ids {
        receiver.send(&wire::puback(id)).await?;
    }
    for expected in WINDOW + 1..=COUNT {
        let (id, number) = receive(&mut receiver).await?;
        assert_eq!(number, expected);
        receiver.send(&wire::puback(id)).await?;
    }
    sending.await??;
    assert_eq!(dropped(&plant).await?, 0.0);
    Ok(())
}

#[tokio::test]
async fn a_subscriber_that_does_not_acknowledge_holds_up_a_publisher_only_for_a_moment() -> anyhow::Result<()>
{
    const COUNT: u16 = 200;
    let plant = plant("1")?;
    let mut deaf = client(&plant, "deaf", Some("news")).await?;
    let mut receiver = client(&plant, "receiver", Some("news")).await?;
    let mut sender = client(&plant, "sender", None).await?;
    for expected in 1..=COUNT {
        ensure!(sender.publishes("news", &expected.to_be_bytes()).await?, "no PUBACK");
        let (id, number) = receive(&mut receiver).await?;
        assert_eq!(number, expected);
        receiver.send(&wire::puback(id)).await?;
    }
    assert!(metric(&plant, "jitp_broker_publisher_waits_total", &[]).await? >= 1.0);
    assert_eq!(dropped(&plant).await?, f64::from(COUNT - WINDOW - 20));
    deaf.ping().await
}

#[tokio::test]
async fn what_subscribers_miss_of_a_flood_that_they_share_is_counted_for_each() -> anyhow::Result<()> {
    const COUNT: u16 = 30_000;
    const PAYLOAD: usize = 1000;
    let plant = plant("1")?;
    let mut receivers = Vec::new();
    for name in ["one", "other"] {
        let mut receiver = client(&plant, name, None).await?;
        receiver.send(&wire::subscribe("flood", 0, 1)).await?;
        receiver.receive_kind(9).await?.context("no SUBACK")?;
        receivers.push(receiver);
    }
    let mut sender = client(&plant, "sender", None).await?;
    let numbers: Vec<u16> = (0..COUNT).collect();
    for numbers in numbers.chunks(200) {
        let payload = |number: &u16| [&number.to_be_bytes()[..], &[0; PAYLOAD - 2]].concat();
        let messages = numbers.iter().flat_map(|number| wire::publish("flood", &payload(number), 0, 0));
        sender.send(&messages.collect::<Vec<u8>>()).await?;
    }
    ensure!(sender.publishes("end", b"").await?, "no PUBACK");
    let mut came = 0;
    for receiver in &mut receivers {
        let heard = receiver.heard().await?;
        let numbers: Vec<u16> = heard
            .iter()
            .filter_map(|frame| frame.body.get(7..)?.first_chunk().map(|number| u16::from_be_bytes(*number)))
            .collect();
        ensure!(numbers.is_sorted_by(|one, next| one < next), "not in order, or twice");
        came += numbers.len();
    }
    let missed = 2 * usize::from(COUNT) - came;
    ensure!(missed > 0, "nothing was too much");
    assert_eq!(dropped(&plant).await?, missed as f64);
    Ok(())
}

#[tokio::test]
async fn two_that_flood_each_other_do_not_wait_for_each_other_forever() -> anyhow::Result<()> {
    const COUNT: u16 = 3000;
    let plant = plant("3600")?;
    let mut sending = tokio::task::JoinSet::new();
    for (name, own, others) in [("left", "to/left", "to/right"), ("right", "to/right", "to/left")] {
        let mut wire = client(&plant, name, Some(own)).await?;
        sending.spawn(async move {
            wire.send(&burst(others, COUNT)).await?;
            let mut acknowledged = 0;
            while acknowledged < COUNT {
                let frame = wire.receive().await?.context("disconnected")?;
                match frame.kind() {
                    4 => acknowledged += 1,
                    3 => {
                        let id = frame.body.get(2 + own.len()..4 + own.len()).context("a short PUBLISH")?;
                        wire.send(&wire::packet(0x40, id)).await?;
                    }
                    _ => {}
                }
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = sending.join_next().await {
        done??;
    }
    Ok(())
}
