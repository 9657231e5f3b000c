//! Policies on the wire (`spec/policies.md` section 9), in both profiles and versions.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]
mod support;

use jitp_broker::Profile;
use jitp_provisioner::ReasonCode;
use support::*;

/// Everything on `own/…`, and subscribing anywhere.
fn own() -> String {
    allow(&[
        ("iot:Connect", "client/a"),
        ("iot:Publish", "topic/own/*"),
        ("iot:Receive", "topic/own/*"),
        ("iot:Subscribe", "topicfilter/own/*"),
        ("iot:Subscribe", "topicfilter/$aws/events/*"),
    ])
}

#[tokio::test]
async fn a_connect_that_no_policy_allows_is_refused_and_recorded() {
    let world = World::with(&own(), |_| ()).await;
    let device = world.device("a");
    let mut wire = world.wire(&device).await;
    assert_eq!(wire.connect(&Connect::new(4, "b")).await, 5);
    wire.closed().await;
    let attempt = world.attempt(ReasonCode::NotAuthorized).await;
    assert_eq!(attempt.client_id.as_deref(), Some("b"));
    assert_eq!(attempt.certificate_id, Some(device.id));
    assert!(attempt.message.contains("iot:Connect"), "{}", attempt.message);

    let mut wire = world.wire(&device).await;
    wire.send(&Connect::new(5, "b").packet()).await;
    let connack = wire.packet().await;
    assert_eq!(connack[3], 0x87);
    assert!(String::from_utf8_lossy(&connack).contains("AUTHORIZATION_FAILURE"));
}

#[tokio::test]
async fn a_refused_connect_does_not_push_out_who_is_connected() {
    let world =
        World::with(&allow(&[("iot:Connect", "client/${iot:Connection.Thing.ThingName}")]), |_| ()).await;
    let (a, b) = (world.device("a"), world.device("b"));
    let mut holder = world.online(&a, 4, "a").await;
    let mut intruder = world.wire(&b).await;
    assert_eq!(intruder.connect(&Connect::new(4, "a")).await, 5);
    holder.ping().await;
}

#[tokio::test]
async fn a_will_needs_the_permission_to_publish_and_to_retain() {
    let world = World::with(&own(), |_| ()).await;
    let device = world.device("a");
    for (topic, retain, version, expected) in [
        ("own/x", false, 4, 0),
        ("other", false, 4, 5),
        ("own/x", true, 4, 5),
        ("other", false, 5, 0x87),
        ("$aws/events/x", false, 5, 0x87),
    ] {
        let mut wire = world.wire(&device).await;
        let connect = Connect { will: Some((topic, "gone", 0, retain)), ..Connect::new(version, "a") };
        assert_eq!(wire.connect(&connect).await, expected, "{topic}");
    }
}

#[tokio::test]
async fn a_refused_publish_is_answered_as_the_table_says() {
    let world = World::with(&own(), |_| ()).await;
    let device = world.device("a");
    for qos in 0..=2 {
        let mut three = world.online(&device, 4, "a").await;
        three.send(&publish(4, "other", b"x", qos, 9)).await;
        three.closed().await;
    }
    let mut five = world.online(&device, 5, "a").await;
    five.send(&publish(5, "other", b"x", 1, 9)).await;
    assert_eq!(five.packet().await, packet(0x40, &[0, 9, 0x87]));
    five.send(&publish(5, "other", b"x", 2, 9)).await;
    assert_eq!(five.packet().await, packet(0x50, &[0, 9, 0x87]));
    five.send(&publish_flags(5, "own/x", b"x", 0b0011, 9)).await;
    assert_eq!(five.packet().await, packet(0x40, &[0, 9, 0x87]), "RetainPublish is missing");
    five.ping().await;
    five.send(&publish(5, "other", b"x", 0, 0)).await;
    five.disconnected(0x87).await;
}

#[tokio::test]
async fn each_filter_of_a_subscribe_has_its_own_answer() {
    let world = World::with(&own(), |_| ()).await;
    let device = world.device("a");
    let filters = [("own/x", 1), ("other", 1), ("own/#/x", 1), ("$SYS/#", 0), ("$aws/events/#", 1)];
    let mut five = world.online(&device, 5, "a").await;
    five.send(&subscribe(5, 7, &filters)).await;
    assert_eq!(five.packet().await, packet(0x90, &[0, 7, 0, 1, 0x87, 0x8f, 0x87, 1]));
    let mut three = world.online(&device, 4, "a").await;
    three.send(&subscribe(4, 7, &filters)).await;
    assert_eq!(three.packet().await, packet(0x90, &[0, 7, 1, 0x80, 0x80, 0x80, 1]));
}

