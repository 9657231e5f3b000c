//! UNSUBSCRIBE and UNSUBACK (sections 3.10 and 3.11).
use crate::{VERSIONS, house, told};
use jitp_tests::mqtt::{Publish, V5};
use jitp_tests::wire::packet;

// 3.1.1: 3.10.4-1 3.10.4-4 3.10.4-5 3.10.4-6
// 5.0: 3.10.4-1 3.10.4-4 3.10.4-5 3.10.4-6 3.11.3-1 3.11.3-2
#[tokio::test]
async fn every_filter_that_is_held_character_by_character_goes_and_all_are_answered() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        let mut client = house.client(level, "unsubscribes").await?;
        let topic = |rest: &str| format!("unsubscribes/{level}/{rest}");
        let (a, b, wild) = (topic("a"), topic("b"), topic("+"));
        for filter in [&a, &b, &wild] {
            client.subscribe(filter, 1).await?;
        }
        let other = topic("A");
        let codes = client.unsubscribe(&[&a, &other, &topic("#"), &wild, "a/#/b", &a]).await?;
        let expected: &[u8] = if level == V5 { &[0, 0x11, 0x11, 0, 0x8f, 0x11] } else { &[] };
        assert_eq!(codes, expected);
        client.publish(Publish::new(&a, "", 1)).await?;
        client.publish(Publish::new(&b, "", 1)).await?;
        assert_eq!(client.message().await?.topic, b);
        client.nothing().await?;
        assert_eq!(
            client.unsubscribe(&["never/subscribed"]).await?,
            if level == V5 { vec![0x11] } else { vec![] }
        );
    }
    Ok(())
}

// 3.1.1: 3.10.3-2
// 5.0: 3.10.3-2
#[tokio::test]
async fn an_unsubscribe_without_filters_ends_the_connection() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        let body: &[u8] = if level == V5 { b"\0\x01\0" } else { b"\0\x01" };
        let mut client = house.client(level, "unsubscribes-nothing").await?;
        assert_eq!(client.ends_by(&packet(0xa2, body)).await?, told(level, 0x82));
    }
    Ok(())
}

// 3.1.1: 3.10.4-2 3.10.4-3
// 5.0: 3.10.4-2 3.10.4-3
#[tokio::test]
async fn what_is_on_its_way_is_delivered_to_the_end_and_nothing_new_comes() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        let topic = format!("on-its-way/{level}");
        let mut listener = house.listener(level, "on-its-way-listener", &topic).await?;
        let mut client = house.client(level, "on-its-way").await?;
        client.publish(Publish::new(&topic, "before", 2)).await?;
        let id = listener.take().await?.packet_id;
        listener.unsubscribe(&[&topic]).await?;
        client.publish(Publish::new(&topic, "after", 2)).await?;
        listener.acknowledge(5, id).await?;
        assert_eq!(listener.acknowledged(6, id).await?, 0);
        listener.acknowledge(7, id).await?;
        listener.nothing().await?;
    }
    Ok(())
}
