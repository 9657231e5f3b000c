//! Events out (`spec/events.md`), as a subscriber sees them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]
mod support;

use jitp_provisioner::names::ThingName;
use jitp_provisioner::records::CertificateStatus;
use jitp_provisioner::registry::CreateThing;
use serde_json::Value;
use support::*;

async fn watcher(world: &World, filter: &str) -> Wire {
    let device = world.device("watcher");
    let mut wire = world.online(&device, 4, "watcher").await;
    assert_eq!(wire.subscribe(4, filter, 1).await, 1);
    wire
}

#[tokio::test]
async fn a_connection_is_announced_with_the_numbers_of_the_specification() {
    let world = World::new().await;
    let mut watcher = watcher(&world, "$aws/events/presence/+/pump").await;
    let device = world.device("pump");
    let mut wire = world.online(&device, 4, "pump").await;
    let (topic, connected) = watcher.event().await;
    assert_eq!(topic, "$aws/events/presence/connected/pump");
    assert_eq!(connected["eventType"], "connected");
    assert_eq!(connected["clientId"], "pump");
    assert_eq!(connected["principalIdentifier"], device.id.to_string());
    assert_eq!(connected["ipAddress"], "127.0.0.1");

    wire.send(&[0xe0, 0]).await;
    let (topic, disconnected) = watcher.event().await;
    assert_eq!(topic, "$aws/events/presence/disconnected/pump");
    assert_eq!(disconnected["clientInitiatedDisconnect"], true);
    assert_eq!(disconnected["disconnectReason"], "CLIENT_INITIATED_DISCONNECT");
    assert_eq!(disconnected["versionNumber"], connected["versionNumber"]);
    assert_eq!(disconnected["sessionIdentifier"], connected["sessionIdentifier"]);
    assert_eq!(disconnected.get("ipAddress"), None);
}

#[tokio::test]
async fn a_takeover_ends_the_old_number_and_starts_a_higher_one() {
    let world = World::new().await;
    let mut watcher = watcher(&world, "$aws/events/presence/+/pump").await;
    let device = world.device("pump");
    let _old = world.online(&device, 4, "pump").await;
    let _new = world.online(&device, 4, "pump").await;
    let mut events = Vec::new();
    for _ in 0..3 {
        events.push(watcher.event().await.1);
    }
    events.sort_by_key(|event| (event["versionNumber"].as_u64(), event["eventType"] == "disconnected"));
    let first = number(&events[0]);
    let seen: Vec<_> = events.iter().map(|e| (e["eventType"].as_str().unwrap(), number(e) - first)).collect();
    assert_eq!(seen, [("connected", 0), ("disconnected", 0), ("connected", 1)]);
    assert_eq!(events[1]["disconnectReason"], "DUPLICATE_CLIENTID");
}

#[tokio::test]
async fn numbers_rise_across_a_restart_of_the_broker() {
    let mut world = World::new().await;
    let device = world.device("pump");
    let mut newest = 0;
    for _ in 0..2 {
        let mut watcher = watcher(&world, "$aws/events/presence/connected/pump").await;
        for _ in 0..3 {
            let _wire = world.online(&device, 4, "pump").await;
            let (_, event) = watcher.event().await;
            assert!(number(&event) > newest, "{event} after {newest}");
            newest = number(&event);
        }
        world = world.restart().await;
    }
}

fn number(event: &Value) -> u64 {
    event["versionNumber"].as_u64().unwrap()
}

#[tokio::test]
async fn each_end_has_its_reason() {
    let world = World::new().await;
    let mut watcher = watcher(&world, "$aws/events/presence/disconnected/pump").await;
    let device = world.device("pump");
    for (reason, ending) in
        [("CLIENT_ERROR", 0), ("CONNECTION_LOST", 1), ("MQTT_KEEP_ALIVE_TIMEOUT", 2), ("AUTH_ERROR", 3)]
    {
        let mut wire = world.wire(&device).await;
        let keep_alive = if ending == 2 { 1 } else { 600 };
        assert_eq!(wire.connect(&Connect { keep_alive, ..Connect::new(4, "pump") }).await, 0);
        match ending {
            0 => wire.send(&[0x00, 0]).await,
            1 => drop(wire),
            3 => world.registry().update_certificate(device.id, CertificateStatus::Inactive).await.unwrap(),
            _ => {}
        }
        let (_, event) = watcher.event().await;
        assert_eq!(event["disconnectReason"], reason);
        assert_eq!(event["clientInitiatedDisconnect"], false);
    }
}

