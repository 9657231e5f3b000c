//! Wills: when they are published, and how (sections 3.1.2.5 and 3.1.3.2).
use crate::{VERSIONS, house, told};
use jitp_tests::mqtt::{Connect, Property, Publish, V5, Will};
use jitp_tests::wire::packet;

// 3.1.1: 3.1.2-8 3.1.2-10 3.1.2-12 3.14.4-3
// 5.0: 3.1.2-7 3.1.2-8 3.1.2-10 3.14.4-3
#[tokio::test]
async fn a_will_is_published_at_every_end_but_a_normal_one() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        let mut listener = house.listener(level, "will-listener", "will/#").await?;
        let connect = |how: &str| {
            Connect::new(level, &format!("will-{how}")).will(Will::new(&format!("will/{how}"), how))
        };

        drop(house.connect(&connect("lost")).await?);
        assert_eq!(listener.message().await?.topic, "will/lost");

        let mut violates = house.connect(&connect("violates")).await?;
        violates.ends_by(b"\0\0").await?;
        assert_eq!(listener.message().await?.topic, "will/violates");

        let mut old = house.connect(&connect("taken-over")).await?;
        let new = house.connect(&Connect::new(level, "will-taken-over")).await?;
        old.closed().await?;
        assert_eq!(listener.message().await?.topic, "will/taken-over");

        house.connect(&connect("leaves")).await?.disconnect().await?;
        // Without a will there is nothing to publish.
        drop(new);
        drop(house.client(level, "will-none").await?);
        if level == V5 {
            for code in [0x04, 0x80, 0x99] {
                let mut client = house.connect(&connect("asks")).await?;
                assert_eq!(client.ends_by(&packet(0xe0, &[code])).await?, None);
                assert_eq!(listener.message().await?.topic, "will/asks", "{code:#x}");
            }
            let mut client = house.connect(&connect("leaves")).await?;
            assert_eq!(client.ends_by(&packet(0xe0, &[0, 0])).await?, None);
        }
        // Once published it is gone: the next end of the same session has none.
        let again = Connect::new(level, "will-once").persistent();
        let mut client = house.connect(&again.clone().will(Will::new("will/once", ""))).await?;
        client.ends_by(b"\0\0").await?;
        assert_eq!(listener.message().await?.topic, "will/once");
        drop(house.connect(&again).await?);
        house.client(level, "will-publisher").await?.publish(Publish::new("will/end", "", 1)).await?;
        assert_eq!(listener.message().await?.topic, "will/end");
    }
    Ok(())
}

// 3.1.1: 3.1.2-16 3.1.2-17
// 5.0: 3.1.2-14 3.1.2-15
#[tokio::test]
async fn a_will_has_the_qos_and_the_retain_flag_that_connect_gave_it() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        for qos in 0..=2 {
            for retain in [false, true] {
                let topic = format!("will-flags/{level}/{qos}/{retain}");
                let mut listener = house.listener(level, "will-flags-listener", &topic).await?;
                let will = Will { qos, retain, ..Will::new(&topic, "will") };
                drop(house.connect(&Connect::new(level, "will-flags-dies").will(will)).await?);
                let live = listener.message().await?;
                assert_eq!((live.qos, live.retain, live.text().as_str()), (qos, false, "will"));
                let found = house.retained("will-flags-new", &topic).await?;
                assert_eq!(found.len(), usize::from(retain), "{topic}: {found:?}");
            }
        }
    }
    Ok(())
}

// 3.1.1: 3.1.2-24
// 5.0: 3.1.2-22
#[tokio::test]
async fn a_client_that_is_silent_for_one_and_a_half_keep_alives_is_disconnected() -> anyhow::Result<()> {
    let house = house()?;
    let mut listener = house.listener(V5, "silent-listener", "silent/#").await?;
    let since = std::time::Instant::now();
    let mut silent = Vec::new();
    for level in VERSIONS {
        let will = Will::new("silent/will", "silent");
        let connect = Connect { keep_alive: 4, ..Connect::new(level, &format!("silent-{level}")).will(will) };
        silent.push((level, house.connect(&connect).await?));
    }
    // On the broker's own clock: what is due three seconds later comes later.
    let later = Will::new("silent/later", "later").with(Property::WillDelay(9));
    drop(house.connect(&Connect::v5("silent-later").persistent().will(later)).await?);
    for (level, mut client) in silent {
        assert_eq!(client.closed().await?.code, told(level, 0x8d));
        assert!(since.elapsed().as_secs() >= 6, "after {:?} already", since.elapsed());
    }
    assert_eq!(listener.texts(3).await?, ["silent", "silent", "later"]);
    Ok(())
}

