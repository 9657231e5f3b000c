//! A message that matches very many subscriptions goes to some of them at a time. No subscriber notices.
use anyhow::{Context, ensure};
use jitp_certs::Issued;
use jitp_tests::mqtt::{Client, Connect, Publish, Will};
use jitp_tests::{Broker, Plant, Wire, wire};
use serde_json::json;

const TOPIC: [&str; 6] = ["plant", "hall", "line", "cell", "robot", "state"];
/// With all their filters more subscriptions than a message goes to at once.
const CLIENTS: usize = 24;
const MESSAGES: u16 = 60;

/// A SUBSCRIBE to every filter without `#` that matches the topic.
fn subscribe_every_way() -> Vec<u8> {
    let mut body = vec![0, 1];
    for ways in 0..1u32 << TOPIC.len() {
        let levels = TOPIC.iter().enumerate();
        let filter: Vec<&str> =
            levels.map(|(at, level)| if ways >> at & 1 == 0 { *level } else { "+" }).collect();
        let filter = filter.join("/");
        body.extend((filter.len() as u16).to_be_bytes());
        body.extend(filter.bytes());
        body.push(0);
    }
    wire::packet(0x82, &body)
}

async fn subscriber(plant: &Plant, who: &Issued, client_id: &str) -> anyhow::Result<Wire> {
    let (mut wire, answer) = Wire::connect(&plant.broker, who, client_id).await?;
    ensure!(answer.connack_code()? == 0, "{answer:?}");
    wire.send(&subscribe_every_way()).await?;
    wire.receive_kind(9).await?.context("no SUBACK")?;
    Ok(wire)
}

/// The numbers of what comes, up to the last one.
async fn numbers(wire: &mut Wire) -> anyhow::Result<Vec<u16>> {
    let mut numbers: Vec<u16> = Vec::new();
    while numbers.last() != Some(&(MESSAGES - 1)) {
        let frame = wire.receive_kind(3).await?.context("disconnected")?;
        let number = frame.body.last_chunk().context("no number")?;
        numbers.push(u16::from_be_bytes(*number));
    }
    Ok(numbers)
}

#[tokio::test(flavor = "multi_thread")]
async fn it_comes_to_each_client_once_and_in_order_whoever_comes_and_goes_meanwhile() -> anyhow::Result<()> {
    let plant = Plant::new()?;
    let who = plant.staff.device("operator")?;
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        clients.push(subscriber(&plant, &who, &format!("client-{number}")).await?);
    }
    let (mut publisher, _) = Wire::connect(&plant.broker, &who, "publisher").await?;
    let topic = TOPIC.join("/");
    let message = |number: u16| wire::publish(&topic, &number.to_be_bytes(), 1, number + 1);
    // One goes while the first half is on its way, one comes before the second.
    publisher.send(&(0..MESSAGES / 2).flat_map(message).collect::<Vec<_>>()).await?;
    clients.pop().context("nobody")?.send(&wire::DISCONNECT).await?;
    let mut late = subscriber(&plant, &who, "late").await?;
    publisher.send(&(MESSAGES / 2..MESSAGES).flat_map(message).collect::<Vec<_>>()).await?;
    for _ in 0..MESSAGES {
        publisher.receive_kind(4).await?.context("no PUBACK")?;
    }
    for client in &mut clients {
        assert_eq!(numbers(client).await?, (0..MESSAGES).collect::<Vec<_>>());
    }
    let of_late = numbers(&mut late).await?;
    let first = *of_late.first().context("nothing")?;
    assert_eq!(of_late, (first..MESSAGES).collect::<Vec<_>>());
    ensure!(first <= MESSAGES / 2, "what was published after SUBACK is missing: {of_late:?}");
    Ok(())
}

/// More than a message goes to at once.
const SESSIONS: usize = 300;

async fn keeper(broker: &Broker, who: &Issued, number: usize) -> anyhow::Result<Wire> {
    let connect = wire::connect_persistent(&format!("keeper-{number}"));
    let (wire, answer) = Wire::connect_as(broker, who, &connect).await?;
    ensure!(answer.connack_code()? == 0, "{answer:?}");
    Ok(wire)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_all_durable_sessions_get_after_a_kill() -> anyhow::Result<()> {
    let mut plant = Plant::new()?;
    let who = plant.staff.device("operator")?;
    for number in 0..SESSIONS {
        let mut wire = keeper(&plant.broker, &who, number).await?;
        wire.send(&wire::subscribe("to/all", 1, 1)).await?;
        wire.receive_kind(9).await?.context("no SUBACK")?;
        // The others are away.
        if number % 2 == 0 {
            wire.send(&wire::DISCONNECT).await?;
        }
    }
    let (mut publisher, _) = Wire::connect(&plant.broker, &who, "publisher").await?;
    let messages: Vec<u16> = (0..5).collect();
    for (number, id) in messages.iter().zip(1..) {
        publisher.send(&wire::publish("to/all", &number.to_be_bytes(), 1, id)).await?;
        publisher.receive_kind(4).await?.context("no PUBACK")?;
    }
    plant.broker.kill()?;
    let plant = plant.restart()?;
    for number in 0..SESSIONS {
        let mut wire = keeper(&plant.broker, &who, number).await?;
        let mut got = Vec::new();
        while got.len() < messages.len() {
            let frame = wire.receive_kind(3).await?.context("closed")?;
            got.push(u16::from_be_bytes(*frame.body.last_chunk().context("no number")?));
        }
        assert_eq!(got, messages, "keeper-{number}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_will_and_a_message_of_an_operator_come_to_each_once_and_in_their_order() -> anyhow::Result<()> {
    let plant = Plant::new()?;
    let who = plant.staff.device("operator")?;
    let connect = async |connect: &Connect| {
        let (client, connack) = Client::try_connect(&plant.broker, &who, connect).await?;
        ensure!(connack.connack_code()? == 0, "{connack:?}");
        anyhow::Ok(client)
    };
    let mut subscribers = Vec::new();
    for number in 0..SESSIONS {
        let mut subscriber = connect(&Connect::v5(&format!("subscriber-{number}"))).await?;
        subscriber.subscribe("to/all", 1).await?;
        subscribers.push(subscriber);
    }
    let with_will = Connect::v5("mortal").will(Will::new("to/all", "gone"));
    let _taken_over = connect(&with_will).await?;
    let mut back = connect(&Connect::v5("mortal")).await?;
    // Each waits for the end of what came before.
    back.publish(Publish::new("to/all", "back", 1)).await?;
    plant.broker.api()?.post("/topics/to%2Fall?qos=1", &json!("an order")).await?;
    back.publish(Publish::new("to/all", "done", 1)).await?;
    for subscriber in &mut subscribers {
        assert_eq!(subscriber.texts(4).await?, ["gone", "back", "\"an order\"", "done"]);
    }
    Ok(())
}
