//! Receive Maximum and Maximum Packet Size, both ways (sections 3.1.2.11, 3.2.2.3, 4.9).
use crate::{VERSIONS, house, told};
use anyhow::ensure;
use jitp_tests::mqtt::{Connect, Packet, Property, Publish, V5};
use jitp_tests::wire::packet;

// 5.0: 3.3.4-9 3.3.4-10 4.9.0-1 4.9.0-2 4.9.0-3
#[tokio::test]
async fn a_client_is_sent_no_more_than_its_receive_maximum_until_it_acknowledges() -> anyhow::Result<()> {
    let house = house()?;
    let connect = Connect::v5("receives").with(Property::ReceiveMaximum(3));
    let mut listener = house.connect(&connect).await?;
    listener.subscribe("receives/#", 2).await?;
    let mut client = house.client(V5, "receives-publisher").await?;
    for (number, qos) in [1, 2, 1, 2, 1, 2, 1].into_iter().enumerate() {
        client.publish(Publish::new("receives/x", &number.to_string(), qos)).await?;
    }
    let mut sent = Vec::new();
    for _ in 0..3 {
        sent.push(listener.take().await?);
    }
    // Anything else goes on: PINGREQ, a message of its own, UNSUBSCRIBE.
    listener.nothing().await?;
    assert_eq!(listener.publish(Publish::new("elsewhere", "", 2)).await?, 0);
    listener.unsubscribe(&["elsewhere"]).await?;
    // PUBACK makes room; PUBREC does not, PUBCOMP does; a refusal does.
    listener.acknowledge(4, sent[0].packet_id).await?;
    sent.push(listener.take().await?);
    listener.nothing().await?;
    listener.acknowledge(5, sent[1].packet_id).await?;
    listener.acknowledged(6, sent[1].packet_id).await?;
    listener.nothing().await?;
    listener.acknowledge(7, sent[1].packet_id).await?;
    sent.push(listener.take().await?);
    listener.nothing().await?;
    listener.send(&packet(0x50, &[&sent[3].packet_id.to_be_bytes()[..], &[0x80]].concat())).await?;
    sent.push(listener.take().await?);
    listener.nothing().await?;
    listener.acknowledge(4, sent[2].packet_id).await?;
    sent.push(listener.take().await?);
    let texts: Vec<String> = sent.iter().map(Publish::text).collect();
    assert_eq!(texts, ["0", "1", "2", "3", "4", "5", "6"]);
    Ok(())
}

// 5.0: 3.3.4-7
#[tokio::test]
async fn a_client_that_sends_more_than_the_brokers_receive_maximum_is_disconnected() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        let mut client = house.client(level, "sends-too-much").await?;
        let message = |id| Publish::new("sends-too-much", "", 2).id(id).encode(level);
        for id in 1..=100 {
            client.send(&message(id)).await?;
            client.acknowledged(5, id).await?;
        }
        // What is released makes room.
        client.acknowledge(6, 1).await?;
        client.acknowledged(7, 1).await?;
        client.send(&message(101)).await?;
        client.acknowledged(5, 101).await?;
        assert_eq!(client.ends_by(&message(102)).await?, told(level, 0x93));
    }
    Ok(())
}

// 5.0: 3.1.2-24 3.1.2-25
#[tokio::test]
async fn a_message_that_is_too_large_for_its_client_is_dropped_as_if_it_had_been_sent() -> anyhow::Result<()>
{
    let house = house()?;
    let connect = Connect::v5("small")
        .with(Property::MaximumPacketSize(64))
        .with(Property::ReceiveMaximum(1))
        .persistent();
    let mut listener = house.connect(&connect).await?;
    listener.subscribe("small", 2).await?;
    let mut client = house.client(V5, "small-publisher").await?;
    // With QoS 1: 2 bytes in front, 7 of the topic, 2 of the packet id, 1 of the property length.
    for qos in 0..=2 {
        let room = 64 - 2 - 7 - 1 - if qos > 0 { 2 } else { 0 };
        client.publish(Publish::new("small", &"x".repeat(room + 1), qos)).await?;
        client
            .publish(Publish::new("small", "much", qos).with(Property::user("name", &"x".repeat(64))))
            .await?;
        client.publish(Publish::new("small", &"x".repeat(room), qos)).await?;
        let came = listener.message().await?;
        assert_eq!((came.payload.len(), came.qos), (room, qos));
    }
    listener.nothing().await?;
    drop(listener);
    house.connect(&connect).await?.nothing().await
}

