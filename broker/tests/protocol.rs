//! MQTT on the wire: CONNECT and what follows, valid and not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]
mod support;

use std::time::Duration;
use support::*;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

#[tokio::test]
async fn a_user_name_without_a_password_is_ignored() {
    let world = World::new().await;
    let device = world.device("a");
    for version in [4, 5] {
        let mut wire = world.wire(&device).await;
        let connect = Connect { user_name: Some("?SDK=Python&Version=1"), ..Connect::new(version, "a") };
        assert_eq!(wire.connect(&connect).await, 0);
    }
}

#[tokio::test]
async fn bad_connects_are_answered_in_their_version() {
    let world = World::new().await;
    let device = world.device("a");
    for (connect, code) in [
        (Connect::new(3, "a"), 1),
        (Connect::new(4, "$a"), 2),
        (Connect { clean: false, ..Connect::new(4, "") }, 2),
        (Connect::new(5, "$a"), 0x85),
        (Connect::new(6, "a"), 1),
        (Connect { will: Some(("a/#", "x", 0, false)), ..Connect::new(5, "a") }, 0x90),
        (Connect { properties: b"\x15\0\x01x", ..Connect::new(5, "a") }, 0x8c),
        (Connect { properties: b"\x27\0\0\0\x10", ..Connect::new(5, "a") }, 0x95),
    ] {
        let mut wire = world.wire(&device).await;
        assert_eq!(wire.connect(&connect).await, code, "{} {}", connect.version, connect.client_id);
        wire.closed().await;
    }
    let mut wire = world.wire(&device).await;
    wire.send(&Connect { will: Some(("a/#", "x", 0, false)), ..Connect::new(4, "a") }.packet()).await;
    wire.closed().await;
}

#[tokio::test]
async fn the_first_packet_must_be_connect() {
    let world = World::new().await;
    let device = world.device("a");
    for packet in [&[0xc0, 0][..], &publish(4, "t", b"x", 0, 0), &[0x00, 0xff], &[0x20, 2, 0, 0]] {
        let mut wire = world.wire(&device).await;
        wire.send(packet).await;
        wire.closed().await;
    }
}

#[tokio::test]
async fn an_empty_client_id_is_assigned_and_told() {
    let world = World::new().await;
    let device = world.device("a");
    let mut wire = world.wire(&device).await;
    wire.send(&Connect::new(5, "").packet()).await;
    let connack = wire.packet().await;
    assert_eq!(connack[3], 0);
    let at = connack.windows(3).position(|w| w == [0x12, 0, 36]).expect("Assigned Client Identifier");
    assert!(connack[at + 3..at + 39].iter().all(|b| b.is_ascii_hexdigit() || *b == b'-'));
}

#[tokio::test]
async fn a_connack_of_version_5_tells_the_limits() {
    let world = World::new().await;
    let device = world.device("a");
    let mut wire = world.wire(&device).await;
    let connect = Connect { keep_alive: 0, properties: b"\x11\xff\xff\xff\xff", ..Connect::new(5, "a") };
    wire.send(&connect.packet()).await;
    let connack = wire.packet().await;
    let says = |property: &[u8]| connack.windows(property.len()).any(|w| w == property);
    assert!(says(&[0x21, 0, 100]), "Receive Maximum");
    assert!(says(&[0x27, 0, 2, 0x48, 0]), "Maximum Packet Size");
    assert!(says(&[0x22, 0, 16]), "Topic Alias Maximum");
    assert!(says(&[0x11, 0, 0, 0x0e, 0x10]), "Session Expiry Interval, cut to an hour");
    assert!(says(&[0x13, 0xff, 0xff]), "Server Keep Alive");
}

#[tokio::test]
async fn packets_behind_connect_are_handled_after_connack() {
    let world = World::new().await;
    let device = world.device("a");
    let mut wire = world.wire(&device).await;
    let all =
        [Connect::new(4, "a").packet(), subscribe(4, 1, &[("t", 1)]), publish(4, "t", b"x", 1, 9)].concat();
    wire.send(&all).await;
    assert_eq!(wire.packet().await, [0x20, 2, 0, 0]);
    assert_eq!(wire.packet().await, [0x90, 3, 0, 1, 1]);
    assert_eq!(wire.packet().await, puback(9));
    assert_eq!(Publish::read(&wire.packet().await, 4).payload, b"x");
}

