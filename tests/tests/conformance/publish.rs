//! PUBLISH and the flows of each QoS (sections 3.3 and 4.3), order (4.6).
use crate::{House, VERSIONS, house, told};
use anyhow::ensure;
use jitp_tests::mqtt::{Client, Connect, Property, Publish, V3, V5};
use std::collections::BTreeSet;

// 3.1.1: 2.3.1-6 3.3.4-1 4.3.1-1
// 5.0: 2.2.1-5 3.3.4-1 3.4.2-1 3.5.2-1 3.6.2-1 3.7.2-1 4.3.1-1 4.3.2-4
#[tokio::test]
async fn every_qos_is_answered_as_it_asks() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        let topic = format!("answered/{level}");
        let mut client = house.client(level, "answered").await?;
        let mut listener = house.listener(level, "answered-listener", &topic).await?;
        client.publish(Publish::new(&topic, "0", 0)).await?;
        client.nothing().await?;
        for id in [1, 255, 256, 65_535] {
            client.send(&Publish::new(&topic, "1", 1).id(id).encode(level)).await?;
            assert_eq!(client.acknowledged(4, id).await?, 0);
            client.send(&Publish::new(&topic, "2", 2).id(id).encode(level)).await?;
            assert_eq!(client.acknowledged(5, id).await?, 0);
            client.acknowledge(6, id).await?;
            assert_eq!(client.acknowledged(7, id).await?, 0);
        }
        assert_eq!(listener.texts(9).await?, ["0", "1", "2", "1", "2", "1", "2", "1", "2"]);
    }
    Ok(())
}

// 3.1.1: 3.3.1-2 3.3.1-4
// 5.0: 3.3.1-2 3.3.1-4
#[tokio::test]
async fn qos_3_and_a_repeated_qos_0_end_the_connection() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        for message in [
            Publish::new("qos-3", "", 3).id(1),
            Publish { dup: true, ..Publish::new("qos-3", "", 3).id(1) },
            Publish { dup: true, ..Publish::new("qos-3", "", 0) },
        ] {
            let mut client = house.client(level, "qos-3").await?;
            assert_eq!(client.ends_by(&message.encode(level)).await?, told(level, 0x81), "{message:?}");
        }
    }
    Ok(())
}

// 3.1.1: 3.3.1-3
// 5.0: 3.3.1-3 4.3.2-2 4.3.3-2
#[tokio::test]
async fn dup_says_nothing_about_what_is_sent_on() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        let topic = format!("dup/{level}");
        let mut client = house.client(level, "dup").await?;
        let mut listener = house.listener(level, "dup-listener", &topic).await?;
        for qos in [1, 2] {
            client.publish(Publish { dup: true, ..Publish::new(&topic, "", qos) }).await?;
            let came = listener.message().await?;
            assert_eq!((came.qos, came.dup), (qos, false));
        }
    }
    Ok(())
}

// 3.1.1: 4.3.2-2
// 5.0: 4.3.2-5
#[tokio::test]
async fn a_message_of_qos_1_with_an_id_that_was_acknowledged_is_a_new_one() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        let topic = format!("at-least-once/{level}");
        let mut listener = house.listener(level, "at-least-once-listener", &topic).await?;
        let mut client = house.client(level, "at-least-once").await?;
        client.publish(Publish::new(&topic, "first", 1).id(5)).await?;
        client.publish(Publish { dup: true, ..Publish::new(&topic, "second", 1).id(5) }).await?;
        assert_eq!(listener.texts(2).await?, ["first", "second"]);
    }
    Ok(())
}

// 3.1.1: 2.3.1-4
// 5.0: 2.2.1-4 4.3.2-1 4.3.3-1
#[tokio::test]
async fn every_message_on_its_way_has_a_packet_id_of_its_own() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        let topic = format!("ids/{level}");
        let mut listener = house.listener(level, "ids-listener", &topic).await?;
        let mut client = house.client(level, "ids").await?;
        for number in 0..60u8 {
            client.publish(Publish::new(&topic, "", 1 + number % 2)).await?;
        }
        let mut ids = BTreeSet::new();
        for _ in 0..60 {
            ensure!(ids.insert(listener.take().await?.packet_id), "an id is there twice: {ids:?}");
        }
    }
    Ok(())
}

// 3.1.1: 3.3.2-2 4.7.1-1
// 5.0: 3.3.2-2 4.7.0-1
#[tokio::test]
async fn a_topic_with_wildcards_ends_the_connection() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        for topic in ["#", "+", "a/+/b", "a/#", "a#", "+a"] {
            for qos in 0..=2 {
                let mut client = house.client(level, "wildcards").await?;
                let message = Publish::new(topic, "", qos).id(1);
                assert_eq!(client.ends_by(&message.encode(level)).await?, told(level, 0x90), "{topic}");
            }
        }
    }
    Ok(())
}

