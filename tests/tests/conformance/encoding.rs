//! Chapters 1 and 2: strings, integers, fixed headers, packet identifiers, property blocks.
use crate::{VERSIONS, house, told};
use anyhow::ensure;
use jitp_tests::mqtt::{Connect, Packet, Property, Publish, V3, V5, Will, binary, text};
use jitp_tests::wire::packet;

/// Packets of a connected client with a string in each place where one may be.
fn packets_with(level: u8, string: &[u8]) -> Vec<Vec<u8>> {
    let none: &[u8] = if level == V5 { b"\0" } else { b"" };
    let mut packets = vec![
        packet(0x30, &[&binary(string), none, b"x"].concat()),
        packet(0x82, &[b"\0\x01", none, &binary(string), b"\0"].concat()),
        packet(0xa2, &[b"\0\x01", none, &binary(string)].concat()),
    ];
    if level == V5 {
        for property in [b"\x03", b"\x08"] {
            let property = [property, &binary(string)[..]].concat();
            packets.push(packet(0x30, &[&text("a")[..], &[property.len() as u8], &property].concat()));
        }
        for pair in [[binary(string), text("v")], [text("n"), binary(string)]] {
            let property = [&b"\x26"[..], &pair.concat()].concat();
            packets.push(packet(0x30, &[&text("a")[..], &[property.len() as u8], &property].concat()));
        }
    }
    packets
}

/// CONNECTs with the string in each place where one may be.
fn connects_with(level: u8, string: &[u8]) -> Vec<Connect> {
    let connect = Connect::new(level, "strings");
    vec![
        Connect { client_id: string.to_vec(), ..connect.clone() },
        Connect { user_name: Some(string.to_vec()), ..connect.clone() },
        connect.will(Will { topic: string.to_vec(), ..Will::default() }),
    ]
}

async fn is_refused_everywhere(client_id: &str, string: &[u8]) -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        for packet in packets_with(level, string) {
            let mut client = house.client(level, client_id).await?;
            let code = client.ends_by(&packet).await?;
            ensure!(code == told(level, 0x81), "{level} {packet:x?}: {code:x?}");
        }
        for connect in connects_with(level, string) {
            let mut client = house.open(level).await?;
            let code = client.ends_by(&connect.encode()).await?;
            ensure!(code == told(level, 0x81), "{connect:x?}: {code:x?}");
        }
    }
    Ok(())
}

// 3.1.1: 1.5.3-1 3.1.3-4 3.1.3-10 3.1.3-11 3.3.2-1 3.8.3-1 3.10.3-1
// 5.0: 1.5.4-1 1.5.7-1 3.1.3-4 3.1.3-11 3.1.3-12 3.3.2-1 3.3.2-13 3.3.2-19 3.8.3-1 3.10.3-1
#[tokio::test]
async fn strings_that_are_not_utf8_end_the_connection() -> anyhow::Result<()> {
    is_refused_everywhere("not-utf8", b"a\xff").await?;
    // An overlong NUL, a surrogate, and what is behind the last code point, in a topic.
    let house = house()?;
    for level in VERSIONS {
        for string in [&b"\xc0\x80"[..], b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xf4\x90\x80\x80", b"\xe2\x82"] {
            let mut client = house.client(level, "not-utf8-either").await?;
            assert_eq!(client.ends_by(&packets_with(level, string)[0]).await?, told(level, 0x81));
        }
    }
    Ok(())
}

// 3.1.1: 1.5.3-2 4.7.3-2
// 5.0: 1.5.4-2 4.7.3-2
#[tokio::test]
async fn strings_with_u_0000_end_the_connection() -> anyhow::Result<()> {
    is_refused_everywhere("nul", b"a\0b").await
}

// 3.1.1: 1.5.3-3 4.7.3-4
// 5.0: 1.5.4-3 4.7.3-4
#[tokio::test]
async fn strings_are_compared_and_passed_on_as_they_are() -> anyhow::Result<()> {
    let house = house()?;
    // A byte order mark, controls, code points that are no characters, and what Unicode would normalize.
    let strings = ["\u{feff}x", "\u{1}\u{7f}\u{85}", "\u{ffff}\u{fdd0}", "e\u{301}", "\u{e9}", "\u{1f4a7}"];
    for level in VERSIONS {
        for string in strings {
            for topic in [format!("as-is/{level}/{string}"), format!("{string}/as-is/{level}")] {
                let mut client = house.listener(level, "as-is", &topic).await?;
                client.publish(Publish::new(&topic, string, 1)).await?;
                let message = client.message().await?;
                assert_eq!((message.text().as_str(), message.topic), (string, topic));
            }
        }
        let mut client = house.listener(level, "as-is", &format!("as-is/{level}/x")).await?;
        client.subscribe(&format!("x/as-is/{level}"), 1).await?;
        for other in ["\u{feff}x", "X", " x", "x/", "\u{445}"] {
            client.publish(Publish::new(&format!("as-is/{level}/{other}"), "", 1)).await?;
            client.publish(Publish::new(&format!("{other}/as-is/{level}"), "", 1)).await?;
        }
        client.nothing().await?;
    }
    Ok(())
}