#[tokio::test]
async fn violations_end_the_connection_with_their_code() {
    let world = World::new().await;
    let device = world.device("a");
    let oversized = [0x30, 0xff, 0xff, 0xff, 0x7f];
    let big_payload = publish(5, "t", &vec![0; 131_073], 0, 0);
    let long_topic = publish(5, &"x".repeat(1025), b"", 0, 0);
    for (packet, code) in [
        (&Connect::new(5, "a").packet()[..], 0x82),
        (&oversized, 0x95),
        (&big_payload, 0x95),
        (&long_topic, 0x90),
        (&publish(5, "a/+", b"", 0, 0), 0x90),
        (&publish(5, "", b"", 0, 0), 0x82),
        (&packet(0x30, b"\0\0\x03\x23\0\x63"), 0x94),
        (&[0x36, 0], 0x81),
        (&[0x82, 3, 0, 1, 0], 0x82),
        (&[0xf0, 0], 0x82),
        (&[0x30, 0x80, 0x80, 0x80, 0x80, 1], 0x81),
    ] {
        let mut wire = world.online(&device, 5, "a").await;
        wire.send(packet).await;
        wire.disconnected(code).await;
        let mut wire = world.online(&device, 4, "a").await;
        wire.send(packet).await;
        wire.closed().await;
    }
}

#[tokio::test]
async fn a_client_that_trickles_its_connect_is_closed_at_the_deadline() {
    let deadline = Duration::from_millis(300);
    let world = World::with(EVERYTHING, |config| config.limits.connect_deadline = deadline).await;
    let device = world.device("a");
    // The broker counts from the end of the handshake.
    let started = Instant::now();
    let mut wire = world.wire(&device).await;
    let packet = Connect::new(4, "a").packet();
    for byte in packet.chunks(1).take(10) {
        // On a busy machine it may be closed by now.
        if wire.stream.write_all(byte).await.is_err() || wire.stream.flush().await.is_err() {
            break;
        }
    }
    wire.closed().await;
    assert!(started.elapsed() >= deadline);
}

