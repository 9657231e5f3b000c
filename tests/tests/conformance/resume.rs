//! What was in flight when a connection was lost goes on with the next one (section 4.4).
use crate::{House, VERSIONS, house, told};
use anyhow::ensure;
use jitp_tests::mqtt::{Client, Connect, Property, Publish, V5};
use jitp_tests::wire::packet;

/// A client whose session has these messages of a publisher on their way.
async fn with_messages(house: &House, connect: &Connect, topic: &str, qos: &[u8]) -> anyhow::Result<Client> {
    let mut client = house.connect(connect).await?;
    client.subscribe(topic, 2).await?;
    let mut publisher = house.client(connect.level, &format!("{topic}-publisher")).await?;
    for (number, qos) in qos.iter().enumerate() {
        publisher.publish(Publish::new(topic, &number.to_string(), *qos)).await?;
    }
    Ok(client)
}

async fn take(client: &mut Client, count: usize) -> anyhow::Result<Vec<Publish>> {
    let mut taken = Vec::new();
    for _ in 0..count {
        taken.push(client.take().await?);
    }
    Ok(taken)
}

// 3.1.1: 3.3.1-1 4.3.2-1 4.4.0-1 4.6.0-1
// 5.0: 3.3.1-1 4.3.2-3 4.3.3-3 4.4.0-1 4.6.0-1
#[tokio::test]
async fn what_was_not_acknowledged_is_sent_again_and_only_on_a_new_connection() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        let name = format!("unacknowledged-{level}");
        let connect = Connect::new(level, &name).persistent();
        let mut client = with_messages(&house, &connect, &name, &[1, 2, 1, 2, 1]).await?;
        let first = take(&mut client, 5).await?;
        assert!(first.iter().all(|message| !message.dup), "{first:?}");
        client.acknowledge(4, first[2].packet_id).await?;
        // Nothing is sent again while the connection lasts.
        house.pass(1).await?;
        client.nothing().await?;
        drop(client);

        let mut client = house.connect(&connect).await?;
        let again = take(&mut client, 4).await?;
        let expected = [&first[0], &first[1], &first[3], &first[4]];
        for (again, first) in again.iter().zip(expected) {
            assert!(again.dup, "{again:?}");
            assert_eq!(
                (again.packet_id, again.qos, again.text()),
                (first.packet_id, first.qos, first.text())
            );
        }
        for message in &again {
            match message.qos {
                1 => client.acknowledge(4, message.packet_id).await?,
                _ => {
                    client.acknowledge(5, message.packet_id).await?;
                    client.acknowledged(6, message.packet_id).await?;
                    client.acknowledge(7, message.packet_id).await?;
                }
            }
        }
        client.nothing().await?;
        drop(client);
        house.connect(&connect).await?.nothing().await?;
    }
    Ok(())
}

// 3.1.1: 4.3.3-1
// 5.0: 4.3.3-4 4.3.3-5 4.3.3-6
#[tokio::test]
async fn a_message_of_qos_2_that_was_received_is_released_again_and_not_sent_again() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        let name = format!("released-{level}");
        let connect = Connect::new(level, &name).persistent();
        let mut client = with_messages(&house, &connect, &name, &[2]).await?;
        let id = client.take().await?.packet_id;
        client.acknowledge(5, id).await?;
        assert_eq!(client.acknowledged(6, id).await?, 0);
        // The same once more: it still waits for PUBCOMP.
        client.acknowledge(5, id).await?;
        assert_eq!(client.acknowledged(6, id).await?, 0);
        drop(client);

        let mut client = house.connect(&connect).await?;
        assert_eq!(client.acknowledged(6, id).await?, 0);
        client.acknowledge(7, id).await?;
        client.nothing().await?;
        drop(client);
        house.connect(&connect).await?.nothing().await?;
    }
    Ok(())
}

// 3.1.1: 4.8.0-1
// 5.0: 4.13.1-1
#[tokio::test]
async fn an_acknowledgement_that_is_not_the_one_that_comes_next_ends_the_connection() -> anyhow::Result<()> {
    const PUBACK: u8 = 4;
    const PUBREC: u8 = 5;
    const PUBCOMP: u8 = 7;
    let house = house()?;
    for level in VERSIONS {
        let name = format!("out-of-order-{level}");
        let connect = Connect::new(level, &name).persistent();
        let mut publisher = house.client(level, &format!("{name}-publisher")).await?;
        for (qos, received, wrong) in [
            (1, false, PUBREC),
            (1, false, PUBCOMP),
            (2, false, PUBACK),
            (2, false, PUBCOMP),
            (2, true, PUBACK),
        ] {
            let mut client = house.connect(&connect).await?;
            client.subscribe(&name, 2).await?;
            publisher.publish(Publish::new(&name, "", qos)).await?;
            let sent = client.take().await?;
            if received {
                client.acknowledge(PUBREC, sent.packet_id).await?;
                client.acknowledged(6, sent.packet_id).await?;
            }
            let wrong = packet(wrong << 4, &sent.packet_id.to_be_bytes());
            assert_eq!(client.ends_by(&wrong).await?, told(level, 0x82), "{wrong:?} for QoS {qos}");
            // It has acknowledged nothing.
            let mut client = house.connect(&connect).await?;
            if received {
                client.acknowledged(6, sent.packet_id).await?;
                client.acknowledge(PUBCOMP, sent.packet_id).await?;
            } else {
                let again = client.message().await?;
                assert_eq!((again.packet_id, again.qos, again.dup), (sent.packet_id, qos, true));
            }
            client.nothing().await?;
        }
        // A PUBREC that refuses what was accepted before is one, too. There is none in 3.1.1.
        if level == V5 {
            let mut client = house.connect(&connect).await?;
            publisher.publish(Publish::new(&name, "", 2)).await?;
            let id = client.take().await?.packet_id;
            client.acknowledge(PUBREC, id).await?;
            client.acknowledged(6, id).await?;
            let refusal = packet(PUBREC << 4, &[&id.to_be_bytes()[..], &[0x97]].concat());
            assert_eq!(client.ends_by(&refusal).await?, Some(0x82));
        }
    }
    Ok(())
}

