//! SUBSCRIBE and SUBACK (sections 3.8 and 3.9).
use crate::{VERSIONS, house, told};
use jitp_tests::mqtt::{Client, Connect, Packet, Property, Publish, V3, V5};
use jitp_tests::wire::packet;

const NO_LOCAL: u8 = 4;

// 3.1.1: 2.3.1-7 3.8.4-1 3.8.4-2 3.8.4-5 3.9.3-1 3.9.3-2
// 5.0: 2.2.1-6 3.8.4-1 3.8.4-2 3.8.4-6 3.8.4-7 3.9.3-1 3.9.3-2
#[tokio::test]
async fn every_filter_is_answered_in_its_place() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        let device = house.plant.factory.device(&format!("subscriber-{level}"))?;
        let connect = Connect::new(level, &format!("subscriber-{level}"));
        let (mut client, _) = Client::try_connect(&house.plant.broker, &device, &connect).await?;
        let own = |rest: &str| format!("devices/subscriber-{level}/{rest}");
        let (one, all, bad) = (own("1"), own("#"), own("#/x"));
        let filters = [(one.as_str(), 2), ("others", 1), (&all, 0), (&bad, 1), (&one, 1), ("", 0)];
        let codes = client.subscribe_with(&[], &filters).await?;
        let refused = if level == V5 { [0x87, 0x8f, 0x8f] } else { [0x80; 3] };
        assert_eq!(codes, [2, refused[0], 0, refused[1], 1, refused[2]]);
        // As if they had come one after the other: the last one for a filter counts.
        let mut publisher = house.client(level, "subscriber-publisher").await?;
        publisher.publish(Publish::new(&one, "", 2)).await?;
        assert_eq!(client.message().await?.qos, 1);
        client.nothing().await?;
    }
    Ok(())
}

// 3.1.1: 3.8.3-3 3.8.3-4
// 5.0: 3.8.3-2 3.8.3-5
#[tokio::test]
async fn a_subscribe_without_filters_or_with_options_that_cannot_be_ends_the_connection() -> anyhow::Result<()>
{
    let house = house()?;
    for level in VERSIONS {
        let none: &[u8] = if level == V5 { b"\0" } else { b"" };
        let mut client = house.client(level, "bad-subscribe").await?;
        let empty = packet(0x82, &[b"\0\x01", none].concat());
        assert_eq!(client.ends_by(&empty).await?, told(level, 0x82));
        let bad: &[(u8, u8)] = match level {
            V5 => &[(0x40, 0x81), (0x80, 0x81), (0x03, 0x81), (0x30, 0x82)],
            // What is an option in 5.0 is reserved in 3.1.1.
            _ => &[(0x03, 0), (0x04, 0), (0x08, 0), (0x10, 0), (0x20, 0), (0x40, 0), (0x80, 0)],
        };
        for (options, code) in bad {
            let mut client = house.client(level, "bad-subscribe").await?;
            let subscribe = packet(0x82, &[b"\0\x01", none, b"\0\x01a", &[*options]].concat());
            assert_eq!(client.ends_by(&subscribe).await?, told(level, *code), "{options:08b}");
        }
    }
    Ok(())
}

// 3.1.1: 3.8.4-3
// 5.0: 3.8.4-3
#[tokio::test]
async fn a_subscription_to_the_same_filter_replaces_the_old_one() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        let (filter, topic) = (format!("replaced/{level}/+"), format!("replaced/{level}/x"));
        let mut client = house.client(level, "replaced").await?;
        client.publish(Publish::new(&topic, "retained", 1).retained()).await?;
        for qos in [2, 0, 1] {
            client.subscribe(&filter, qos).await?;
            let came = client.message().await?;
            assert_eq!((came.text().as_str(), came.retain, came.qos), ("retained", true, qos.min(1)));
        }
        client.publish(Publish::new(&topic, "once", 2)).await?;
        assert_eq!(client.message().await?.qos, 1);
        client.nothing().await?;
        client.unsubscribe(&[&filter]).await?;
        client.publish(Publish::new(&topic, "never", 1)).await?;
        client.nothing().await?;
    }
    Ok(())
}

// 3.1.1: 3.8.4-3
// 5.0: 3.8.4-4
#[tokio::test]
async fn no_message_is_lost_while_a_subscription_is_replaced() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        let topic = format!("replaced-meanwhile/{level}");
        let mut client = house.listener(level, "replaced-meanwhile", &topic).await?;
        let mut publisher = house.client(level, "replaced-meanwhile-publisher").await?;
        let texts: Vec<String> = (0..90).map(|number| number.to_string()).collect();
        let messages: Vec<Publish> = texts.iter().map(|text| Publish::new(&topic, text, 1)).collect();
        let publishing = tokio::spawn(async move {
            for message in messages {
                publisher.publish(message).await?;
            }
            anyhow::Ok(())
        });
        while !publishing.is_finished() {
            for qos in [1, 2] {
                client.subscribe(&topic, qos).await?;
            }
        }
        publishing.await??;
        assert_eq!(client.texts(texts.len()).await?, texts);
        client.nothing().await?;
    }
    Ok(())
}