// 5.0: 3.1.3-9
#[tokio::test]
async fn a_delayed_will_is_not_published_if_the_client_is_back_in_time() -> anyhow::Result<()> {
    let house = house()?;
    let mut listener = house.listener(V5, "delay-listener", "delay/#").await?;
    let connect = |name: &str, delay, expiry| {
        let will = Will::new(&format!("delay/{name}"), name).with(Property::WillDelay(delay));
        Connect { clean: false, ..Connect::v5(name).will(will) }.with(Property::SessionExpiry(expiry))
    };
    // Back before its delay: then it is not sent at the end of the session either.
    drop(house.connect(&connect("delay-back", 600, 600)).await?);
    let mut back = house.connect(&Connect::v5("delay-back").persistent()).await?;
    back.ends_by(&packet(0xe0, b"\0\x05\x11\0\0\0\0")).await?;
    // The delay passes, and the end of a session that comes before it.
    drop(house.connect(&connect("delay-1", 1, 600)).await?);
    assert_eq!(listener.message().await?.text(), "delay-1");
    drop(house.connect(&connect("delay-600", 600, 1)).await?);
    assert_eq!(listener.message().await?.text(), "delay-600");
    // The session ends with a clean start, and the will does not wait any longer.
    drop(house.connect(&connect("delay-ends", 600, 600)).await?);
    house.connect(&Connect::v5("delay-ends")).await?.disconnect().await?;
    assert_eq!(listener.message().await?.text(), "delay-ends");
    listener.nothing().await
}

// 5.0: 3.1.3-10
#[tokio::test]
async fn a_will_carries_its_properties_in_order() -> anyhow::Result<()> {
    let house = house()?;
    let mut listener = house.listener(V5, "will-properties-listener", "will-properties").await?;
    let carried = [
        Property::PayloadFormat(1),
        Property::ContentType("text/plain".to_owned()),
        Property::ResponseTopic("answers/here".to_owned()),
        Property::CorrelationData(vec![0, 1, 255]),
        Property::user("b", "1"),
        Property::user("a", "2"),
        Property::user("b", "1"),
        Property::user("", ""),
    ];
    let mut will = Will::new("will-properties", "");
    will.properties = [&carried[..], &[Property::MessageExpiry(600), Property::WillDelay(1)]].concat();
    drop(house.connect(&Connect::v5("will-properties").persistent().will(will)).await?);
    let came = listener.message().await?.properties;
    assert!(carried.iter().all(|property| came.contains(property)), "{came:?}");
    let users = |properties: &[Property]| -> Vec<Property> {
        properties.iter().filter(|property| matches!(property, Property::User(..))).cloned().collect()
    };
    assert_eq!(users(&came), users(&carried));
    // The clock of its expiry starts when it is published; its delay is nobody else's business.
    let expiry =
        came.iter().find_map(|p| if let Property::MessageExpiry(left) = p { Some(*left) } else { None });
    assert!(expiry.is_some_and(|left| (1..=600).contains(&left)), "{expiry:?}");
    assert!(!came.iter().any(|property| matches!(property, Property::WillDelay(_))));
    Ok(())
}

#[tokio::test]
async fn a_will_to_a_topic_that_cannot_be_used_is_refused() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        for topic in ["", "a/#", "+/a"] {
            let connect = Connect::new(level, "will-topic").will(Will::new(topic, ""));
            assert_eq!(
                house.open(level).await?.ends_by(&connect.encode()).await?,
                told(level, 0x90),
                "{topic}"
            );
        }
    }
    Ok(())
}
