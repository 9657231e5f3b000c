//! Retained messages (section 3.3.1.3).
use crate::{VERSIONS, house};
use jitp_tests::mqtt::{Connect, Packet, Property, Publish, V5, text};
use jitp_tests::wire::packet;

// 3.1.1: 3.3.1-5 3.3.1-6 3.3.1-7 3.3.1-8 3.3.1-9
// 5.0: 3.3.1-5 3.3.1-9 3.3.1-12
#[tokio::test]
async fn the_last_retained_message_of_a_topic_comes_with_a_new_subscription() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        let topic = format!("last/{level}/x");
        let mut client = house.client(level, "last").await?;
        let mut live = house.listener(level, "last-live", &topic).await?;
        for (qos, granted, text) in [(2, 2, "two"), (1, 0, "one"), (0, 1, "zero"), (2, 1, "two again")] {
            client.publish(Publish::new(&topic, text, qos).retained()).await?;
            let came = live.message().await?;
            assert_eq!((came.text().as_str(), came.retain), (text, false));
            for filter in [&topic, "last/#", "last/+/x"] {
                let mut new = house.client(level, "last-new").await?;
                new.subscribe(filter, granted).await?;
                let mut came = new.message().await?;
                while came.topic != topic {
                    came = new.message().await?;
                }
                assert_eq!((came.text().as_str(), came.retain, came.qos), (text, true, qos.min(granted)));
            }
        }
        live.nothing().await?;
    }
    Ok(())
}

// 3.1.1: 3.3.1-10 3.3.1-11 3.3.1-12
// 5.0: 3.3.1-6 3.3.1-7 3.3.1-8
#[tokio::test]
async fn an_empty_message_removes_the_retained_one_and_others_leave_it() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        for qos in 0..=2 {
            let topic = format!("removed/{level}/{qos}");
            let mut client = house.client(level, "removed").await?;
            let mut live = house.listener(level, "removed-live", &topic).await?;
            client.publish(Publish::new(&topic, "kept", qos).retained()).await?;
            client.publish(Publish::new(&topic, "not kept", qos)).await?;
            client.publish(Publish::new(&topic, "", qos)).await?;
            assert_eq!(live.texts(3).await?, ["kept", "not kept", ""]);
            let found = house.retained("removed-new", &topic).await?;
            assert_eq!(found.iter().map(Publish::text).collect::<Vec<_>>(), ["kept"]);

            client.publish(Publish::new(&topic, "", qos).retained()).await?;
            let removal = live.message().await?;
            assert_eq!((removal.text().as_str(), removal.retain), ("", false), "delivered as any other");
            assert_eq!(house.retained("removed-new", &topic).await?, []);
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_is_retained_comes_behind_what_was_queued_before_the_subscription() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        let topic = format!("behind-queued/{level}");
        let connect = Connect::new(level, &format!("behind-queued-{level}")).persistent();
        let mut away = house.connect(&connect).await?;
        away.subscribe(&topic, 1).await?;
        away.disconnect().await?;
        let mut client = house.client(level, "behind-queued-publisher").await?;
        client.publish(Publish::new(&topic, "older", 1)).await?;
        // With QoS 0 it does not wait for who is away.
        client.publish(Publish::new(&topic, "newer", 0).retained()).await?;
        client.nothing().await?;
        let mut back = house.open(level).await?;
        let none: &[u8] = if level == V5 { b"\0" } else { b"" };
        let subscribe = packet(0x82, &[b"\0\x01", none, &text(&topic), b"\x01"].concat());
        back.send(&[connect.encode(), subscribe].concat()).await?;
        assert!(back.next().await?.session_present());
        let mut came = Vec::new();
        while came.len() < 2 {
            if let Packet::Publish(publish) = back.next().await? {
                came.push((publish.text(), publish.retain));
            }
        }
        assert_eq!(came, [("older".to_owned(), false), ("newer".to_owned(), true)]);
    }
    Ok(())
}

// 5.0: 3.3.1-10 3.3.1-11 3.8.4-4
#[tokio::test]
async fn retain_handling_says_whether_a_subscription_is_sent_what_is_retained() -> anyhow::Result<()> {
    const IF_NEW: u8 = 1 << 4;
    const NEVER: u8 = 2 << 4;
    let house = house()?;
    let mut client = house.client(V5, "handling").await?;
    client.publish(Publish::new("handling/a", "kept", 1).retained()).await?;
    let mut new = house.client(V5, "handling-new").await?;
    for (options, comes) in
        [(NEVER | 1, false), (IF_NEW | 1, false), (1, true), (1, true), (IF_NEW | 2, false)]
    {
        new.subscribe("handling/a", options).await?;
        if comes {
            assert!(new.message().await?.retain, "{options:08b}");
        }
        new.nothing().await?;
    }
    new.unsubscribe(&["handling/a"]).await?;
    new.subscribe("handling/a", IF_NEW | 1).await?;
    assert!(new.message().await?.retain, "it is new again");
    new.nothing().await
}

// 5.0: 3.3.1-13
#[tokio::test]
async fn retain_as_published_keeps_the_flag() -> anyhow::Result<()> {
    const AS_PUBLISHED: u8 = 8;
    let house = house()?;
    let mut kept = house.client(V5, "as-published-kept").await?;
    kept.subscribe("as-published", AS_PUBLISHED | 1).await?;
    let mut cleared = house.listener(V5, "as-published-cleared", "as-published").await?;
    let mut client = house.client(V5, "as-published").await?;
    for retain in [true, false] {
        client.publish(Publish { retain, ..Publish::new("as-published", "", 1) }).await?;
        assert_eq!(kept.message().await?.retain, retain);
        assert!(!cleared.message().await?.retain);
    }
    Ok(())
}

#[tokio::test]
async fn a_retained_message_that_has_expired_does_not_come_and_one_that_has_not_says_when_it_will()
-> anyhow::Result<()> {
    let house = house()?;
    let mut client = house.client(V5, "retained-expiry").await?;
    for (topic, expiry) in [("retained-expiry/soon", 1), ("retained-expiry/late", 600)] {
        let message = Publish::new(topic, "kept", 1).retained().with(Property::MessageExpiry(expiry));
        client.publish(message).await?;
    }
    house.pass(2).await?;
    let found = house.retained("retained-expiry-new", "retained-expiry/#").await?;
    assert_eq!(
        found.iter().map(|message| message.topic.as_str()).collect::<Vec<_>>(),
        ["retained-expiry/late"]
    );
    let left = found[0]
        .properties
        .iter()
        .find_map(|p| if let Property::MessageExpiry(left) = p { Some(*left) } else { None });
    assert!(left.is_some_and(|left| (1..=598).contains(&left)), "{left:?}");
    Ok(())
}
