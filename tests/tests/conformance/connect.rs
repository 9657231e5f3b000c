//! CONNECT and CONNACK: what is let in, and what everybody else is told (sections 3.1 and 3.2).
use crate::{VERSIONS, house, told};
use anyhow::ensure;
use jitp_tests::mqtt::{Client, Connect, Packet, Property, Publish, V3, V5, Will, text};
use jitp_tests::wire::{PINGREQ, packet};

// 3.1.1: 3.1.0-1
// 5.0: 3.1.0-1
#[tokio::test]
async fn a_first_packet_that_is_not_connect_is_answered_by_closing() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        let connect = Connect::new(level, "first-packet").encode();
        for packet in [
            PINGREQ.to_vec(),
            Publish::new("a", "", 0).encode(level),
            packet(0x82, b"\0\x01\0\0\x01a\0"),
            packet(0xe0, b""),
            packet(0xf0, b""),
        ] {
            // Nor is the CONNECT behind it answered.
            let code = house.open(level).await?.ends_by(&[&packet[..], &connect].concat()).await?;
            ensure!(code.is_none(), "{packet:x?}: {code:x?}");
        }
    }
    Ok(())
}

// 3.1.1: 3.1.0-2
// 5.0: 3.1.0-2 3.2.0-2 4.13.2-1
#[tokio::test]
async fn a_second_connect_ends_the_connection() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        let connect = Connect::new(level, "second-connect");
        let mut client = house.connect(&connect).await?;
        assert_eq!(client.ends_by(&connect.encode()).await?, told(level, 0x82));
    }
    Ok(())
}

// 3.1.1: 3.1.2-1
// 5.0: 3.1.2-1
#[tokio::test]
async fn another_protocol_is_closed() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        for name in ["HTTP", "mqtt", "MQT", "MQTTX", ""] {
            let connect = Connect { name, ..Connect::new(level, "other-protocol") };
            assert_eq!(house.open(level).await?.ends_by(&connect.encode()).await?, None, "{name}");
        }
    }
    Ok(())
}

// 3.1.1: 3.1.2-2 3.2.2-4 3.2.2-5
// 5.0: 3.1.2-2 3.2.2-6 3.2.2-7 3.2.2-8
#[tokio::test]
async fn another_version_is_told_so_and_closed() -> anyhow::Result<()> {
    let house = house()?;
    for (name, level) in [("MQIsdp", 3), ("MQTT", 3), ("MQTT", 0), ("MQTT", 6), ("MQTT", 255)] {
        let connect = Connect { name, ..Connect::new(level, "other-version") };
        assert_eq!(house.open(V3).await?.ends_by(&connect.encode()).await?, Some(1), "{name} {level}");
    }
    // Each is answered in the version that it can read: these are laid out as 5 is.
    for level in [6, 255] {
        let connect = [b"\x10\x0e\0\x04MQTT", &[level][..], b"\x02\0\x1e\0\0\x01a"].concat();
        assert_eq!(house.open(V5).await?.ends_by(&connect).await?, Some(0x84), "{level}");
    }
    Ok(())
}

// 3.1.1: 3.1.2-3 3.1.4-1 3.2.2-6
// 5.0: 3.1.2-3 3.1.4-1
#[tokio::test]
async fn the_reserved_flag_of_connect_is_refused() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        let connect = Connect { flags: Some(0b11), ..Connect::new(level, "reserved-flag") };
        assert_eq!(house.open(level).await?.ends_by(&connect.encode()).await?, told(level, 0x81));
    }
    Ok(())
}

// 3.1.1: 3.1.2-11 3.1.2-13 3.1.2-14 3.1.2-15
// 5.0: 3.1.2-11 3.1.2-12 3.1.2-13
#[tokio::test]
async fn flags_of_a_will_that_contradict_each_other_are_refused() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        let will = Connect::new(level, "will-flags").will(Will::new("will-flags", ""));
        let none = Connect::new(level, "will-flags");
        for (connect, flags) in [
            (&none, 0b0000_1010),
            (&none, 0b0001_0010),
            (&none, 0b0001_1010),
            (&none, 0b0010_0010),
            (&will, 0b0001_1110),
            (&will, 0b0011_1110),
        ] {
            let connect = Connect { flags: Some(flags), ..connect.clone() };
            let code = house.open(level).await?.ends_by(&connect.encode()).await?;
            ensure!(code == told(level, 0x81), "{flags:08b}: {code:x?}");
        }
        for qos in 0..=2 {
            let will = Will { qos, ..Will::new("will-flags", "") };
            house.connect(&Connect::new(level, "will-flags").will(will)).await?.disconnect().await?;
        }
    }
    Ok(())
}

