//! What the operator changes reaches those who are connected.
#![allow(clippy::indexing_slicing, reason = "a JSON value indexed by what it lacks gives null")]

use anyhow::{Context, ensure};
use jitp_tests::{Broker, Factory, Plant, Shared, Wire, edited, eventually, wire};
use serde_json::json;
use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A second is what is promised; the rest is for a busy machine.
const SOON: Duration = Duration::from_secs(10);

static PLANT: Shared<Plant> = Shared::new();

fn plant() -> anyhow::Result<Arc<Plant>> {
    PLANT.get(Plant::new)
}

fn arn(certificate_id: &str) -> String {
    format!("arn:aws:iot:us-east-1:000000000000:cert/{certificate_id}")
}

async fn connected(broker: &Broker, device: &jitp_certs::Issued, name: &str) -> anyhow::Result<Wire> {
    let (wire, answer) = Wire::connect5(broker, device, name).await?;
    ensure!(answer.connack_code()? == 0, "{answer:?} {}", answer.text());
    Ok(wire)
}

/// Publishes until the answer is this.
async fn until_answered(wire: Wire, topic: &str, allowed: bool) -> anyhow::Result<Wire> {
    let started = Instant::now();
    let wire = RefCell::new(Some(wire));
    eventually("the change reaches the connection", || async {
        let mut held = wire.take().context("no connection")?;
        let code = held.publishes5(topic, b"x").await?;
        wire.replace(Some(held));
        ensure!([0, 0x10, 0x87].contains(&code), "PUBACK {code:#x}");
        Ok(((code != 0x87) == allowed).then_some(()))
    })
    .await?;
    ensure!(started.elapsed() < SOON, "only after {:?}", started.elapsed());
    wire.into_inner().context("no connection")
}

#[tokio::test]
async fn a_certificate_that_is_revoked_or_deactivated_ends_its_session() -> anyhow::Result<()> {
    let plant = plant()?;
    let mut watcher = plant.watcher("status-watcher", &["$aws/events/presence/disconnected/#"]).await?;
    for verb in ["revoke", "deactivate"] {
        let name = format!("to-{verb}");
        let device = plant.factory.device(&name)?;
        let mut wire = connected(&plant.broker, &device, &name).await?;
        let started = Instant::now();
        plant.broker.ask(&["cert", verb, &device.id()])?;
        let goodbye = wire.receive().await?.context("closed without DISCONNECT")?;
        assert_eq!((goodbye.kind(), goodbye.body.first()), (14, Some(&0x87)), "{goodbye:?}");
        assert_eq!(wire.receive().await?, None);
        assert!(started.elapsed() < SOON, "{verb}: only after {:?}", started.elapsed());
        let topic = format!("$aws/events/presence/disconnected/{name}");
        let event = watcher.until("the end", |m| m.topic == topic).await?;
        assert_eq!(event.text("disconnectReason"), "AUTH_ERROR");
        assert_eq!(event.payload["clientInitiatedDisconnect"], false);
    }
    Ok(())
}

#[tokio::test]
async fn a_policy_that_is_detached_allows_nothing_more() -> anyhow::Result<()> {
    let plant = plant()?;
    let device = plant.factory.device("detached")?;
    let wire = connected(&plant.broker, &device, "detached").await?;
    let wire = until_answered(wire, "devices/detached/x", true).await?;
    plant.broker.ask(&["policy", "detach", "device", &arn(&device.id())])?;
    let wire = until_answered(wire, "devices/detached/x", false).await?;
    plant.broker.ask(&["policy", "attach", "device", &arn(&device.id())])?;
    until_answered(wire, "devices/detached/x", true).await.map(|_| ())
}

#[tokio::test]
async fn a_policy_that_is_changed_counts_at_the_next_publish() -> anyhow::Result<()> {
    let plant = plant()?;
    let factory = Factory::new("Moody CA")?;
    let document = |topic: &str| {
        json!({ "Version": "2012-10-17", "Statement": [
            { "Effect": "Allow", "Action": "iot:Connect", "Resource": "*" },
            { "Effect": "Allow", "Action": "iot:Publish", "Resource": format!("arn:aws:iot:*:*:topic/{topic}") } ] })
    };
    let first = factory.file("first.json", &document("morning").to_string())?.display().to_string();
    let second = factory.file("second.json", &document("evening").to_string())?.display().to_string();
    plant.broker.ask(&["policy", "create", "moody", "--document", &first])?;
    let template = edited(|t| t["Resources"]["policy"]["Properties"]["PolicyName"] = json!("moody"))?;
    factory.register(&plant.broker, &template)?;
    let device = factory.device("moody")?;
    let wire = connected(&plant.broker, &device, "moody").await?;
    let wire = until_answered(wire, "morning", true).await?;
    let wire = until_answered(wire, "evening", false).await?;
    plant.broker.ask(&["policy", "update", "moody", "--document", &second])?;
    let wire = until_answered(wire, "evening", true).await?;
    until_answered(wire, "morning", false).await.map(|_| ())
}