// 3.1.1: 2.2.2-1 2.2.2-2 3.6.1-1 3.8.1-1 3.10.1-1 3.14.1-1
// 5.0: 2.1.3-1 3.6.1-1 3.8.1-1 3.10.1-1 3.14.1-1 3.15.1-1
#[tokio::test]
async fn reserved_flags_that_are_not_as_they_must_be_end_the_connection() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        let none: &[u8] = if level == V5 { b"\0" } else { b"" };
        let subscribe = [b"\0\x01", none, b"\0\x01a\0"].concat();
        let unsubscribe = [b"\0\x01", none, b"\0\x01a"].concat();
        for (first, body) in [
            (0x41, &b"\0\x01"[..]),
            (0x51, b"\0\x01"),
            (0x60, b"\0\x01"),
            (0x66, b"\0\x01"),
            (0x71, b"\0\x01"),
            (0x80, &subscribe),
            (0x83, &subscribe),
            (0xa0, &unsubscribe),
            (0xa6, &unsubscribe),
            (0xc1, b""),
            (0xe1, b""),
            (0xe8, b""),
            (0xf1, b""),
        ] {
            let mut client = house.client(level, "reserved").await?;
            let code = client.ends_by(&packet(first, body)).await?;
            ensure!(code == told(level, 0x81), "{level} {first:#x}: {code:x?}");
        }
        let mut connect = Connect::new(level, "reserved").encode();
        connect[0] = 0x11;
        assert_eq!(house.open(level).await?.ends_by(&connect).await?, None);
    }
    Ok(())
}

// 3.1.1: 4.8.0-1
// 5.0: 4.13.1-1
#[tokio::test]
async fn packets_that_no_client_sends_or_that_nobody_can_read_end_the_connection() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        for packet in [
            &b"\0\0"[..],                 // the reserved type 0
            b"\x20\x02\0\0",              // CONNACK
            b"\x90\x03\0\x01\0",          // SUBACK
            b"\xb0\x02\0\x01",            // UNSUBACK
            b"\xd0\0",                    // PINGRESP
            b"\x30\0",                    // PUBLISH without anything
            b"\x30\x03\0\x05a",           // a topic that is longer than its packet
            b"\x32\x03\0\x01a",           // QoS 1 without a packet id
            b"\x40\0",                    // PUBACK without a packet id
            b"\x40\x01\x01",              // half a packet id
            b"\xc0\x01\0",                // PINGREQ with a body
            b"\x82\x05\0\x01\0\x03a",     // a filter that is longer than its packet
            b"\xff\xff\xff\xff\xff\x7f",  // more length than there may be
            b"\x30\x80\x80\x80\x80\x01a", // a length of five bytes
        ] {
            let mut client = house.client(level, "unreadable").await?;
            let code = client.ends_by(packet).await?;
            let expected = if level == V5 {
                code.is_some_and(|code| code == 0x81 || code == 0x82)
            } else {
                code.is_none()
            };
            ensure!(expected, "{level} {packet:x?}: {code:x?}");
        }
    }
    Ok(())
}

// 5.0: 1.5.5-1
#[tokio::test]
async fn integers_in_more_bytes_than_they_need_are_malformed_in_version_5() -> anyhow::Result<()> {
    let house = house()?;
    for packet in [
        &b"\xc0\x80\0"[..],                       // remaining length
        b"\x30\x05\0\x01a\x80\0",                 // property length
        b"\x82\x0a\0\x01\x03\x0b\x81\0\0\x01a\0", // Subscription Identifier
    ] {
        let mut client = house.client(V5, "padded").await?;
        assert_eq!(client.ends_by(packet).await?, Some(0x81), "{packet:x?}");
    }
    // 3.1.1 does not ask for it.
    let mut client = house.client(V3, "padded").await?;
    client.send(b"\xc0\x80\0").await?;
    assert_eq!(client.next().await?, Packet::Pingresp);
    Ok(())
}

#[tokio::test]
async fn packets_of_every_length_are_read_and_written() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        let topic = format!("lengths/{level}");
        let mut client = house.listener(level, "lengths", &topic).await?;
        // Around the lengths where the remaining length gets another byte, nothing at all, and the largest payload.
        for length in [0, 1, 114, 115, 116, 117, 128, 16_367, 16_370, 16_371, 16_384, 131_072] {
            let payload = "x".repeat(length);
            client.publish(Publish::new(&topic, &payload, 1)).await?;
            assert!(client.message().await?.text() == payload, "{level} {length}");
        }
    }
    Ok(())
}

