//! Shared subscriptions (section 4.8), in 3.1.1 as well.
use crate::{House, VERSIONS, house};
use anyhow::bail;
use jitp_tests::mqtt::{Client, Connect, Property, Publish, V5};
use jitp_tests::wire::packet;

// 5.0: 4.8.2-3
#[tokio::test]
async fn each_message_goes_to_one_member_of_a_group_with_the_qos_of_its_subscription() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        let topic = format!("group/{level}");
        let mut members = Vec::new();
        for (number, qos) in [0, 1, 2].into_iter().enumerate() {
            let mut member = house.client(level, &format!("member-{number}")).await?;
            member.subscribe(&format!("$share/g/{topic}"), qos).await?;
            members.push((member, qos));
        }
        let mut other = house.listener(level, "member-of-another", &format!("$share/other/{topic}")).await?;
        let mut alone = house.listener(level, "member-of-none", &topic).await?;
        let mut client = house.client(level, "group-publisher").await?;
        let texts: Vec<String> = (0..30).map(|number| number.to_string()).collect();
        for text in &texts {
            client.publish(Publish::new(&topic, text, 2)).await?;
        }
        for listener in [&mut other, &mut alone] {
            assert_eq!(listener.texts(30).await?, texts);
        }
        // Members are told the end by a topic of each.
        let mut came = Vec::new();
        for (number, (member, qos)) in members.iter_mut().enumerate() {
            let end = format!("group-end/{level}/{number}");
            member.subscribe(&end, 0).await?;
            client.publish(Publish::new(&end, "", 0)).await?;
            loop {
                let message = member.message().await?;
                if message.topic == end {
                    break;
                }
                assert_eq!(message.qos, *qos);
                came.push(message.text());
            }
        }
        came.sort_by_key(|text| text.parse::<u32>().unwrap_or_default());
        assert_eq!(came, texts);
    }
    Ok(())
}

// 5.0: 4.8.2-1 4.8.2-2
#[tokio::test]
async fn a_group_must_have_a_name_and_a_filter() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        let mut client = house.client(level, "bad-group").await?;
        for filter in [
            "$share",
            "$share/",
            "$share/g",
            "$share/g/",
            "$share//a",
            "$share/+/a",
            "$share/#/a",
            "$share/g+/a",
        ] {
            let code = client.try_subscribe(filter, 0).await?;
            assert_eq!(code, if level == V5 { 0x8f } else { 0x80 }, "{filter}");
        }
        client.subscribe("$share/größe 1/+/#", 1).await?;
    }
    Ok(())
}

// 5.0: 3.8.3-4
#[tokio::test]
async fn no_local_on_a_shared_subscription_is_a_protocol_error() -> anyhow::Result<()> {
    let house = house()?;
    let mut client = house.client(V5, "shared-no-local").await?;
    let subscribe = packet(0x82, b"\0\x01\0\0\x0a$share/g/a\x04");
    assert_eq!(client.ends_by(&subscribe).await?, Some(0x82));
    Ok(())
}

#[tokio::test]
async fn a_shared_subscription_is_not_sent_what_is_retained() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        let topic = format!("group-retained/{level}");
        let mut client = house.client(level, "group-retained").await?;
        client.publish(Publish::new(&topic, "kept", 1).retained()).await?;
        client.subscribe(&format!("$share/g/{topic}"), 1).await?;
        client.nothing().await?;
    }
    Ok(())
}

/// The member that a message of QoS 2 was sent to, the other one, and its packet id.
async fn two_members(house: &House, name: &str, expiry: Connect) -> anyhow::Result<(Client, Client, u16)> {
    let mut chosen = house.connect(&expiry).await?;
    chosen.subscribe(&format!("$share/g/{name}"), 2).await?;
    let mut client = house.client(V5, &format!("{name}-publisher")).await?;
    client.publish(Publish::new(name, "for one", 2)).await?;
    let id = chosen.take().await?.packet_id;
    let mut other = house.client(V5, &format!("{name}-other")).await?;
    other.subscribe(&format!("$share/g/{name}"), 2).await?;
    Ok((chosen, other, id))
}

// 5.0: 4.8.2-4
#[tokio::test]
async fn a_message_of_qos_2_that_a_member_was_sent_is_completed_with_that_member() -> anyhow::Result<()> {
    let house = house()?;
    let connect = Connect::v5("group-resumed").persistent();
    let (chosen, mut other, id) = two_members(&house, "group-resumed", connect.clone()).await?;
    drop(chosen);
    let mut chosen = house.connect(&connect).await?;
    let again = chosen.message().await?;
    assert_eq!((again.packet_id, again.dup), (id, true));
    other.nothing().await
}

// 5.0: 4.8.2-5
#[tokio::test]
async fn a_message_of_qos_2_ends_with_the_session_of_the_member_it_was_sent_to() -> anyhow::Result<()> {
    let house = house()?;
    let (chosen, mut other, _) = two_members(&house, "group-ended", Connect::v5("group-ended")).await?;
    chosen.disconnect().await?;
    other.nothing().await
}

#[tokio::test]
async fn what_a_member_has_not_acknowledged_goes_to_another_one_when_its_session_ends() -> anyhow::Result<()>
{
    let house = house()?;
    for level in VERSIONS {
        let name = format!("group-passed-on/{level}");
        let mut leaving = house.listener(level, "group-leaving", &format!("$share/g/{name}")).await?;
        let mut client = house.client(level, "group-passed-on").await?;
        let texts = ["0", "1", "2"];
        for text in texts {
            client.publish(Publish::new(&name, text, 1)).await?;
        }
        for text in texts {
            assert_eq!(leaving.take().await?.text(), text);
        }
        let mut staying = house.listener(level, "group-staying", &format!("$share/g/{name}")).await?;
        drop(leaving);
        let mut came = Vec::new();
        for _ in texts {
            let message = staying.message().await?;
            assert_eq!(message.qos, 1);
            came.push(message.text());
        }
        assert_eq!(came, texts);
        staying.nothing().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_shared_subscription_beside_others_is_a_message_of_its_own_with_its_own_identifier()
-> anyhow::Result<()> {
    let house = house()?;
    let mut client = house.client(V5, "group-identified").await?;
    let identifier = |id| [Property::SubscriptionIdentifier(id)];
    for (filter, id) in [
        ("group-identified/#", 1),
        ("group-identified/+", 268_435_455),
        ("$share/g/group-identified/+", 3),
        ("$share/h/group-identified/#", 4),
    ] {
        client.subscribe_with(&identifier(id), &[(filter, 1)]).await?;
    }
    for qos in [0, 1] {
        client.publish(Publish::new("group-identified/x", "", qos)).await?;
        let mut came = Vec::new();
        for _ in 0..3 {
            let mut identifiers: Vec<u32> = Vec::new();
            for property in client.message().await?.properties {
                let Property::SubscriptionIdentifier(id) = property else { bail!("{property:?}") };
                identifiers.push(id);
            }
            identifiers.sort_unstable();
            came.push(identifiers);
        }
        came.sort();
        assert_eq!(came, [vec![1, 268_435_455], vec![3], vec![4]]);
        client.nothing().await?;
    }
    Ok(())
}