// 3.1.1: 4.6.0-5 4.6.0-6
// 5.0: 4.6.0-5 4.6.0-6
#[tokio::test]
async fn messages_of_one_client_to_one_topic_come_in_order() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        for qos in 0..=2 {
            let topic = format!("order/{level}/{qos}");
            let mut listener = house.listener(level, "in-order-listener", &topic).await?;
            let mut client = house.client(level, "in-order").await?;
            let numbers: Vec<String> = (0..80).map(|number| number.to_string()).collect();
            for number in &numbers {
                client.publish(Publish::new(&topic, number, qos)).await?;
            }
            assert_eq!(listener.texts(80).await?, numbers, "{topic}");
        }
    }
    Ok(())
}

// 3.1.1: 4.6.0-2 4.6.0-3 4.6.0-4
// 5.0: 4.6.0-2 4.6.0-3 4.6.0-4
#[tokio::test]
async fn acknowledgements_come_in_the_order_of_what_they_acknowledge() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        let mut client = house.client(level, "acknowledged-in-order").await?;
        let ids = [7u16, 3, 9, 1, 8];
        for (qos, kind) in [(1, 4), (2, 5)] {
            let all =
                ids.map(|id| Publish::new("acknowledged-in-order", "", qos).id(id).encode(level)).concat();
            client.send(&all).await?;
            for id in ids {
                client.acknowledged(kind, id).await?;
            }
        }
        let mut listener = house.listener(level, "releases-in-order", "releases-in-order").await?;
        for _ in 0..5 {
            client.publish(Publish::new("releases-in-order", "", 2).id(20)).await?;
        }
        let mut received = Vec::new();
        for _ in 0..5 {
            received.push(listener.take().await?.packet_id);
        }
        received.reverse();
        for id in &received {
            listener.acknowledge(5, *id).await?;
        }
        for id in &received {
            listener.acknowledged(6, *id).await?;
        }
    }
    Ok(())
}

/// A client whose certificate may publish below `devices/NAME/` alone.
async fn restricted(house: &House, level: u8, name: &str) -> anyhow::Result<Client> {
    let device = house.plant.factory.device(name)?;
    let (client, connack) =
        Client::try_connect(&house.plant.broker, &device, &Connect::new(level, name)).await?;
    ensure!(connack.connack_code()? == 0, "{connack:?}");
    Ok(client)
}

// 3.1.1: 3.3.5-2
#[tokio::test]
async fn a_message_that_is_not_allowed_ends_a_connection_of_3_1_1() -> anyhow::Result<()> {
    let house = house()?;
    let mut listener = house.listener(V3, "forbidden-listener", "forbidden/#").await?;
    for qos in 0..=2 {
        let mut client = restricted(&house, V3, &format!("forbidden-{qos}")).await?;
        let message = Publish::new("forbidden/topic", "", qos).id(1);
        assert_eq!(client.ends_by(&message.encode(V3)).await?, None);
    }
    listener.nothing().await
}

// 5.0: 4.3.3-9
#[tokio::test]
async fn a_message_that_is_not_allowed_is_refused_in_5_0_and_its_packet_id_free_again() -> anyhow::Result<()>
{
    let house = house()?;
    let mut client = restricted(&house, V5, "refused-publisher").await?;
    let mut listener = house.listener(V5, "refused-listener", "devices/refused-publisher/#").await?;
    for qos in [1, 2] {
        assert_eq!(client.publish(Publish::new("refused/topic", "", qos).id(4)).await?, 0x87);
        let allowed = Publish::new("devices/refused-publisher/x", &qos.to_string(), qos).id(4);
        assert_eq!(client.publish(allowed).await?, 0);
        assert_eq!(listener.message().await?.text(), qos.to_string());
    }
    // QoS 0 has no answer: the connection ends.
    assert_eq!(client.ends_by(&Publish::new("refused/topic", "", 0).encode(V5)).await?, Some(0x87));
    Ok(())
}

// 3.1.1: 3.3.2-3 3.3.5-1
// 5.0: 3.3.2-3 3.3.4-2 3.3.4-3 3.3.4-4
#[tokio::test]
async fn subscriptions_that_overlap_are_one_message_with_the_highest_qos() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        let topic = format!("overlap/{level}/x");
        let mut listener = house.client(level, "overlap-listener").await?;
        let identifier =
            |id: u32| if level == V5 { vec![Property::SubscriptionIdentifier(id)] } else { Vec::new() };
        for (filter, options, id) in
            [("overlap/#", 0, 268_435_455), ("overlap/+/x", 1, 1), (&topic, 0, 7), ("+/+/x", 0, 7)]
        {
            listener.subscribe_with(&identifier(id), &[(filter, options)]).await?;
        }
        listener.subscribe(&format!("overlap/{level}/#"), 0).await?;
        let mut client = house.client(level, "overlap").await?;
        for (qos, expected) in [(0, 0), (1, 1), (2, 1)] {
            client.publish(Publish::new(&topic, "", qos)).await?;
            let came = listener.message().await?;
            assert_eq!((came.topic.as_str(), came.qos), (topic.as_str(), expected));
            let mut ids: Vec<u32> = came
                .properties
                .iter()
                .filter_map(|p| if let Property::SubscriptionIdentifier(id) = p { Some(*id) } else { None })
                .collect();
            ids.sort();
            assert_eq!(ids, if level == V5 { vec![1, 7, 7, 268_435_455] } else { vec![] });
        }
        listener.nothing().await?;
    }
    Ok(())
}