// 3.1.1: 4.8.0-1
// 5.0: 4.13.1-1
#[tokio::test]
async fn an_acknowledgement_of_what_was_not_sent_yet_ends_the_connection() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        let name = format!("too-early-{level}");
        let connect = Connect::new(level, &name).persistent();
        let mut client = with_messages(&house, &connect, &name, &[2]).await?;
        let id = client.take().await?.packet_id;
        // PUBREL waits until it is stored that PUBREC came.
        let both = [packet(0x50, &id.to_be_bytes()), packet(0x70, &id.to_be_bytes())].concat();
        assert_eq!(client.ends_by(&both).await?, told(level, 0x82));
        let mut client = house.connect(&connect).await?;
        client.acknowledged(6, id).await?;
        client.acknowledge(7, id).await?;
        client.nothing().await?;
        drop(client);
        house.connect(&connect).await?.nothing().await?;
    }
    Ok(())
}

// 5.0: 4.4.0-2 4.8.2-6
#[tokio::test]
async fn a_message_that_the_client_refuses_is_done() -> anyhow::Result<()> {
    let house = house()?;
    let connect = Connect::v5("refuses").persistent();
    let mut client = with_messages(&house, &connect, "refuses", &[1, 2]).await?;
    for (message, kind) in take(&mut client, 2).await?.into_iter().zip([4, 5]) {
        let refused = [&message.packet_id.to_be_bytes()[..], &[0x97]].concat();
        client.send(&packet(kind << 4, &refused)).await?;
    }
    client.nothing().await?;
    drop(client);
    house.connect(&connect).await?.nothing().await
}

#[tokio::test]
async fn a_session_is_sent_no_more_again_than_its_client_takes_now() -> anyhow::Result<()> {
    let house = house()?;
    let connect = Connect::v5("takes-less").persistent();
    let mut client = with_messages(&house, &connect, "takes-less", &[1; 6]).await?;
    let first = take(&mut client, 6).await?;
    drop(client);
    let mut client = house.connect(&connect.with(Property::ReceiveMaximum(2))).await?;
    let mut publisher = house.client(V5, "takes-less-later").await?;
    publisher.publish(Publish::new("takes-less", "later", 1)).await?;
    let mut waiting = take(&mut client, 2).await?;
    client.nothing().await?;
    let mut again = Vec::new();
    while !waiting.is_empty() {
        let message = waiting.remove(0);
        client.acknowledge(4, message.packet_id).await?;
        again.push(message);
        if again.len() + waiting.len() < 7 {
            waiting.push(client.take().await?);
        }
        client.nothing().await?;
    }
    ensure!(again.len() == 7 && again[6].text() == "later" && !again[6].dup, "{again:?}");
    for (again, first) in again.iter().zip(&first) {
        assert!(again.dup && again.packet_id == first.packet_id && again.payload == first.payload);
    }
    Ok(())
}

// 3.1.1: 4.3.3-2
// 5.0: 4.3.3-8 4.3.3-10 4.3.3-11 4.3.3-12
#[tokio::test]
async fn a_message_of_qos_2_is_new_only_after_it_was_released_also_on_another_connection()
-> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        let topic = format!("exactly-once/{level}");
        let mut listener = house.listener(level, "exactly-once-listener", &topic).await?;
        let connect = Connect::new(level, "exactly-once").persistent();
        let mut client = house.connect(&connect).await?;
        let message = Publish { qos: 2, packet_id: 9, ..Publish::new(&topic, "first", 2) };
        let again = Publish { dup: true, ..message.clone() };
        for message in [&message, &again] {
            client.send(&message.encode(level)).await?;
            assert_eq!(client.acknowledged(5, 9).await?, 0);
        }
        drop(client);
        let mut client = house.connect(&connect).await?;
        client.send(&again.encode(level)).await?;
        assert_eq!(client.acknowledged(5, 9).await?, 0);
        client.acknowledge(6, 9).await?;
        assert_eq!(client.acknowledged(7, 9).await?, 0);
        // Released, the id stands for another message, whatever its DUP flag says.
        client.publish(Publish { payload: b"second".to_vec(), ..again }).await?;
        assert_eq!(listener.texts(2).await?, ["first", "second"]);
        listener.nothing().await?;
    }
    Ok(())
}

#[tokio::test]
async fn packet_ids_that_nobody_knows_are_answered_with_0x92_in_version_5() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        let code = if level == V5 { 0x92 } else { 0 };
        let mut client = house.client(level, "unknown-ids").await?;
        client.acknowledge(6, 77).await?;
        assert_eq!(client.acknowledged(7, 77).await?, code);
        client.acknowledge(5, 78).await?;
        assert_eq!(client.acknowledged(6, 78).await?, code);
        // These are answers themselves.
        client.acknowledge(4, 79).await?;
        client.acknowledge(7, 80).await?;
        client.nothing().await?;
        assert_eq!(client.publish(Publish::new("unknown-ids", "", 2).id(77)).await?, 0);
    }
    Ok(())
}
