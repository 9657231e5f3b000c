//! What a first connection brings about.
#![allow(clippy::indexing_slicing, reason = "a JSON value indexed by what it lacks gives null")]

use anyhow::{Context, bail, ensure};
use jitp_certs::Issued;
use jitp_tests::{
    Broker, BrokerOptions, DeviceFiles, Factory, OPEN_TEMPLATE, PATIENCE, Plant, Shared, TEMPLATE, Watcher,
    Wire, edited, wire,
};
use rumqttc::{TlsConfiguration, Transport, v5};
use serde_json::{Value, json};
use std::sync::Arc;

static PLANT: Shared<Plant> = Shared::new();

fn plant() -> anyhow::Result<Arc<Plant>> {
    PLANT.get(Plant::new)
}

fn transport(broker: &Broker, device: &Issued) -> anyhow::Result<Transport> {
    Ok(Transport::Tls(TlsConfiguration::Rustls(wire::device_tls(broker, device)?)))
}

/// Connects once with rumqttc, MQTT 3.1.1; returns the client after CONNACK 0.
async fn accepted4(broker: &Broker, device: &Issued, id: &str) -> anyhow::Result<rumqttc::EventLoop> {
    let mut options = rumqttc::MqttOptions::new(id, "localhost", broker.mqtt().port());
    options.set_transport(transport(broker, device)?);
    let (client, mut events) = rumqttc::AsyncClient::new(options, 8);
    events.network_options.set_connection_timeout(PATIENCE.as_secs());
    loop {
        if let rumqttc::Event::Incoming(rumqttc::Packet::ConnAck(_)) = events.poll().await? {
            let topic = format!("devices/{id}/telemetry");
            client.publish(topic, rumqttc::QoS::AtLeastOnce, false, "hello").await?;
            return Ok(events);
        }
    }
}

async fn acknowledged4(events: &mut rumqttc::EventLoop) -> anyhow::Result<()> {
    while !matches!(events.poll().await?, rumqttc::Event::Incoming(rumqttc::Packet::PubAck(_))) {}
    Ok(())
}

/// The same with MQTT 5.
async fn accepted5(broker: &Broker, device: &Issued, id: &str) -> anyhow::Result<v5::EventLoop> {
    let mut options = v5::MqttOptions::new(id, "localhost", broker.mqtt().port());
    options.set_transport(transport(broker, device)?).set_connection_timeout(PATIENCE.as_secs());
    let (client, mut events) = v5::AsyncClient::new(options, 8);
    loop {
        if let v5::Event::Incoming(v5::mqttbytes::v5::Packet::ConnAck(_)) = events.poll().await? {
            let topic = format!("devices/{id}/telemetry");
            client.publish(topic, v5::mqttbytes::QoS::AtLeastOnce, false, "hello").await?;
            return Ok(events);
        }
    }
}

async fn acknowledged5(events: &mut v5::EventLoop) -> anyhow::Result<v5::mqttbytes::v5::PubAckReason> {
    loop {
        if let v5::Event::Incoming(v5::mqttbytes::v5::Packet::PubAck(ack)) = events.poll().await? {
            return Ok(ack.reason);
        }
    }
}

/// The whole of what the registry must hold for a device of the plant, and its one attempt.
fn provisioned(broker: &Broker, device: &DeviceFiles, name: &str) -> anyhow::Result<()> {
    let arn = format!("arn:aws:iot:us-east-1:000000000000:cert/{}", device.id());
    let thing = broker.ask(&["thing", "show", name])?;
    ensure!(thing.pointer("/thing/attributes") == Some(&json!({ "line": "unsorted" })), "{thing:#}");
    ensure!(thing.pointer("/thing/version") == Some(&json!(1)), "{thing:#}");
    ensure!(thing.get("principals") == Some(&json!([arn])), "{thing:#}");
    let certificate = broker.ask(&["cert", "show", &device.id()])?;
    ensure!(
        certificate.pointer("/certificateDescription/status") == Some(&json!("ACTIVE")),
        "{certificate:#}"
    );
    ensure!(certificate.get("policies") == Some(&json!(["device"])), "{certificate:#}");
    let attempts = broker.attempts(&device.id(), 1)?;
    let [attempt] = attempts.as_slice() else { bail!("not one attempt: {attempts:#?}") };
    let expected = json!({
        "outcome": "provisioned",
        "reason": "PROVISIONED",
        "certificateId": device.id(),
        "clientId": name,
        "thingName": name,
        "serverName": "localhost",
        "parameters": {
            "AWS::IoT::Certificate::CommonName": name,
            "AWS::IoT::Certificate::Id": device.id(),
            "AWS::IoT::Certificate::OrganizationalUnit": "unsorted",
        },
    });
    for (member, value) in expected.as_object().context("not an object")? {
        ensure!(attempt.get(member) == Some(value), "{member} is not {value} in {attempt:#}");
    }
    Ok(())
}