// 3.1.1: 2.3.1-1
// 5.0: 2.2.1-3
#[tokio::test]
async fn the_packet_id_0_ends_the_connection() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        let none: &[u8] = if level == V5 { b"\0" } else { b"" };
        for packet in [
            packet(0x82, &[b"\0\0", none, b"\0\x01a\0"].concat()),
            packet(0xa2, &[b"\0\0", none, b"\0\x01a"].concat()),
            Publish::new("a", "", 1).encode(level),
            Publish::new("a", "", 2).encode(level),
            packet(0x40, b"\0\0"),
            packet(0x62, b"\0\0"),
        ] {
            let mut client = house.client(level, "id-zero").await?;
            assert_eq!(client.ends_by(&packet).await?, told(level, 0x82), "{packet:x?}");
        }
    }
    Ok(())
}

// 3.1.1: 2.3.1-5
// 5.0: 2.2.1-2
#[tokio::test]
async fn a_message_of_qos_0_has_no_packet_id() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        let topic = format!("no-id/{level}");
        let mut client = house.listener(level, "no-id", &topic).await?;
        client.publish(Publish::new(&topic, "\u{1}\u{2}payload", 0)).await?;
        // Read with a packet id, the payload would be two bytes shorter.
        assert_eq!(client.message().await?.text(), "\u{1}\u{2}payload");
    }
    Ok(())
}

// 5.0: 2.2.2-1
#[tokio::test]
async fn a_packet_without_its_property_length_is_malformed() -> anyhow::Result<()> {
    let house = house()?;
    for packet in [&b"\x30\x03\0\x01a"[..], b"\x82\x02\0\x01", b"\xa2\x02\0\x01"] {
        let mut client = house.client(V5, "no-properties").await?;
        assert_eq!(client.ends_by(packet).await?, Some(0x81), "{packet:x?}");
    }
    let connect = packet(0x10, b"\0\x04MQTT\x05\x02\0\x3c");
    assert_eq!(house.open(V5).await?.ends_by(&connect).await?, Some(0x81));
    Ok(())
}

// 5.0: 3.3.4-6
#[tokio::test]
async fn a_property_where_it_does_not_belong_is_malformed_and_one_given_twice_a_protocol_error()
-> anyhow::Result<()> {
    let house = house()?;
    let publish =
        |properties: &[u8]| packet(0x30, &[&b"\0\x01a"[..], &[properties.len() as u8], properties].concat());
    let subscribe = |properties: &[u8]| {
        packet(0x82, &[b"\0\x01", &[properties.len() as u8][..], properties, b"\0\x01a\0"].concat())
    };
    let disconnect = |properties: &[u8]| packet(0xe0, &[&[0, properties.len() as u8], properties].concat());
    let (expiry, problem) = (b"\x02\0\0\0\x09", b"\x17\x01");
    for (packet, code) in [
        (publish(problem), 0x81),
        (publish(b"\x7f\0"), 0x81),
        (publish(b"\x0b\x01"), 0x81),
        (publish(b"\x01\x02"), 0x82),
        (publish(&expiry.repeat(2)), 0x82),
        (subscribe(expiry), 0x81),
        (subscribe(b"\x0b\x01\x0b\x02"), 0x82),
        (subscribe(b"\x0b\0"), 0x82),
        (packet(0xa2, b"\0\x01\x02\x0b\x01\0\x01a"), 0x81),
        (packet(0x40, b"\0\x01\0\x02\x17\x01"), 0x81),
        (disconnect(b"\x1c\0\x01a"), 0x81),
        (disconnect(b"\x11\0\0\0\0\x11\0\0\0\0"), 0x82),
    ] {
        let mut client = house.client(V5, "wrong-property").await?;
        let told = client.ends_by(&packet).await?;
        ensure!(told == Some(code), "{packet:x?}: {told:x?} instead of {code:x}");
    }
    for (property, code) in [
        (Property::TopicAlias(1), 0x81),
        (Property::WillDelay(1), 0x81),
        (Property::ReceiveMaximum(0), 0x82),
        (Property::MaximumPacketSize(0), 0x82),
        (Property::RequestProblemInformation(2), 0x82),
        (Property::RequestResponseInformation(2), 0x82),
    ] {
        let connect = Connect::v5("wrong-property").with(property);
        assert_eq!(house.open(V5).await?.ends_by(&connect.encode()).await?, Some(code), "{connect:?}");
    }
    let twice =
        Connect::v5("wrong-property").with(Property::SessionExpiry(1)).with(Property::SessionExpiry(1));
    assert_eq!(house.open(V5).await?.ends_by(&twice.encode()).await?, Some(0x82));
    let will = Will::new("a", "").with(Property::SessionExpiry(1));
    let connect = Connect::v5("wrong-property").will(will);
    assert_eq!(house.open(V5).await?.ends_by(&connect.encode()).await?, Some(0x81));
    Ok(())
}