// 3.1.1: 3.1.2-9 3.1.2-18 3.1.2-19 3.1.2-20 3.1.2-21 3.1.3-3
// 5.0: 3.1.2-9 3.1.2-16 3.1.2-17 3.1.2-18 3.1.2-19 3.1.3-3
#[tokio::test]
async fn a_payload_of_connect_has_exactly_the_fields_that_its_flags_say() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        let none = Connect::new(level, "fields");
        let named = Connect { user_name: Some(b"name".to_vec()), ..none.clone() };
        let full = Connect { password: Some(b"\xffword\0".to_vec()), ..named.clone() };
        house.connect(&full).await?.disconnect().await?;
        for (what, connect, flags) in [
            ("a will flag without a will", &none, 0b0000_0110),
            ("a will without its flag", &none.clone().will(Will::new("a", "")), 0b0000_0010),
            ("a user name flag without a user name", &none, 0b1000_0010),
            ("a user name without its flag", &named, 0b0000_0010),
            ("a password flag without a password", &named, 0b1100_0010),
            ("a password without its flag", &full, 0b1000_0010),
        ] {
            let connect = Connect { flags: Some(flags), ..connect.clone() };
            let code = house.open(level).await?.ends_by(&connect.encode()).await?;
            ensure!(code == told(level, 0x81), "{what}: {code:x?}");
        }
        let properties: &[u8] = if level == V5 { b"\0" } else { b"" };
        let without = packet(0x10, &[&text("MQTT")[..], &[level, 2, 0, 60], properties].concat());
        assert_eq!(house.open(level).await?.ends_by(&without).await?, told(level, 0x81), "no client id");
    }
    Ok(())
}

// 3.1.1: 3.1.2-22
#[tokio::test]
async fn a_password_needs_a_user_name_in_version_3_1_1_alone() -> anyhow::Result<()> {
    let house = house()?;
    let connect = |level| Connect { password: Some(b"p".to_vec()), ..Connect::new(level, "password") };
    assert_eq!(house.open(V3).await?.ends_by(&connect(V3).encode()).await?, None);
    house.connect(&connect(V5)).await?.disconnect().await
}

// 3.1.1: 3.1.3-1
// 5.0: 3.1.3-1
#[tokio::test]
async fn the_fields_of_connect_are_read_in_their_order() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        let mut listener = house.listener(level, "order-listener", "order/#").await?;
        let mut connect =
            Connect::new(level, &format!("order-{level}")).will(Will::new("order/will", "the will"));
        connect.user_name = Some(b"the name".to_vec());
        connect.password = Some(b"the password".to_vec());
        drop(house.connect(&connect).await?);
        let will = listener.message().await?;
        assert_eq!((will.topic.as_str(), will.text().as_str()), ("order/will", "the will"));
    }
    Ok(())
}

// 3.1.1: 3.1.4-5
// 5.0: 3.1.4-2 3.1.4-6 3.14.0-1
#[tokio::test]
async fn what_follows_a_refused_connect_is_not_processed() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        let mut listener = house.listener(level, "unprocessed-listener", "unprocessed/#").await?;
        let publish = Publish::new("unprocessed/a", "", 0).encode(level);
        // A client id that is refused, and a certificate that may not use a client id.
        let device = house.plant.factory.device(&format!("refused-{level}"))?;
        let others =
            [(&house.tester, Connect::new(level, "$refused")), (&device, Connect::new(level, "unprocessed"))];
        for ((who, connect), codes) in others.into_iter().zip([[2, 0x85], [5, 0x87]]) {
            let mut client = Client::open(&house.plant.broker, who, level).await?;
            let code = client.ends_by(&[connect.encode(), publish.clone()].concat()).await?;
            assert_eq!(code, Some(codes[usize::from(level == V5)]), "{connect:?}");
        }
        listener.nothing().await?;
    }
    Ok(())
}