#[tokio::test]
async fn a_device_that_nobody_knows_is_accepted_at_the_first_try_on_mqtt_3() -> anyhow::Result<()> {
    let plant = plant()?;
    let device = plant.factory.device("first-3")?;
    acknowledged4(&mut accepted4(&plant.broker, &device, "first-3").await?).await?;
    provisioned(&plant.broker, &device, "first-3")?;
    acknowledged4(&mut accepted4(&plant.broker, &device, "first-3").await?).await?;
    provisioned(&plant.broker, &device, "first-3")
}

#[tokio::test]
async fn a_device_that_nobody_knows_is_accepted_at_the_first_try_on_mqtt_5() -> anyhow::Result<()> {
    let plant = plant()?;
    let device = plant.factory.device("first-5")?;
    for _ in 0..2 {
        let reason = acknowledged5(&mut accepted5(&plant.broker, &device, "first-5").await?).await?;
        assert!(
            matches!(
                reason,
                v5::mqttbytes::v5::PubAckReason::Success
                    | v5::mqttbytes::v5::PubAckReason::NoMatchingSubscribers
            ),
            "{reason:?}"
        );
        provisioned(&plant.broker, &device, "first-5")?;
    }
    Ok(())
}

#[tokio::test]
async fn the_very_first_connection_is_already_under_its_policy() -> anyhow::Result<()> {
    let plant = plant()?;
    let device = plant.factory.device("bounded")?;
    let (mut wire, answer) = Wire::connect5(&plant.broker, &device, "bounded").await?;
    assert_eq!(answer.connack_code()?, 0);
    assert!([0, 0x10].contains(&wire.publishes5("devices/bounded/a", b"x").await?));
    assert_eq!(wire.publishes5("devices/another/a", b"x").await?, 0x87);
    assert!([0, 0x10].contains(&wire.publishes5("devices/bounded/b", b"x").await?), "it stays connected");
    Ok(())
}

#[tokio::test]
async fn a_second_connection_does_not_run_the_template_again_even_when_it_changed() -> anyhow::Result<()> {
    let plant = plant()?;
    let factory = Factory::new("Changing CA")?;
    let body = factory.file("v1.json", TEMPLATE)?;
    plant.broker.ask(&["template", "create", "changing", "--body", &body.display().to_string()])?;
    factory.register_with(&plant.broker, &["--template", "changing"])?;
    let device = factory.device("unchanged")?;
    assert_eq!(Wire::connect(&plant.broker, &device, "unchanged").await?.1.connack_code()?, 0);
    let attempt = plant.broker.attempts(&device.id(), 1)?;
    assert_eq!(attempt[0]["templateName"], "changing");
    assert_eq!(attempt[0]["templateVersion"], 1);

    let changed = edited(|template| {
        template["Resources"]["thing"]["Properties"]["AttributePayload"]["line"] = json!("changed");
    })?;
    let api = plant.broker.api()?;
    let path = "/provisioning-templates/changing/versions?setAsDefault=true";
    api.post(path, &json!({ "templateBody": changed })).await?;
    assert_eq!(Wire::connect(&plant.broker, &device, "unchanged").await?.1.connack_code()?, 0);
    provisioned_attribute(&plant.broker, "unchanged", "unsorted")?;

    let later = factory.device("later")?;
    assert_eq!(Wire::connect(&plant.broker, &later, "later").await?.1.connack_code()?, 0);
    provisioned_attribute(&plant.broker, "later", "changed")?;
    assert_eq!(plant.broker.attempts(&later.id(), 1)?[0]["templateVersion"], 2);
    Ok(())
}