#[tokio::test]
async fn a_connect_that_is_not_authorized_is_announced() {
    let policy = allow(&[("iot:Connect", "client/watcher"), ("iot:Subscribe", "*"), ("iot:Receive", "*")]);
    let world = World::with(&policy, |_| ()).await;
    let mut watcher = watcher(&world, "$aws/events/presence/+/other").await;
    let device = world.device("pump");
    let mut wire = world.wire(&device).await;
    assert_eq!(wire.connect(&Connect::new(4, "other")).await, 5);
    let (topic, event) = watcher.event().await;
    assert_eq!(topic, "$aws/events/presence/connect_failed/other");
    assert_eq!(event["connectFailureReason"], "AUTHORIZATION_FAILED");
    assert_eq!(event.get("versionNumber"), None);
}

#[tokio::test]
async fn subscriptions_are_announced_with_what_was_granted() {
    let world = World::new().await;
    let mut watcher = watcher(&world, "$aws/events/subscriptions/+/pump").await;
    let device = world.device("pump");
    let mut wire = world.online(&device, 4, "pump").await;
    wire.send(&subscribe(4, 1, &[("a", 1), ("$SYS/#", 1), ("b/#", 0)])).await;
    let (topic, event) = watcher.event().await;
    assert_eq!(topic, "$aws/events/subscriptions/subscribed/pump");
    assert_eq!(event["topics"], serde_json::json!(["a", "b/#"]));
    wire.send(&unsubscribe(4, 2, &["a"])).await;
    let (topic, event) = watcher.event().await;
    assert_eq!(topic, "$aws/events/subscriptions/unsubscribed/pump");
    assert_eq!(event["topics"], serde_json::json!(["a"]));
}

#[tokio::test]
async fn client_ids_with_wildcards_have_no_events() {
    let world = World::new().await;
    let mut watcher = watcher(&world, "$aws/events/presence/#").await;
    let device = world.device("pump");
    let _odd = world.online(&device, 4, "a+b").await;
    let _plain = world.online(&device, 4, "plain").await;
    let (topic, _) = watcher.event().await;
    assert_eq!(topic, "$aws/events/presence/connected/plain");
}

#[tokio::test]
async fn a_first_connection_is_announced_as_registration_and_attempt() {
    let world = World::new().await;
    let ca = world.ca.certificate().id();
    let mut registrations = watcher(&world, &format!("$aws/events/certificates/registered/{ca}")).await;
    let observer = world.device("observer");
    let mut attempts = world.online(&observer, 4, "observer").await;
    attempts.subscribe(4, &format!("$jitp/events/attempts/provisioned/{ca}"), 1).await;
    let device = world.device("pump");
    let _wire = world.online(&device, 4, "pump").await;
    loop {
        let (_, event) = registrations.event().await;
        if event["certificateId"] == device.id.to_string() {
            assert_eq!(event["caCertificateId"], ca.to_string());
            assert_eq!(event["certificateStatus"], "PENDING_ACTIVATION");
            break;
        }
    }
    loop {
        let (_, event) = attempts.event().await;
        if event["certificateId"] == device.id.to_string() {
            assert_eq!(event["reason"], "PROVISIONED");
            break;
        }
    }
}

#[tokio::test]
async fn a_thing_is_announced_once_its_events_are_switched_on() {
    let world = World::new().await;
    let mut watcher = watcher(&world, "$aws/events/thing/#").await;
    let create = async |name: &str| {
        let name = ThingName::new(name).unwrap();
        world.registry().create_thing(name, CreateThing::default()).await.unwrap();
    };
    create("silent").await;
    world.registry().update_event_configurations(&[("THING".to_owned(), true)].into()).await.unwrap();
    create("loud").await;
    let (topic, event) = watcher.event().await;
    assert_eq!(topic, "$aws/events/thing/loud/created");
    assert_eq!((&event["eventType"], &event["thingName"]), (&"THING_EVENT".into(), &"loud".into()));
}

#[tokio::test]
async fn a_session_that_waits_for_its_client_gets_the_events_of_its_absence() {
    let world = World::new().await;
    let ca = world.ca.certificate().id();
    let consumer = world.device("consumer");
    let persistent = Connect { clean: false, ..Connect::new(4, "consumer") };
    let mut wire = world.wire(&consumer).await;
    assert_eq!(wire.connect(&persistent).await, 0);
    wire.subscribe(4, &format!("$aws/events/certificates/registered/{ca}"), 1).await;
    wire.send(&[0xe0, 0]).await;
    wire.closed().await;

    let device = world.device("pump");
    let _wire = world.online(&device, 4, "pump").await;
    let mut wire = world.wire(&consumer).await;
    assert_eq!(wire.connect(&persistent).await, 0);
    loop {
        let (_, event) = wire.event().await;
        if event["certificateId"] == device.id.to_string() {
            break;
        }
    }
}