#[tokio::test]
async fn an_attribute_that_is_changed_changes_what_the_policys_variables_mean() -> anyhow::Result<()> {
    let plant = plant()?;
    let factory = Factory::new("Variable CA")?;
    let document = json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Action": "iot:Connect", "Resource": "*" },
        { "Effect": "Allow", "Action": "iot:Publish",
          "Resource": "arn:aws:iot:*:*:topic/lines/${iot:Connection.Thing.Attributes[line]}" } ] });
    let document = factory.file("line.json", &document.to_string())?.display().to_string();
    plant.broker.ask(&["policy", "create", "line", "--document", &document])?;
    let template = edited(|t| t["Resources"]["policy"]["Properties"]["PolicyName"] = json!("line"))?;
    factory.register(&plant.broker, &template)?;
    let device = factory.device("mover")?;
    let wire = connected(&plant.broker, &device, "mover").await?;
    let wire = until_answered(wire, "lines/unsorted", true).await?;
    let moved = json!({ "attributePayload": { "attributes": { "line": "press-7" } } });
    plant.broker.api()?.patch("/things/mover", &moved).await?;
    let wire = until_answered(wire, "lines/press-7", true).await?;
    until_answered(wire, "lines/unsorted", false).await.map(|_| ())
}

#[tokio::test]
async fn a_policy_that_is_detached_also_stops_what_was_subscribed() -> anyhow::Result<()> {
    let plant = plant()?;
    let device = plant.factory.device("listener")?;
    let (mut wire, answer) = Wire::connect(&plant.broker, &device, "listener").await?;
    assert_eq!(answer.connack_code()?, 0);
    wire.send(&wire::subscribe("devices/listener/#", 0, 1)).await?;
    assert_eq!(wire.receive_kind(9).await?.context("no SUBACK")?.body, [0, 1, 0]);
    let staff = plant.staff.device("speaker")?;
    let mut speaker = connected(&plant.broker, &staff, "speaker").await?;
    assert_eq!(speaker.publishes5("devices/listener/a", b"before").await?, 0);
    let heard = wire.receive_kind(3).await?.context("closed")?;
    assert!(heard.text().ends_with("before"), "{heard:?}");
    plant.broker.ask(&["policy", "detach", "device", &arn(&device.id())])?;
    let started = Instant::now();
    // Once a message is held back, none of the later ones comes either.
    loop {
        assert!(started.elapsed() < SOON, "messages still come");
        speaker.publishes5("devices/listener/a", b"after").await?;
        if wire.heard().await?.is_empty() {
            return Ok(());
        }
    }
}

#[tokio::test]
async fn a_newcomer_with_the_same_client_id_takes_over() -> anyhow::Result<()> {
    let plant = plant()?;
    let mut watcher = plant.watcher("takeover-watcher", &["$aws/events/presence/+/double"]).await?;
    let device = plant.factory.device("double")?;
    let mut old = connected(&plant.broker, &device, "double").await?;
    let mut new = connected(&plant.broker, &device, "double").await?;
    let goodbye = old.receive().await?.context("closed without DISCONNECT")?;
    assert_eq!((goodbye.kind(), goodbye.body.first()), (14, Some(&0x8e)), "{goodbye:?}");
    assert_eq!(old.receive().await?, None);
    new.ping().await?;
    let mut versions = Vec::new();
    for (kind, index) in [("connected", 0), ("connected", 1)] {
        let event = watcher.until("connected", |m| m.text("eventType") == kind).await?;
        versions.push(event.payload["versionNumber"].as_i64().context("no version")?);
        ensure!(index < 2);
    }
    let end = watcher.until("disconnected", |m| m.text("eventType") == "disconnected").await?;
    assert_eq!(end.text("disconnectReason"), "DUPLICATE_CLIENTID");
    versions.sort_unstable();
    assert_eq!(end.payload["versionNumber"].as_i64(), versions.first().copied());
    assert!(versions.windows(2).all(|pair| pair[0] < pair[1]), "{versions:?}");
    Ok(())
}

#[tokio::test]
async fn a_newcomer_that_may_not_have_the_client_id_does_not_disturb_its_owner() -> anyhow::Result<()> {
    let plant = plant()?;
    let mut owner = connected(&plant.broker, &*plant.factory.device("owner")?, "owner").await?;
    let other = plant.factory.device("envious")?;
    let (_, answer) = Wire::connect5(&plant.broker, &other, "owner").await?;
    assert_eq!(answer.connack_code()?, 0x87);
    owner.ping().await
}

#[tokio::test]
async fn a_resumed_tls_session_is_checked_again() -> anyhow::Result<()> {
    let plant = plant()?;
    let device = plant.factory.device("resumer")?;
    let config = wire::device_tls(&plant.broker, &device)?;
    let connect = || async {
        let mut wire = Wire::open_with(plant.broker.mqtt(), config.clone()).await?;
        wire.send(&wire::connect(5, "resumer")).await?;
        let answer = wire.receive().await?.context("closed without CONNACK")?;
        anyhow::Ok((wire.is_resumed(), answer))
    };
    let (resumed, answer) = connect().await?;
    assert!(!resumed);
    assert_eq!(answer.connack_code()?, 0);
    let (resumed, answer) = connect().await?;
    assert!(resumed, "the broker does not resume TLS sessions");
    assert_eq!(answer.connack_code()?, 0);
    plant.broker.ask(&["cert", "revoke", &device.id()])?;
    let (resumed, answer) = connect().await?;
    assert!(resumed);
    assert_eq!(answer.connack_code()?, 0x87);
    assert!(answer.text().contains("DEVICE_CERTIFICATE_REVOKED"), "{}", answer.text());
    Ok(())
}

#[tokio::test]
async fn a_thing_that_is_detached_takes_its_variables_with_it() -> anyhow::Result<()> {
    let plant = plant()?;
    let device = plant.factory.device("loose")?;
    let wire = connected(&plant.broker, &device, "loose").await?;
    let wire = until_answered(wire, "devices/loose/x", true).await?;
    let principal = arn(&device.id());
    let api = plant.broker.api()?;
    api.call("DELETE", "/things/loose/principals", None, Some(&principal)).await?.ok()?;
    until_answered(wire, "devices/loose/x", false).await.map(|_| ())
}