// 3.1.1: 3.1.4-4 3.2.0-1
// 5.0: 3.1.4-5 3.2.0-1 3.2.2-1 4.12.0-6
#[tokio::test]
async fn connack_comes_first_and_what_was_sent_before_it_is_processed_after_it() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        let none: &[u8] = if level == V5 { b"\0" } else { b"" };
        let mut client = house.open(level).await?;
        let packets = [
            Connect::new(level, "pipelined").encode(),
            packet(0x82, &[b"\0\x07", none, &text("pipelined"), &[0]].concat()),
            Publish::new("pipelined", "", 1).id(8).encode(level),
            PINGREQ.to_vec(),
        ];
        client.send(&packets.concat()).await?;
        let connack = client.next().await?;
        assert_eq!((connack.connack_code()?, connack.session_present()), (0, false));
        let method = connack.property(|p| matches!(p, Property::AuthenticationMethod(_)).then_some(()));
        assert_eq!(method, None);
        assert!(matches!(client.next().await?, Packet::Codes { kind: 9, packet_id: 7, .. }));
        assert_eq!(client.acknowledged(4, 8).await?, 0);
        assert_eq!(client.next().await?, Packet::Pingresp);
        assert_eq!(client.take().await?.topic, "pipelined");
    }
    Ok(())
}

// 5.0: 3.1.2-28 3.2.2-9 3.2.2-22
#[tokio::test]
async fn connack_says_what_differs_from_the_defaults_and_from_what_was_asked_for() -> anyhow::Result<()> {
    let house = house()?;
    let asks = |keep_alive, expiry, response| {
        let connect = Connect::v5("connack").with(Property::SessionExpiry(expiry));
        Connect { keep_alive, ..connect.with(Property::RequestResponseInformation(response)) }
    };
    let always = [
        Property::ReceiveMaximum(100),
        Property::MaximumPacketSize(149_504),
        Property::TopicAliasMaximum(16),
        Property::RetainAvailable(1),
        Property::WildcardAvailable(1),
        Property::SharedAvailable(1),
        Property::IdentifiersAvailable(1),
    ];
    for response in [0, 1] {
        let (_, connack) = house.try_connect(&asks(60, 600, response)).await?;
        assert_eq!(connack.connack_code()?, 0);
        assert_eq!(connack.properties().len(), always.len(), "{connack:?}");
        assert!(always.iter().all(|property| connack.properties().contains(property)), "{connack:?}");
    }
    let (_, connack) = house.try_connect(&asks(0, u32::MAX, 1)).await?;
    let changed = [Property::ServerKeepAlive(u16::MAX), Property::SessionExpiry(3600)];
    assert!(changed.iter().all(|property| connack.properties().contains(property)), "{connack:?}");
    assert_eq!(connack.properties().len(), always.len() + changed.len(), "{connack:?}");
    Ok(())
}

// 5.0: 3.15.2-1 3.15.2-2 3.15.2-3 4.12.0-1 4.12.0-2 4.12.0-4 4.12.0-5 4.12.0-7
#[tokio::test]
async fn enhanced_authentication_is_refused() -> anyhow::Result<()> {
    let house = house()?;
    let method = Property::AuthenticationMethod("SCRAM-SHA-1".to_owned());
    let data = Property::AuthenticationData(b"nonce".to_vec());
    for (properties, code) in [
        (vec![method.clone()], 0x8c),
        (vec![method.clone(), data.clone()], 0x8c),
        (vec![data.clone(), method], 0x8c),
        (vec![data], 0x82),
    ] {
        let connect = Connect { properties, ..Connect::v5("enhanced") };
        assert_eq!(house.open(V5).await?.ends_by(&connect.encode()).await?, Some(code), "{connect:?}");
    }
    // AUTH is never expected, so it is a protocol error, and in 3.1.1 its type is reserved.
    for level in VERSIONS {
        for body in [&b""[..], b"\x18\0", b"\x19\x05\x15\0\x02ab"] {
            let mut client = house.client(level, "enhanced").await?;
            assert_eq!(client.ends_by(&packet(0xf0, body)).await?, told(level, 0x82), "{body:x?}");
        }
    }
    Ok(())
}