#[tokio::test]
async fn a_client_that_trickles_a_packet_is_told_at_the_deadline() {
    let world =
        World::with(EVERYTHING, |config| config.limits.packet_deadline = Duration::from_millis(300)).await;
    let mut wire = world.online(&world.device("a"), 5, "a").await;
    wire.ping().await;
    let started = Instant::now();
    wire.send(&publish(5, "t", b"payload", 0, 0)[..5]).await;
    wire.disconnected(0x80).await;
    assert!(started.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn a_client_that_takes_no_data_is_gone_at_the_deadline() {
    let world =
        World::with(EVERYTHING, |config| config.limits.write_deadline = Duration::from_millis(300)).await;
    let mut watcher = world.online(&world.device("watcher"), 4, "watcher").await;
    watcher.subscribe(4, "$aws/events/presence/disconnected/stuck", 1).await;
    let mut stuck = world.online(&world.device("stuck"), 4, "stuck").await;
    stuck.subscribe(4, "flood", 0).await;
    let mut publisher = world.online(&world.device("publisher"), 4, "publisher").await;
    // More than the kernel takes on behalf of a client that does not read.
    let flood = publish(4, "flood", &[0; 128 * 1024], 0, 0);
    for _ in 0..120 {
        publisher.send(&flood).await;
    }
    let (_, event) = watcher.event().await;
    assert_eq!(event["disconnectReason"], "CONNECTION_LOST");
}

#[tokio::test]
async fn properties_beyond_the_configured_size_end_the_connection() {
    let world = World::with(EVERYTHING, |config| {
        config.limits.content_type_bytes = 3;
        config.limits.property_bytes = 3;
    })
    .await;
    let device = world.device("a");
    for (property, allowed) in [
        (&b"\x03\0\x03abc"[..], true),
        (b"\x03\0\x04abcd", false),
        (b"\x26\0\x01a\0\x02bc", true),
        (b"\x26\0\x02ab\0\x02cd", false),
        (b"\x08\0\x04abcd", false),
        (b"\x09\0\x04abcd", false),
    ] {
        let mut wire = world.online(&device, 5, "a").await;
        let body = [&text("t")[..], &[property.len() as u8], property].concat();
        wire.send(&packet(0x30, &body)).await;
        match allowed {
            true => wire.ping().await,
            false => wire.disconnected(0x97).await,
        }
    }
}

#[tokio::test]
async fn a_message_expires_no_later_than_configured() {
    let world = World::with(EVERYTHING, |config| config.limits.message_expiry = Duration::from_secs(9)).await;
    let mut wire = world.online(&world.device("a"), 5, "a").await;
    wire.subscribe(5, "t", 0).await;
    let body = [&text("t")[..], b"\x05\x02\0\0\xff\xff"].concat();
    wire.send(&packet(0x30, &body)).await;
    let properties = Publish::read(&wire.packet().await, 5).properties;
    let seconds = u32::from_be_bytes(properties[1..5].try_into().unwrap());
    assert!((1..=9).contains(&seconds), "{properties:?}");
}

#[tokio::test]
async fn a_client_that_is_silent_beyond_its_keep_alive_is_told_so() {
    let world = World::new().await;
    let device = world.device("a");
    let mut wire = world.wire(&device).await;
    let started = Instant::now();
    assert_eq!(wire.connect(&Connect { keep_alive: 1, ..Connect::new(5, "a") }).await, 0);
    wire.disconnected(0x8d).await;
    assert!(started.elapsed() >= Duration::from_millis(1500));
}

#[tokio::test]
async fn a_takeover_tells_the_old_connection() {
    let world = World::new().await;
    let device = world.device("a");
    let mut old = world.online(&device, 5, "a").await;
    let mut new = world.online(&device, 5, "a").await;
    old.disconnected(0x8e).await;
    new.ping().await;
}

#[tokio::test]
async fn messages_travel_with_every_quality_of_service_between_versions() {
    let world = World::new().await;
    let (a, b) = (world.device("a"), world.device("b"));
    let mut subscriber = world.online(&a, 4, "a").await;
    let mut publisher = world.online(&b, 5, "b").await;
    assert_eq!(subscriber.subscribe(4, "t/#", 2).await, 2);
    for qos in 0..=2u8 {
        publisher.send(&publish(5, "t/x", b"hello", qos, 3)).await;
        match qos {
            1 => assert_eq!(publisher.packet().await, puback(3)),
            2 => {
                assert_eq!(publisher.packet().await, packet(0x50, &[0, 3]));
                publisher.send(&packet(0x62, &[0, 3])).await;
                assert_eq!(publisher.packet().await, packet(0x70, &[0, 3]));
            }
            _ => {}
        }
        let came = Publish::read(&subscriber.packet().await, 4);
        assert_eq!((came.topic.as_str(), &came.payload[..], came.qos), ("t/x", &b"hello"[..], qos));
        match qos {
            1 => subscriber.send(&puback(came.packet_id)).await,
            2 => {
                let id = came.packet_id.to_be_bytes();
                subscriber.send(&packet(0x50, &id)).await;
                assert_eq!(subscriber.packet().await, packet(0x62, &id));
                subscriber.send(&packet(0x70, &id)).await;
            }
            _ => {}
        }
    }
    subscriber.ping().await;
}

#[tokio::test]
async fn a_repeated_qos_2_message_is_delivered_once() {
    let world = World::new().await;
    let device = world.device("a");
    let mut wire = world.online(&device, 4, "a").await;
    wire.subscribe(4, "t", 0).await;
    for flags in [0b0100, 0b1100] {
        wire.send(&publish_flags(4, "t", b"x", flags, 5)).await;
        assert_eq!(wire.packet().await, packet(0x50, &[0, 5]));
        if flags == 0b0100 {
            assert_eq!(Publish::read(&wire.packet().await, 4).payload, b"x");
        }
    }
    wire.ping().await;
}

#[tokio::test]
async fn what_was_in_flight_comes_again_with_its_packet_id() {
    let world = World::new().await;
    let device = world.device("a");
    let mut wire = world.wire(&device).await;
    let connect = Connect { clean: false, ..Connect::new(4, "a") };
    assert_eq!(wire.connect(&connect).await, 0);
    wire.subscribe(4, "t", 1).await;
    wire.send(&publish(4, "t", b"x", 1, 1)).await;
    // The acknowledgement waits for the disk, the delivery does not.
    let mut packets = [wire.packet().await, wire.packet().await];
    packets.sort_by_key(|packet| packet[0]);
    let [delivery, acknowledgement] = packets;
    assert_eq!(acknowledgement, puback(1));
    let first = Publish::read(&delivery, 4);
    drop(wire);
    let mut wire = world.wire(&device).await;
    wire.send(&connect.packet()).await;
    assert_eq!(wire.packet().await, [0x20, 2, 1, 0], "Session Present");
    let again = Publish::read(&wire.packet().await, 4);
    assert_eq!(again, Publish { dup: true, ..first });
}

#[tokio::test]
async fn properties_pass_through_and_aliases_are_resolved() {
    let world = World::new().await;
    let (a, b) = (world.device("a"), world.device("b"));
    let mut subscriber = world.online(&a, 5, "a").await;
    let mut publisher = world.online(&b, 5, "b").await;
    let with_identifier = packet(0x82, &[&[0, 1, 2, 0x0b, 9][..], &text("t"), &[0]].concat());
    subscriber.send(&with_identifier).await;
    assert_eq!(subscriber.packet().await, [0x90, 4, 0, 1, 0, 0]);
    let user = [&[0x26][..], &text("k"), &text("v")].concat();
    let named = [&text("t")[..], &[3 + user.len() as u8, 0x23, 0, 1], &user, b"1"].concat();
    publisher.send(&packet(0x30, &named)).await;
    publisher.send(&packet(0x30, b"\0\0\x03\x23\0\x012")).await;
    let first = Publish::read(&subscriber.packet().await, 5);
    assert_eq!((first.topic.as_str(), &first.payload[..]), ("t", &b"1"[..]));
    assert_eq!(first.properties, [&[0x0b, 9][..], &user].concat());
    let second = Publish::read(&subscriber.packet().await, 5);
    assert_eq!((second.topic.as_str(), &second.payload[..]), ("t", &b"2"[..]));
}

#[tokio::test]
async fn a_session_expiry_cannot_be_made_up_at_the_end() {
    let world = World::new().await;
    let device = world.device("a");
    let mut wire = world.online(&device, 5, "a").await;
    wire.send(&packet(0xe0, b"\0\x05\x11\0\0\0\x0a")).await;
    wire.disconnected(0x82).await;
}

#[tokio::test]
async fn a_shutdown_tells_every_client_and_publishes_nothing_else() {
    let world = World::new().await;
    let device = world.device("a");
    let mut five = world.online(&device, 5, "five").await;
    let mut three = world.online(&device, 4, "three").await;
    world.broker.shutdown(PATIENCE).await;
    five.disconnected(0x8b).await;
    three.closed().await;
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_those_who_never_connected() {
    let world = World::new().await;
    let device = world.device("a");
    let _tcp = world.tcp().await;
    let mut wire = world.wire(&device).await;
    patiently(world.broker.shutdown(10 * PATIENCE)).await;
    wire.closed().await;
}

#[tokio::test]
async fn a_client_that_reads_nothing_can_be_taken_over() {
    let patience = 10 * PATIENCE;
    let world = World::with(EVERYTHING, |config| config.limits.write_deadline = patience).await;
    let (a, b) = (world.device("a"), world.device("b"));
    let mut stuck = world.online(&a, 4, "a").await;
    stuck.subscribe(4, "flood", 0).await;
    let mut publisher = world.online(&b, 4, "b").await;
    for _ in 0..150 {
        publisher.send(&publish(4, "flood", &vec![0; 100_000], 0, 0)).await;
    }
    publisher.ping().await;
    // It is not waited for until it is given up.
    let mut new = world.online(&a, 4, "a").await;
    new.ping().await;
}
