//! Session state: what outlives a connection, and for how long (sections 3.1.2.4, 3.1.2.11.2, 4.1).
use crate::{VERSIONS, house};
use anyhow::ensure;
use jitp_tests::mqtt::{Client, Connect, Property, Publish, V3, V5, Will};
use jitp_tests::wire::packet;

// 3.1.1: 3.1.2-4 3.1.2-6 3.1.4-3 3.2.2-1 3.2.2-2 3.2.2-3 4.1.0-1
// 5.0: 3.1.2-4 3.1.2-5 3.1.2-6 3.1.4-4 3.2.2-2 3.2.2-3
#[tokio::test]
async fn a_session_is_made_resumed_and_discarded_as_connect_asks() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        let topic = format!("sessions/{level}");
        let stays = Connect::new(level, &format!("sessions-{level}")).persistent();
        let clean = Connect { clean: true, ..stays.clone() };
        let (mut client, connack) = house.try_connect(&stays).await?;
        assert!(!connack.session_present(), "there was none");
        client.subscribe(&topic, 1).await?;
        client.disconnect().await?;

        let (mut client, connack) = house.try_connect(&stays).await?;
        assert!(connack.session_present());
        client.publish(Publish::new(&topic, "still subscribed", 1)).await?;
        assert_eq!(client.message().await?.text(), "still subscribed");
        client.disconnect().await?;

        let (mut client, connack) = house.try_connect(&clean).await?;
        assert!(!connack.session_present());
        client.publish(Publish::new(&topic, "nobody hears it", 1)).await?;
        client.nothing().await?;
        client.disconnect().await?;
    }
    // Of 3.1.1 a clean session ends with its connection; of 5.0 the expiry says.
    for (level, present) in [(V3, false), (V5, true)] {
        let connect = Connect::new(level, &format!("sessions-{level}")).persistent();
        assert_eq!(house.try_connect(&connect).await?.1.session_present(), present, "{level}");
    }
    Ok(())
}

// 3.1.1: 3.1.2-5 4.5.0-1
// 5.0: 3.1.2-23 4.5.0-1
#[tokio::test]
async fn messages_of_qos_1_and_2_wait_for_a_client_that_is_away() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        let connect = Connect::new(level, &format!("away-{level}")).persistent();
        let mut client = house.connect(&connect).await?;
        client.subscribe("away/#", 2).await?;
        client.disconnect().await?;
        let mut publisher = house.client(level, "away-publisher").await?;
        for (qos, text) in [(1, "one"), (2, "two"), (1, "three")] {
            publisher.publish(Publish::new("away/x", text, qos)).await?;
        }
        let mut client = house.connect(&connect).await?;
        assert_eq!(client.texts(3).await?, ["one", "two", "three"]);
        client.unsubscribe(&["away/#"]).await?;
    }
    Ok(())
}

// 3.1.1: 3.1.2-7
#[tokio::test]
async fn retained_messages_are_no_part_of_a_session() -> anyhow::Result<()> {
    let house = house()?;
    let mut client = house.client(V3, "retains-and-goes").await?;
    client.publish(Publish::new("retains-and-goes", "stays", 1).retained()).await?;
    client.disconnect().await?;
    let found = house.retained("retains-and-goes-listener", "retains-and-goes").await?;
    assert_eq!(found[0].text(), "stays");
    Ok(())
}

// 5.0: 4.1.0-2
#[tokio::test]
async fn a_session_ends_when_its_expiry_has_passed_and_not_before() -> anyhow::Result<()> {
    let house = house()?;
    let mut listener = house.listener(V5, "expiry-listener", "expiry/#").await?;
    // The will comes at the end of the session at the latest, and so tells of it.
    let will = |name: &str| Will::new(&format!("expiry/{name}"), "over").with(Property::WillDelay(600));
    let connect = |name: &str, expiry| {
        Connect { clean: false, ..Connect::v5(name).will(will(name)) }.with(Property::SessionExpiry(expiry))
    };
    let brief = house.connect(&connect("brief", 1)).await?;
    let long = house.connect(&connect("long", 600)).await?;
    drop((brief, long));
    assert_eq!(listener.message().await?.topic, "expiry/brief");
    assert!(!house.try_connect(&connect("brief", 1)).await?.1.session_present());
    assert!(house.try_connect(&connect("long", 600)).await?.1.session_present());
    // Without an expiry it ends with its connection.
    drop(house.connect(&connect("none", 0)).await?);
    assert_eq!(listener.message().await?.topic, "expiry/none");
    assert!(!house.try_connect(&connect("none", 0)).await?.1.session_present());
    Ok(())
}

/// DISCONNECT with a Session Expiry Interval.
fn goodbye(expiry: u32) -> Vec<u8> {
    packet(0xe0, &[&[0, 5, 0x11][..], &expiry.to_be_bytes()].concat())
}

#[tokio::test]
async fn disconnect_may_change_the_expiry_unless_there_was_none() -> anyhow::Result<()> {
    let house = house()?;
    let connect = |expiry| {
        Connect { clean: false, ..Connect::v5("changes-expiry") }.with(Property::SessionExpiry(expiry))
    };
    let session_present =
        async |expiry| anyhow::Ok(house.try_connect(&connect(expiry)).await?.1.session_present());
    let leave = async |mut client: Client, expiry| client.ends_by(&goodbye(expiry)).await;

    assert_eq!(leave(house.connect(&connect(600)).await?, 0).await?, None);
    ensure!(!session_present(600).await?, "it was to end at once");
    assert_eq!(leave(house.connect(&connect(600)).await?, u32::MAX).await?, None);
    ensure!(session_present(600).await?, "it was to last");
    assert_eq!(leave(house.connect(&connect(0)).await?, 0).await?, None);
    assert_eq!(leave(house.connect(&connect(0)).await?, 600).await?, Some(0x82));
    ensure!(!session_present(0).await?, "there was to be none");
    Ok(())
}

// 3.1.1: 4.1.0-2
// 5.0: 4.1.0-1
#[tokio::test]
async fn a_session_lasts_as_long_as_its_connection() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        let mut client = house.listener(level, "lasting", "lasting").await?;
        if level == V5 {
            let brief = Connect { clean: false, ..Connect::v5("lasting") }.with(Property::SessionExpiry(1));
            client = house.connect(&brief).await?;
            client.subscribe("lasting", 1).await?;
        }
        house.pass(2).await?;
        client.publish(Publish::new("lasting", "there", 1)).await?;
        assert_eq!(client.message().await?.text(), "there");
    }
    Ok(())
}