// 5.0: 3.2.2-19 3.2.2-20 3.14.2-3
#[tokio::test]
async fn nothing_that_the_broker_sends_is_larger_than_its_client_takes() -> anyhow::Result<()> {
    let house = house()?;
    // CONNACK needs 34 bytes, with an assigned client id 73.
    for (id, size, code) in
        [("tiny", 34, 0), ("tiny", 33, 0x95), ("", 73, 0), ("", 72, 0x95), ("tiny", 5, 0x95)]
    {
        let connect = Connect::v5(id).with(Property::MaximumPacketSize(size));
        let (_, connack) = house.try_connect(&connect).await?;
        assert_eq!(connack.connack_code()?, code, "{id:?} {size}");
    }
    let nothing = Connect::v5("tiny").with(Property::MaximumPacketSize(4));
    assert_eq!(house.open(V5).await?.ends_by(&nothing.encode()).await?, None);

    // DISCONNECT without its Reason String, which would be longer.
    let connect = Connect::v5("tiny").with(Property::MaximumPacketSize(34));
    let mut client = house.connect(&connect).await?;
    client.send(&Publish::new("#", "", 0).encode(V5)).await?;
    let closed = client.closed().await?;
    assert_eq!((closed.code, closed.properties), (Some(0x90), vec![]));

    // SUBACK and UNSUBACK cannot leave anything out.
    let filters = ["a"; 40];
    let mut client = house.connect(&connect).await?;
    assert_eq!(client.unsubscribe(&filters[..29]).await?.len(), 29);
    let unsubscribe = [&b"\0\x01\0"[..], &b"\0\x01a".repeat(30)].concat();
    assert_eq!(client.ends_by(&packet(0xa2, &unsubscribe)).await?, Some(0x95));
    let mut client = house.connect(&connect).await?;
    let subscribe = [&b"\0\x01\0"[..], &b"\0\x01a\0".repeat(30)].concat();
    assert_eq!(client.ends_by(&packet(0x82, &subscribe)).await?, Some(0x95));

    // A refusal with a reason that fits, and without it where it does not.
    let device = house.plant.factory.device("large-refusal")?;
    for (size, with_reason) in [(1000, true), (34, true), (24, false)] {
        let connect = Connect::v5("another").with(Property::MaximumPacketSize(size));
        let answer = jitp_tests::mqtt::Client::try_connect(&house.plant.broker, &device, &connect).await?.1;
        let reason = answer.property(|p| matches!(p, Property::ReasonString(_)).then_some(()));
        let code = answer.connack_code()?;
        // Below 34 bytes nobody is asked who it is.
        assert_eq!((code, reason.is_some()), (if size < 34 { 0x95 } else { 0x87 }, with_reason), "{size}");
    }
    Ok(())
}

// 5.0: 3.2.2-15
#[tokio::test]
async fn a_packet_that_is_larger_than_the_broker_takes_ends_the_connection() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        let mut client = house.client(level, "too-large").await?;
        // The header alone says it.
        let code = client.ends_by(b"\x30\xff\xff\xff\x7f").await?;
        ensure!(code == told(level, 0x95), "{code:x?}");
        let mut client = house.client(level, "too-large").await?;
        let payload = "x".repeat(131_073);
        assert_eq!(
            client.ends_by(&Publish::new("too-large", &payload, 0).encode(level)).await?,
            told(level, 0x95)
        );
    }
    Ok(())
}

// 5.0: 3.1.2-29 3.4.2-2 3.4.2-3 3.5.2-2 3.5.2-3 3.6.2-2 3.6.2-3 3.7.2-2 3.7.2-3 3.9.2-1 3.9.2-2 3.11.2-1 3.11.2-2
#[tokio::test]
async fn no_answer_but_connack_and_disconnect_has_a_reason_string_or_user_properties() -> anyhow::Result<()> {
    let house = house()?;
    for information in [0, 1] {
        let device = house.plant.factory.device(&format!("reasons-{information}"))?;
        let connect = Connect::v5(&format!("reasons-{information}"))
            .with(Property::RequestProblemInformation(information));
        let (mut client, _) =
            jitp_tests::mqtt::Client::try_connect(&house.plant.broker, &device, &connect).await?;
        for (packet, kind) in [
            (Publish::new("not/allowed", "", 1).id(1).encode(V5), 4),
            (Publish::new("not/allowed", "", 2).id(1).encode(V5), 5),
            (packet(0x50, b"\0\x02"), 6),
            (packet(0x62, b"\0\x02"), 7),
            (packet(0x82, b"\0\x03\0\0\x0bnot/allowed\0"), 9),
            (packet(0xa2, b"\0\x04\0\0\x0bnot/allowed"), 11),
        ] {
            client.send(&packet).await?;
            match client.next().await? {
                Packet::Answer { kind: came, code, properties, .. } => {
                    assert_eq!((came, properties), (kind, vec![]), "{code:x}");
                    assert!(code >= 0x80, "{code:x}");
                }
                Packet::Codes { kind: came, properties, .. } => {
                    assert_eq!((came, properties), (kind, vec![]))
                }
                other => anyhow::bail!("{other:?}"),
            }
        }
    }
    Ok(())
}