// 3.1.1: 3.8.4-4
// 5.0: 3.8.4-5
#[tokio::test]
async fn a_filter_that_is_in_one_subscribe_twice_is_subscribed_to_twice() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        let topic = format!("twice/{level}");
        let mut client = house.client(level, "twice").await?;
        client.publish(Publish::new(&topic, "retained", 2).retained()).await?;
        let codes = client.subscribe_with(&[], &[(&topic, 0), ("twice/none", 2), (&topic, 1)]).await?;
        assert_eq!(codes, [0, 2, 1]);
        for qos in [0, 1] {
            let came = client.message().await?;
            assert_eq!((came.text().as_str(), came.retain, came.qos), ("retained", true, qos));
        }
        client.nothing().await?;
        client.publish(Publish::new(&topic, "live", 2)).await?;
        assert_eq!(client.message().await?.qos, 1, "the last one counts");
        client.nothing().await?;
        // So it is with two packets that are sent without waiting for an answer.
        let none: &[u8] = if level == V5 { b"\0" } else { b"" };
        let subscribe = |id: &[u8], qos: u8| {
            let filter = [&(topic.len() as u16).to_be_bytes()[..], topic.as_bytes(), &[qos]].concat();
            packet(0x82, &[id, none, &filter].concat())
        };
        client.send(&[subscribe(b"\x01\0", 0), subscribe(b"\x01\x01", 2)].concat()).await?;
        let mut came = Vec::new();
        while came.len() < 2 {
            if let Packet::Publish(publish) = client.next().await? {
                came.push(publish.qos);
            }
        }
        assert_eq!(came, [0, 2]);
    }
    Ok(())
}

// 3.1.1: 3.8.4-6
// 5.0: 3.2.2-10 3.8.4-8
#[tokio::test]
async fn messages_come_with_the_lesser_of_both_qos() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        for granted in 0..=2 {
            let topic = format!("lesser/{level}/{granted}");
            let mut listener = house.client(level, "lesser-listener").await?;
            listener.subscribe(&topic, granted).await?;
            let mut client = house.client(level, "lesser").await?;
            for qos in 0..=2 {
                client.publish(Publish::new(&topic, "", qos)).await?;
                assert_eq!(listener.message().await?.qos, qos.min(granted));
            }
        }
    }
    Ok(())
}

// 5.0: 3.8.3-3
#[tokio::test]
async fn no_local_spares_a_client_its_own_messages() -> anyhow::Result<()> {
    let house = house()?;
    let connect = Connect::v5("no-local").persistent();
    let mut client = house.connect(&connect).await?;
    client.subscribe("no-local/#", NO_LOCAL | 1).await?;
    let mut other = house.client(V5, "no-local-other").await?;
    client.publish(Publish::new("no-local/a", "own", 1)).await?;
    other.publish(Publish::new("no-local/a", "other's", 1)).await?;
    assert_eq!(client.message().await?.text(), "other's");
    // Another connection of the same session has the same client id.
    client.disconnect().await?;
    let mut client = house.connect(&connect).await?;
    client.publish(Publish::new("no-local/a", "own", 1)).await?;
    client.nothing().await?;
    // An overlapping subscription without it hears them.
    client.subscribe("no-local/a", 1).await?;
    client.publish(Publish::new("no-local/a", "own", 1)).await?;
    assert_eq!(client.message().await?.text(), "own");
    client.nothing().await
}

// 5.0: 3.3.4-5
#[tokio::test]
async fn a_subscription_identifier_comes_with_what_it_matches_also_with_what_is_retained()
-> anyhow::Result<()> {
    let house = house()?;
    let mut client = house.client(V5, "identified-publisher").await?;
    client.publish(Publish::new("identified/x", "retained", 1).retained()).await?;
    let connect = Connect::v5("identified").persistent();
    let mut listener = house.connect(&connect).await?;
    let identifier = |id| [Property::SubscriptionIdentifier(id)];
    listener.subscribe_with(&identifier(1), &[("identified/#", 1)]).await?;
    assert_eq!(listener.message().await?.properties, identifier(1));
    // Another one replaces it, and the session keeps it.
    listener.subscribe_with(&identifier(128), &[("identified/#", 1 | 2 << 4)]).await?;
    listener.disconnect().await?;
    client.publish(Publish::new("identified/y", "while away", 1)).await?;
    let mut listener = house.connect(&connect).await?;
    assert_eq!(listener.message().await?.properties, identifier(128));
    listener.subscribe("identified/#", 1 | 2 << 4).await?;
    client.publish(Publish::new("identified/y", "", 1)).await?;
    assert_eq!(listener.message().await?.properties, [], "a subscription without one has none");
    Ok(())
}

// 3.1.1: 3.8.3-2
#[tokio::test]
async fn filters_may_have_wildcards() -> anyhow::Result<()> {
    let house = house()?;
    let mut client = house.client(V3, "wild").await?;
    for filter in ["wild/+", "wild/#", "+/+/wild", "#"] {
        client.subscribe(filter, 1).await?;
    }
    Ok(())
}