fn provisioned_attribute(broker: &Broker, thing: &str, line: &str) -> anyhow::Result<()> {
    let shown = broker.ask(&["thing", "show", thing])?;
    ensure!(shown.pointer("/thing/attributes/line") == Some(&json!(line)), "{shown:#}");
    Ok(())
}

#[tokio::test]
async fn devices_with_the_same_inline_policy_share_one_policy() -> anyhow::Result<()> {
    let plant = plant()?;
    let factory = Factory::new("Inline CA")?;
    let body = edited(|template| {
        let document: Value = json!({ "Version": "2012-10-17", "Statement": [
            { "Effect": "Allow", "Action": ["iot:Connect", "iot:Publish"], "Resource": "*" } ] });
        template["Resources"]["policy"]["Properties"] = json!({ "PolicyDocument": document });
    })?;
    factory.register(&plant.broker, &body)?;
    let mut names = Vec::new();
    for name in ["inline-1", "inline-2", "inline-3"] {
        let device = factory.device(name)?;
        assert_eq!(Wire::connect(&plant.broker, &device, name).await?.1.connack_code()?, 0);
        names.push(plant.broker.ask(&["cert", "show", &device.id()])?["policies"].clone());
    }
    assert!(names.iter().all(|name| *name == names[0]), "{names:?}");
    let name = names[0][0].as_str().context("no policy")?;
    assert!(name.len() == 40 && name.chars().all(|c| matches!(c, '0'..='9' | 'A'..='F')), "{name}");
    let policy = plant.broker.ask(&["policy", "show", name])?;
    assert_eq!(policy["targets"].as_array().map(Vec::len), Some(3), "{policy:#}");
    Ok(())
}

#[tokio::test]
async fn the_leaf_alone_and_the_leaf_with_its_ca_are_both_accepted() -> anyhow::Result<()> {
    let plant = plant()?;
    for (name, with_ca) in [("leaf-alone", false), ("leaf-and-ca", true)] {
        let device = plant.factory.device(name)?;
        let file = if with_ca { &device.chain_file } else { &device.certificate_file };
        let identity = (std::fs::read_to_string(file)?, device.private_key.expose());
        let config = wire::tls(&plant.broker.server_ca()?, Some((&identity.0, identity.1)))?;
        let mut wire = Wire::open_with(plant.broker.mqtt(), Arc::new(config)).await?;
        wire.send(&wire::connect(4, name)).await?;
        assert_eq!(wire.receive().await?.context("closed")?.connack_code()?, 0, "{name}");
        provisioned(&plant.broker, &device, name)?;
    }
    Ok(())
}

#[tokio::test]
async fn an_x509_v1_leaf_is_accepted() -> anyhow::Result<()> {
    let plant = plant()?;
    let fixture = |name: &str| {
        std::fs::read_to_string(format!("{}/../certs/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR")))
    };
    let factory = Factory::from_pem(&fixture("ca.pem")?, &fixture("ca.key")?)?;
    factory.register(&plant.broker, TEMPLATE)?;
    let device = factory.foreign_device(&fixture("device-v1.pem")?, &fixture("device-v1.key")?)?;
    assert_eq!(device.issued.certificate.version(), 1);
    assert_eq!(Wire::connect(&plant.broker, &device, "sensor-1").await?.1.connack_code()?, 0);
    provisioned(&plant.broker, &device, "sensor-1")
}

#[tokio::test]
async fn the_first_connection_is_told_to_whoever_watches() -> anyhow::Result<()> {
    let plant = plant()?;
    plant.announce_things().await?;
    let mut watcher = plant.watcher("announcer", &["$aws/events/#", "$jitp/events/#"]).await?;
    let device = plant.factory.device("announced")?;
    let (_wire, answer) = Wire::connect(&plant.broker, &device, "announced").await?;
    assert_eq!(answer.connack_code()?, 0);
    let id = device.id();
    let registered = format!("$aws/events/certificates/registered/{}", plant.factory.id());
    let event =
        watcher.until("registered", |m| m.topic == registered && m.text("certificateId") == id).await?;
    assert_eq!(event.text("certificateStatus"), "PENDING_ACTIVATION");
    assert!(
        event.payload["timestamp"].is_i64() && event.payload["certificateRegistrationTimestamp"].is_string()
    );
    let event = watcher.until("created", |m| m.topic == "$aws/events/thing/announced/created").await?;
    assert_eq!(event.payload["attributes"], json!({ "line": "unsorted" }));
    let event = watcher.until("connected", |m| m.topic == "$aws/events/presence/connected/announced").await?;
    assert_eq!(event.text("principalIdentifier"), id);
    let attempts = "$jitp/events/attempts/provisioned/";
    watcher.until("attempt", |m| m.topic.starts_with(attempts) && m.text("certificateId") == id).await?;
    Ok(())
}