#[tokio::test]
async fn a_denied_subtopic_of_a_wildcard_is_kept_back_by_receive() {
    let policy = r#"{"Version":"2012-10-17","Statement":[
        {"Effect":"Allow","Action":"iot:*","Resource":"*"},
        {"Effect":"Deny","Action":["iot:Subscribe","iot:Receive"],
         "Resource":["arn:aws:iot:us-east-1:000000000000:topicfilter/plant/secret",
                     "arn:aws:iot:us-east-1:000000000000:topic/plant/secret"]}]}"#;
    let world = World::with(policy, |_| ()).await;
    let device = world.device("a");
    let mut wire = world.online(&device, 4, "a").await;
    assert_eq!(wire.subscribe(4, "plant/secret", 1).await, 0x80);
    assert_eq!(wire.subscribe(4, "plant/#", 1).await, 1);
    for topic in ["plant/secret", "plant/open"] {
        for qos in 0..=1 {
            wire.send(&publish(4, topic, b"x", qos, 1)).await;
        }
    }
    let mut topics = Vec::new();
    while topics.len() < 2 {
        let packet = wire.packet().await;
        if packet[0] >> 4 == 3 {
            topics.push(Publish::read(&packet, 4).topic);
        }
    }
    assert_eq!(topics, ["plant/open", "plant/open"]);
    wire.send(&[0xc0, 0]).await;
    loop {
        match wire.packet().await.as_slice() {
            [0xd0, 0] => break,
            packet => assert_eq!(packet[0], 0x40, "only acknowledgements are left: {packet:?}"),
        }
    }
}

#[tokio::test]
async fn reserved_topics_are_refused_even_if_a_policy_allows_them() {
    let world = World::new().await;
    let device = world.device("a");
    for topic in [
        "$aws/events/presence/connected/x",
        "$SYS/x",
        "$aws/certificates/create/xml",
        "$jitp/certificates/renew/est",
    ] {
        let mut five = world.online(&device, 5, "a").await;
        five.send(&publish(5, topic, b"{}", 1, 9)).await;
        assert_eq!(five.packet().await, packet(0x40, &[0, 9, 0x87]), "{topic}");
        five.send(&publish(5, topic, b"{}", 0, 0)).await;
        five.disconnected(0x87).await;
        let mut three = world.online(&device, 4, "a").await;
        three.send(&publish(4, topic, b"{}", 1, 9)).await;
        three.closed().await;
    }
}

#[tokio::test]
async fn profile_aws_closes_the_first_connection_and_welcomes_the_second() {
    let world = World::with(EVERYTHING, |config| config.profile = Profile::Aws).await;
    let device = world.device("a");
    let mut wire = world.wire(&device).await;
    wire.send(&Connect::new(4, "a").packet()).await;
    wire.closed().await;
    world.attempt(ReasonCode::Provisioned).await;
    world.online(&device, 4, "a").await;
}

#[tokio::test]
async fn profile_aws_closes_without_a_word_where_aws_does() {
    let world = World::with(&own(), |config| config.profile = Profile::Aws).await;
    let device = world.device("a");
    let mut wire = world.wire(&device).await;
    wire.send(&Connect::new(4, "a").packet()).await;
    wire.closed().await;

    let mut wire = world.online(&device, 4, "a").await;
    wire.send(&subscribe(4, 7, &[("other", 1)])).await;
    wire.closed().await;
    let mut wire = world.online(&device, 5, "a").await;
    assert_eq!(wire.subscribe(5, "other", 1).await, 0x87);
    wire.send(&publish(5, "own/x", b"x", 2, 1)).await;
    wire.disconnected(0x9b).await;

    let status = jitp_provisioner::records::CertificateStatus::Inactive;
    world.registry().update_certificate(device.id, status).await.unwrap();
    let mut wire = world.wire(&device).await;
    wire.send(&Connect::new(5, "a").packet()).await;
    wire.closed().await;
}
