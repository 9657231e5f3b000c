//! What a message carries in MQTT 5, and topic aliases (section 3.3.2.3).
use crate::{VERSIONS, house};
use jitp_tests::mqtt::{Connect, Property, Publish, V3, V5};

fn expiry(message: &Publish) -> Option<u32> {
    message
        .properties
        .iter()
        .find_map(|p| if let Property::MessageExpiry(left) = p { Some(*left) } else { None })
}

fn alias(message: &Publish) -> Option<u16> {
    message
        .properties
        .iter()
        .find_map(|p| if let Property::TopicAlias(alias) = p { Some(*alias) } else { None })
}

// 5.0: 3.3.2-4 3.3.2-15 3.3.2-16 3.3.2-17 3.3.2-18 3.3.2-20
#[tokio::test]
async fn properties_reach_every_subscriber_unaltered_and_user_properties_in_order() -> anyhow::Result<()> {
    let house = house()?;
    let carried = [
        Property::PayloadFormat(1),
        Property::ContentType("a/b; c=\"d\"".to_owned()),
        Property::ResponseTopic("answers/to/me".to_owned()),
        Property::CorrelationData((0..=255).collect()),
        Property::user("z", "1"),
        Property::user("a", "2"),
        Property::user("z", "1"),
        Property::user("", ""),
        Property::user("größe", "\u{feff}"),
    ];
    let mut first = house.listener(V5, "carried-1", "carried/#").await?;
    let mut second = house.listener(V5, "carried-2", "carried/x").await?;
    let mut old = house.listener(V3, "carried-3", "carried/x").await?;
    let mut client = house.client(V5, "carried").await?;
    for qos in 0..=2 {
        let message = Publish { properties: carried.to_vec(), ..Publish::new("carried/x", "text", qos) };
        client.publish(message).await?;
        for listener in [&mut first, &mut second] {
            let came = listener.message().await?.properties;
            assert_eq!(came.len(), carried.len(), "{came:?}");
            assert!(carried.iter().all(|property| came.contains(property)), "{came:?}");
            let users = |all: &[Property]| -> Vec<Property> {
                all.iter().filter(|property| matches!(property, Property::User(..))).cloned().collect()
            };
            assert_eq!(users(&came), users(&carried));
        }
        assert_eq!(old.message().await?.text(), "text");
    }
    // That a payload is any bytes is passed on as well, and not made up.
    for properties in [vec![Property::PayloadFormat(0)], Vec::new()] {
        let message = Publish { properties: properties.clone(), ..Publish::new("carried/x", "", 1) };
        client.publish(message).await?;
        for listener in [&mut first, &mut second] {
            assert_eq!(listener.message().await?.properties, properties);
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_request_is_answered_to_its_response_topic() -> anyhow::Result<()> {
    let house = house()?;
    let mut asker = house.listener(V5, "asker", "asker/answers").await?;
    let mut answerer = house.listener(V5, "answerer", "answerer/requests").await?;
    let request = Publish::new("answerer/requests", "2 + 2", 1)
        .with(Property::ResponseTopic("asker/answers".to_owned()))
        .with(Property::CorrelationData(b"one".to_vec()));
    asker.publish(request).await?;
    let request = answerer.message().await?;
    let topic = request
        .properties
        .iter()
        .find_map(|p| if let Property::ResponseTopic(topic) = p { Some(topic) } else { None });
    let mut answer = Publish::new(topic.map_or("", String::as_str), "4", 1);
    answer.properties =
        request.properties.iter().filter(|p| matches!(p, Property::CorrelationData(_))).cloned().collect();
    answerer.publish(answer).await?;
    let answer = asker.message().await?;
    assert_eq!(
        (answer.text().as_str(), &answer.properties[..]),
        ("4", &[Property::CorrelationData(b"one".to_vec())][..])
    );
    Ok(())
}

// 5.0: 3.3.2-14
#[tokio::test]
async fn a_response_topic_that_cannot_be_published_to_ends_the_connection() -> anyhow::Result<()> {
    let house = house()?;
    for topic in ["answers/#", "+", ""] {
        let mut client = house.client(V5, "bad-response-topic").await?;
        let message = Publish::new("a", "", 0).with(Property::ResponseTopic(topic.to_owned()));
        assert_eq!(client.ends_by(&message.encode(V5)).await?, Some(0x82), "{topic}");
    }
    Ok(())
}

// 5.0: 3.3.2-5 3.3.2-6
#[tokio::test]
async fn messages_expire_while_they_wait_and_say_how_long_they_have_left() -> anyhow::Result<()> {
    let house = house()?;
    // Those of a publisher that can say so expire for subscribers that cannot.
    for level in VERSIONS {
        let name = format!("expires-{level}");
        let connect = Connect::new(level, &name).persistent();
        let mut away = house.connect(&connect).await?;
        away.subscribe(&name, 2).await?;
        let mut client = house.client(V5, "expires-publisher").await?;
        client.publish(Publish::new(&name, "live", 1).with(Property::MessageExpiry(600))).await?;
        let live = away.message().await?;
        assert!(level == V3 || expiry(&live).is_some_and(|left| (1..=600).contains(&left)), "{live:?}");
        away.disconnect().await?;
        for (text, qos, seconds) in [
            ("soon", 1, Some(1)),
            ("late", 1, Some(600)),
            ("soon", 2, Some(1)),
            ("late", 2, Some(600)),
            ("never", 1, None),
        ] {
            let mut message = Publish::new(&name, text, qos);
            message.properties.extend(seconds.map(Property::MessageExpiry));
            client.publish(message).await?;
        }
        house.pass(2).await?;
        let mut away = house.connect(&connect).await?;
        for (text, qos) in [("late", 1), ("late", 2), ("never", 1)] {
            let came = away.message().await?;
            assert_eq!((came.text().as_str(), came.qos), (text, qos));
            let left = expiry(&came);
            assert_eq!(left.is_some(), level == V5 && text == "late", "{came:?}");
            assert!(left.is_none_or(|left| (1..=598).contains(&left)), "{left:?}");
        }
        away.nothing().await?;
    }
    Ok(())
}

// 5.0: 4.3.3-7 4.3.3-13
#[tokio::test]
async fn a_message_that_was_sent_does_not_expire_any_more() -> anyhow::Result<()> {
    let house = house()?;
    let connect = Connect::v5("sent-and-expired").persistent();
    let mut listener = house.connect(&connect).await?;
    listener.subscribe("sent-and-expired", 2).await?;
    let mut client = house.client(V5, "sent-and-expired-publisher").await?;
    let message = Publish::new("sent-and-expired", "", 2).id(3).with(Property::MessageExpiry(3));
    client.send(&message.encode(V5)).await?;
    client.acknowledged(5, 3).await?;
    let id = listener.take().await?.packet_id;
    house.pass(4).await?;
    // Both sides go on: the broker releases what it has sent, and takes the release of what it was sent.
    client.acknowledge(6, 3).await?;
    assert_eq!(client.acknowledged(7, 3).await?, 0);
    drop(listener);
    let mut listener = house.connect(&connect).await?;
    let again = listener.take().await?;
    assert_eq!((again.packet_id, again.dup, again.qos), (id, true, 2));
    listener.acknowledge(5, id).await?;
    assert_eq!(listener.acknowledged(6, id).await?, 0);
    listener.acknowledge(7, id).await?;
    listener.nothing().await
}

// 5.0: 3.3.2-7 3.3.2-12
#[tokio::test]
async fn topic_aliases_of_a_client_are_known_until_its_connection_ends() -> anyhow::Result<()> {
    let house = house()?;
    let mut listener = house.listener(V5, "aliased-listener", "aliased/#").await?;
    let connect = Connect::v5("aliased").persistent();
    let mut client = house.connect(&connect).await?;
    for alias in 1..=16 {
        for topic in [&format!("aliased/{alias}"), ""] {
            client.publish(Publish::new(topic, "", 1).with(Property::TopicAlias(alias))).await?;
            let came = listener.message().await?;
            assert_eq!((came.topic, came.properties.len()), (format!("aliased/{alias}"), 0));
        }
    }
    // An alias may be given to another topic.
    for topic in ["aliased/other", ""] {
        client.publish(Publish::new(topic, "", 2).with(Property::TopicAlias(3))).await?;
        assert_eq!(listener.message().await?.topic, "aliased/other");
    }
    client.disconnect().await?;
    let unknown = Publish::new("", "", 1).id(1).with(Property::TopicAlias(3));
    assert_eq!(house.connect(&connect).await?.ends_by(&unknown.encode(V5)).await?, Some(0x82));
    Ok(())
}

// 5.0: 3.2.2-17 3.3.2-9
#[tokio::test]
async fn topic_aliases_that_cannot_be_end_the_connection() -> anyhow::Result<()> {
    let house = house()?;
    for (topic, aliases, code) in [
        ("a", vec![0], 0x94),
        ("a", vec![17], 0x94),
        ("a", vec![65_535], 0x94),
        ("", vec![0], 0x94),
        ("", vec![1], 0x82),
        ("", vec![], 0x82),
        ("a", vec![1, 1], 0x82),
    ] {
        let mut client = house.client(V5, "bad-alias").await?;
        let mut message = Publish::new(topic, "", 0);
        message.properties = aliases.iter().copied().map(Property::TopicAlias).collect();
        assert_eq!(client.ends_by(&message.encode(V5)).await?, Some(code), "{topic:?} {aliases:?}");
    }
    Ok(())
}

// 5.0: 3.1.2-26 3.1.2-27 3.3.2-8 3.3.2-11
#[tokio::test]
async fn the_broker_uses_no_more_topic_aliases_than_a_client_takes() -> anyhow::Result<()> {
    let house = house()?;
    let mut client = house.client(V5, "aliases-publisher").await?;
    for maximum in [None, Some(0), Some(1), Some(3), Some(65_535)] {
        let mut connect = Connect::v5("takes-aliases");
        connect.properties.extend(maximum.map(Property::TopicAliasMaximum));
        // Aliases of the connection before are forgotten.
        for _connection in 0..2 {
            let mut listener = house.connect(&connect).await?;
            listener.subscribe("takes-aliases/#", 2).await?;
            let most = maximum.unwrap_or(0).min(16);
            let mut known = vec![String::new(); usize::from(most) + 1];
            for round in 0..2 {
                for (number, qos) in (0..20).zip([0, 1, 2].into_iter().cycle()) {
                    let topic = format!("takes-aliases/{number}");
                    client.publish(Publish::new(&topic, "x", qos)).await?;
                    let came = listener.message().await?;
                    let is_aliased = number < most;
                    match alias(&came) {
                        Some(alias) => {
                            assert!((1..=most).contains(&alias), "{alias} of {most}");
                            let known = &mut known[usize::from(alias)];
                            assert_eq!(came.topic.is_empty(), round == 1, "{came:?}");
                            if !came.topic.is_empty() {
                                known.clone_from(&came.topic);
                            }
                            assert_eq!(*known, topic);
                        }
                        None => assert_eq!((came.topic, is_aliased), (topic, false)),
                    }
                }
            }
            listener.disconnect().await?;
        }
    }
    Ok(())
}