#[tokio::test]
async fn in_the_aws_profile_the_first_connection_is_closed_without_connack_and_the_second_accepted()
-> anyhow::Result<()> {
    let plant = Plant::with(BrokerOptions::arguments(&["--profile", "aws"]))?;
    for (level, name) in [(4, "aws-3"), (5, "aws-5")] {
        let device = plant.factory.device(name)?;
        let mut first = Wire::open(&plant.broker, &device).await?;
        first.send(&wire::connect(level, name)).await?;
        assert_eq!(first.receive().await?, None);
        let (_wire, answer) = Wire::connect_as(&plant.broker, &device, &wire::connect(level, name)).await?;
        assert_eq!(answer.connack_code()?, 0);
        provisioned(&plant.broker, &device, name)?;
    }
    let stranger = Factory::new("Nobody")?.device("stranger")?;
    let mut wire = Wire::open(&plant.broker, &stranger).await?;
    wire.send(&wire::connect(5, "stranger")).await?;
    assert_eq!(wire.receive().await?, None);
    Ok(())
}

#[tokio::test]
async fn under_jitr_a_device_waits_until_an_operator_activates_it() -> anyhow::Result<()> {
    let plant = plant()?;
    let factory = Factory::new("JITR CA")?;
    factory.register_with(&plant.broker, &["--jitr"])?;
    let filter = format!("$aws/events/certificates/registered/{}", factory.id());
    let operator = plant.staff.device("jitr-operator")?;
    let mut watcher = Watcher::connect(&plant.broker, &operator, "jitr-operator", &[&filter]).await?;
    let device = factory.device("patient")?;

    let (_, answer) = Wire::connect(&plant.broker, &device, "patient").await?;
    assert_eq!(answer.connack_code()?, 5);
    let event = watcher.next().await?;
    assert_eq!(event.text("certificateId"), device.id());
    assert_eq!(event.text("caCertificateId"), factory.id());
    assert_eq!(event.text("certificateStatus"), "PENDING_ACTIVATION");
    assert_eq!(plant.broker.attempts(&device.id(), 1)?[0]["reason"], "REGISTERED_PENDING_ACTIVATION");

    let (_, answer) = Wire::connect5(&plant.broker, &device, "patient").await?;
    assert_eq!(answer.connack_code()?, 0x87);
    assert!(answer.text().contains("DEVICE_CERTIFICATE_PENDING_ACTIVATION"), "{}", answer.text());
    assert_eq!(watcher.next().await?.text("certificateId"), device.id());

    let arn = format!("arn:aws:iot:us-east-1:000000000000:cert/{}", device.id());
    let document = json!({ "Version": "2012-10-17",
        "Statement": [{ "Effect": "Allow", "Action": "iot:*", "Resource": "*" }] });
    let document = factory.file("patient.json", &document.to_string())?;
    plant.broker.ask(&["policy", "create", "patient", "--document", &document.display().to_string()])?;
    plant.broker.ask(&["policy", "attach", "patient", &arn])?;
    plant.broker.ask(&["cert", "activate", &device.id()])?;
    let (_wire, answer) = Wire::connect(&plant.broker, &device, "patient").await?;
    assert_eq!(answer.connack_code()?, 0);
    Ok(())
}

#[tokio::test]
async fn a_template_without_a_thing_makes_none() -> anyhow::Result<()> {
    let plant = plant()?;
    let factory = Factory::new("Thingless CA")?;
    factory.register(&plant.broker, OPEN_TEMPLATE)?;
    let device = factory.device("thingless")?;
    assert_eq!(Wire::connect(&plant.broker, &device, "thingless").await?.1.connack_code()?, 0);
    assert_eq!(plant.broker.run(&["thing", "show", "thingless"])?.code, Some(3));
    Ok(())
}
