//! Fleet provisioning on the wire: who gets an answer, who does not, and what a connection goes on doing meanwhile.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]
mod support;

use jitp_provisioner::certs::{Attribute, KeyKind, KeyPair};
use jitp_provisioner::issuing::IssuingOptions;
use jitp_provisioner::names::TemplateName;
use jitp_provisioner::records::{CertificateStatus, ProvisioningHook, TemplateType};
use jitp_provisioner::registry::{CreateTemplate, PageRequest};
use jitp_provisioner::{AttemptFilter, AttemptKind, Callback, Callbacks, Options, ReasonCode};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use support::*;
use tokio::sync::Semaphore;

const CREATE: &str = "$aws/certificates/create/json";
const REGISTER: &str = "$aws/provisioning-templates/pumps/provision/json";
const RENEW: &str = "$jitp/certificates/renew/json";
const ARN: &str = "arn:aws:lambda:us-east-1:000000000000:function:stock";

fn body() -> Value {
    json!({
        "Parameters": { "Serial": { "Type": "String" } },
        "Resources": {
            "thing": { "Type": "AWS::IoT::Thing", "Properties": { "ThingName": { "Ref": "Serial" } } },
            "certificate": { "Type": "AWS::IoT::Certificate", "Properties": {
                "CertificateId": { "Ref": "AWS::IoT::Certificate::Id" }, "Status": "ACTIVE" } },
            "policy": { "Type": "AWS::IoT::Policy", "Properties": { "PolicyName": "devices" } }
        },
        "DeviceConfiguration": { "interval": 30 }
    })
}

/// EC keys, which take no time to make.
fn options() -> Options {
    Options {
        runs_per_certificate_per_second: 0,
        issuing: IssuingOptions { keys: KeyKind::EcP256, ..IssuingOptions::default() },
        ..Options::default()
    }
}

async fn world() -> World {
    World::new_with_options(EVERYTHING, options(), |_| ()).await
}

async fn template(world: &World, name: &str, hook: Option<ProvisioningHook>) {
    let create = CreateTemplate {
        name: TemplateName::new(name).unwrap(),
        template_type: TemplateType::FleetProvisioning,
        body: body().to_string(),
        description: None,
        enabled: true,
        role_arn: "arn:aws:iam::000000000000:role/provisioner".into(),
        hook,
        tags: Default::default(),
    };
    world.registry().create_template(create).await.unwrap();
}

/// The next packet is an answer on this topic; it is acknowledged.
async fn answer(wire: &mut Wire, topic: &str) -> Value {
    let packet = wire.packet().await;
    let publish = Publish::read(&packet, 4);
    assert_eq!((publish.topic.as_str(), publish.retain, publish.dup), (topic, false, false));
    if publish.qos > 0 {
        wire.send(&puback(publish.packet_id)).await;
    }
    serde_json::from_slice(&publish.payload).unwrap()
}

/// Asks with QoS 1 and takes the PUBACK.
async fn ask(wire: &mut Wire, topic: &str, payload: &Value) {
    let payload = if payload.is_null() { String::new() } else { payload.to_string() };
    wire.send(&publish(4, topic, payload.as_bytes(), 1, 9)).await;
    assert_eq!(wire.packet().await, [0x40, 2, 0, 9]);
}

/// A certificate, with its token.
async fn certificate(wire: &mut Wire) -> Value {
    ask(wire, CREATE, &Value::Null).await;
    answer(wire, &format!("{CREATE}/accepted")).await
}

#[tokio::test]
async fn a_claim_becomes_a_device_of_its_own() {
    let world = world().await;
    template(&world, "pumps", None).await;
    let claim = world.device("claim");
    let mut wire = world.online(&claim, 4, "boot-1").await;
    assert_eq!(wire.subscribe(4, "$aws/certificates/#", 1).await, 1);
    assert_eq!(wire.subscribe(4, &format!("{REGISTER}/+"), 0).await, 0);
    let made = certificate(&mut wire).await;
    let pem = made["certificatePem"].as_str().unwrap();
    assert!(pem.starts_with("-----BEGIN CERTIFICATE-----\n") && pem.len() < 2000);
    let token = made["certificateOwnershipToken"].as_str().unwrap();
    let legal = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    assert!(token.len() <= 400 && token.chars().all(legal));

    // It cannot connect yet.
    let device = world.device_of_pem(pem, made["privateKey"].as_str().unwrap());
    assert_eq!(device.id.to_string(), made["certificateId"].as_str().unwrap());
    let mut early = world.wire(&device).await;
    assert_eq!(early.connect(&Connect::new(4, "pump-1")).await, 5);

    let wrong = json!({ "certificateOwnershipToken": token, "parameters": {} });
    ask(&mut wire, REGISTER, &wrong).await;
    let rejected = answer(&mut wire, &format!("{REGISTER}/rejected")).await;
    assert_eq!((&rejected["statusCode"], &rejected["errorCode"]), (&json!(400), &json!("InvalidParameters")));
    assert_eq!(rejected.as_object().unwrap().len(), 3);

    let right =
        json!({ "certificateOwnershipToken": token, "parameters": { "Serial": "pump-1" }, "more": [1] });
    for _ in 0..2 {
        ask(&mut wire, REGISTER, &right).await;
        let accepted = answer(&mut wire, &format!("{REGISTER}/accepted")).await;
        assert_eq!(accepted, json!({ "thingName": "pump-1", "deviceConfiguration": { "interval": 30 } }));
    }
    let record = world.registry().certificate(device.id).await.unwrap();
    assert_eq!(record.status, CertificateStatus::Active);
    world.online(&device, 5, "pump-1").await.ping().await;
}

#[tokio::test]
async fn an_answer_reaches_the_connection_that_asked_and_nobody_else() {
    let world = world().await;
    let claim = world.device("claim");
    let accepted = format!("{CREATE}/accepted");
    let mut others = Vec::new();
    for (client_id, filter) in [
        ("same-topic", accepted.as_str()),
        ("wildcard", "$aws/certificates/#"),
        ("plus", "$aws/certificates/create/+/accepted"),
        ("request", CREATE),
        ("shared", "$share/group/$aws/certificates/create/json/accepted"),
    ] {
        let mut wire = world.online(&claim, 5, client_id).await;
        assert_eq!(wire.subscribe(5, filter, 1).await, 1, "{filter}");
        others.push(wire);
    }
    // One whose session waits for it.
    let mut away = world.wire(&claim).await;
    assert_eq!(away.connect(&Connect { clean: false, ..Connect::new(4, "away") }).await, 0);
    away.subscribe(4, "$aws/certificates/#", 1).await;
    away.send(&[0xe0, 0]).await;
    away.closed().await;

    let mut wire = world.online(&claim, 4, "asks").await;
    wire.subscribe(4, &accepted, 1).await;
    let one = certificate(&mut wire).await;
    let two = certificate(&mut wire).await;
    assert_ne!(one["certificateId"], two["certificateId"]);
    wire.ping().await;
    for other in &mut others {
        other.ping().await;
    }
    let mut back = world.wire(&claim).await;
    assert_eq!(back.connect(&Connect { clean: false, ..Connect::new(4, "away") }).await, 0);
    back.ping().await;
}

#[tokio::test]
async fn without_a_subscription_of_its_own_nobody_hears_and_the_request_is_served_all_the_same() {
    let world = world().await;
    let mut wire = world.online(&world.device("claim"), 4, "deaf").await;
    wire.subscribe(4, "$share/group/$aws/certificates/#", 1).await;
    ask(&mut wire, CREATE, &Value::Null).await;
    // In order: when the second is answered the first is done, and what it came to has gone nowhere.
    wire.subscribe(4, &format!("{REGISTER}/rejected"), 0).await;
    ask(&mut wire, REGISTER, &json!({})).await;
    let rejected = answer(&mut wire, &format!("{REGISTER}/rejected")).await;
    assert_eq!(rejected["errorCode"], "InvalidCertificateOwnershipToken");
    assert_eq!(rejected["errorMessage"], "Certificate ownership token cannot be empty.");
    world.attempt(ReasonCode::OwnershipTokenInvalid).await;
}

#[tokio::test]
async fn topics_beside_the_requests_are_refused_and_so_are_requests_with_retain_and_wills() {
    let world = world().await;
    let device = world.device("claim");
    for topic in [
        "$aws/certificates/create/json/accepted",
        "$aws/certificates/create/xml",
        "$aws/certificates/create/json/more",
        "$aws/provisioning-templates/pumps/provision/json/rejected",
    ] {
        let mut wire = world.online(&device, 4, "c").await;
        wire.send(&publish(4, topic, b"", 1, 1)).await;
        wire.closed().await;
    }
    let mut wire = world.online(&device, 5, "c").await;
    wire.subscribe(5, "$aws/certificates/#", 1).await;
    wire.send(&publish_flags(5, CREATE, b"", 0b0011, 1)).await;
    assert_eq!(wire.packet().await, [0x40, 3, 0, 1, 0x87]);
    wire.ping().await;
    let mut wire = world.wire(&device).await;
    let will = Connect { will: Some((CREATE, "", 1, false)), ..Connect::new(5, "w") };
    assert_eq!(wire.connect(&will).await, 0x87);
}

#[tokio::test]
async fn a_request_of_qos_2_ends_the_connection_and_is_not_served() {
    let world = world().await;
    let device = world.device("claim");
    for topic in [CREATE, "$aws/certificates/create-from-csr/cbor", REGISTER, RENEW] {
        let mut wire = world.online(&device, 4, "c").await;
        wire.send(&publish(4, topic, b"", 2, 1)).await;
        wire.closed().await;
        let mut wire = world.online(&device, 5, "c").await;
        wire.send(&publish(5, topic, b"", 2, 1)).await;
        wire.disconnected(0x9b).await;
    }
    let everything = PageRequest { after: None, limit: 10, ascending: true };
    let certificates = world.registry().list_certificates(None, &everything).await.unwrap();
    let ids: Vec<_> = certificates.items.iter().map(|certificate| certificate.certificate_id).collect();
    assert_eq!(ids, [device.id], "a certificate was made");
}

/// A client whose session outlives its connections.
async fn resume(world: &World, device: &Device) -> Wire {
    let mut wire = world.wire(device).await;
    assert_eq!(wire.connect(&Connect { clean: false, ..Connect::new(4, "boot-1") }).await, 0);
    wire
}

/// Sends what was sent before: with DUP and the same packet id.
async fn ask_again(wire: &mut Wire, topic: &str, payload: &Value) -> Value {
    wire.send(&publish_flags(4, topic, payload.to_string().as_bytes(), 0b1010, 11)).await;
    assert_eq!(wire.packet().await, [0x40, 2, 0, 11]);
    answer(wire, &format!("{topic}/accepted")).await
}

#[tokio::test]
async fn a_request_that_is_sent_again_over_a_reconnect_or_a_restart_is_answered_again_and_provisions_once() {
    let mut world = world().await;
    template(&world, "pumps", None).await;
    let claim = world.device("claim");
    let mut wire = resume(&world, &claim).await;
    for filter in ["$aws/certificates/#", "$aws/provisioning-templates/#", "$jitp/certificates/#"] {
        assert_eq!(wire.subscribe(4, filter, 1).await, 1);
    }
    // A certificate more, which is deleted when nobody uses it.
    let (unused, made) = (certificate(&mut wire).await, ask_again(&mut wire, CREATE, &json!({})).await);
    assert_ne!(unused["certificateId"], made["certificateId"]);
    let keys = KeyPair::generate(KeyKind::EcP256).unwrap();
    let csr = keys.sign_request(&[(Attribute::CommonName, "claim".into())]).unwrap();
    let requests = [
        (
            REGISTER,
            json!({ "certificateOwnershipToken": made["certificateOwnershipToken"],
                           "parameters": { "Serial": "pump-1" } }),
        ),
        (RENEW, json!({ "certificateSigningRequest": csr })),
    ];
    // The connection breaks before the client has heard anything.
    for (topic, payload) in &requests {
        wire.send(&publish(4, topic, payload.to_string().as_bytes(), 1, 11)).await;
    }
    drop(wire);
    let mut heard = Vec::new();
    for _ in 0..2 {
        let mut wire = resume(&world, &claim).await;
        for (topic, payload) in &requests {
            heard.push(ask_again(&mut wire, topic, payload).await);
        }
        drop(wire);
        world = world.restart().await;
    }
    let [device, renewed, device_again, renewed_again] = heard.as_slice() else { panic!("{heard:?}") };
    assert_eq!(*device, json!({ "thingName": "pump-1", "deviceConfiguration": { "interval": 30 } }));
    assert_eq!((device, renewed), (device_again, renewed_again));
    let runs = world.provisioner.attempts(&AttemptFilter::default(), None, 100).await.unwrap();
    assert_eq!(runs.iter().filter(|attempt| attempt.kind == AttemptKind::Fleet).count(), 1);
}

#[tokio::test]
async fn policies_decide_who_asks_and_who_hears() {
    let policy = allow(&[
        ("iot:Connect", "*"),
        ("iot:Subscribe", "*"),
        ("iot:Publish", "topic/$aws/certificates/create/*"),
        ("iot:Receive", "topic/$aws/certificates/create-from-csr/*"),
    ]);
    let world = World::new_with_options(&policy, options(), |_| ()).await;
    let mut wire = world.online(&world.device("claim"), 5, "c").await;
    wire.subscribe(5, "$aws/certificates/#", 1).await;
    wire.send(&publish(5, "$aws/certificates/create-from-csr/json", b"{}", 1, 1)).await;
    assert_eq!(wire.packet().await, [0x40, 3, 0, 1, 0x87]);
    wire.send(&publish(5, CREATE, b"", 1, 2)).await;
    assert_eq!(wire.packet().await, [0x40, 2, 0, 2]);
    world.set_policy(EVERYTHING).await;
    // The first answer may not be received, or has come after the change: either way what follows works.
    wire.send(&publish(5, "$aws/certificates/create-from-csr/json", b"[]", 1, 3)).await;
    loop {
        let packet = wire.packet().await;
        match packet[0] >> 4 {
            4 if packet.len() == 5 => {
                // The change has not reached the connection yet.
                wire.send(&publish(5, "$aws/certificates/create-from-csr/json", b"[]", 1, 3)).await;
            }
            4 => {}
            _ => {
                let publish = Publish::read(&packet, 5);
                if publish.topic.ends_with("create-from-csr/json/rejected") {
                    let rejected: Value = serde_json::from_slice(&publish.payload).unwrap();
                    assert_eq!(rejected["errorCode"], "InvalidPayload");
                    return;
                }
            }
        }
    }
}

#[tokio::test]
async fn correlation_data_comes_back_and_the_response_topic_does_not_count() {
    let world = world().await;
    let mut wire = world.online(&world.device("claim"), 5, "c").await;
    // With a Subscription Identifier.
    let mut subscribe = 7_u16.to_be_bytes().to_vec();
    subscribe.extend([2, 0x0b, 5]);
    subscribe.extend(text("$aws/certificates/#"));
    subscribe.push(2);
    wire.send(&packet(0x82, &subscribe)).await;
    assert_eq!(wire.packet().await[0], 0x90);
    wire.subscribe(5, "elsewhere", 1).await;
    let properties = [&[0x08][..], &text("elsewhere"), &[0x09], &text("abc")].concat();
    let request =
        [&text("$aws/certificates/create/cbor")[..], &[properties.len() as u8], &properties, &[0xa0]]
            .concat();
    wire.send(&packet(0x30, &request)).await;
    let reply = wire.packet().await;
    // A CBOR map of four entries behind the properties.
    let publish = Publish::read(&reply, 5);
    assert_eq!(publish.topic, "$aws/certificates/create/cbor/accepted");
    assert_eq!((publish.qos, publish.payload[0]), (1, 0xa4));
    assert_eq!(publish.properties, [&[0x0b, 5, 0x09][..], &text("abc")].concat());
    wire.ping().await;
}

#[tokio::test]
async fn an_answer_that_the_client_cannot_take_is_a_rejection_with_413() {
    let world = world().await;
    let device = world.device("claim");
    let mut wire = world.wire(&device).await;
    let small = Connect { properties: &[0x27, 0, 0, 2, 0], ..Connect::new(5, "c") };
    assert_eq!(wire.connect(&small).await, 0);
    wire.subscribe(5, "$aws/certificates/#", 1).await;
    wire.send(&publish(5, CREATE, b"", 0, 0)).await;
    let publish = Publish::read(&wire.packet().await, 5);
    assert_eq!(publish.topic, format!("{CREATE}/rejected"));
    let rejected: Value = serde_json::from_slice(&publish.payload).unwrap();
    assert_eq!((&rejected["statusCode"], &rejected["errorCode"]), (&json!(413), &json!("PayloadTooLarge")));
}

#[tokio::test]
async fn answers_wait_for_the_clients_window_and_are_never_sent_to_the_next_connection() {
    let world = world().await;
    let device = world.device("claim");
    let mut wire = world.wire(&device).await;
    // Receive Maximum 1, and a session that stays.
    let one = Connect { properties: &[0x21, 0, 1, 0x11, 0, 0, 1, 0], clean: true, ..Connect::new(5, "c") };
    assert_eq!(wire.connect(&one).await, 0);
    wire.subscribe(5, "$aws/certificates/#", 1).await;
    for id in 1..=3 {
        wire.send(&publish(5, CREATE, b"", 0, id)).await;
    }
    let first = Publish::read(&wire.packet().await, 5);
    wire.ping().await;
    wire.send(&puback(first.packet_id)).await;
    let second = Publish::read(&wire.packet().await, 5);
    assert_ne!(first.payload, second.payload);
    // The second is not acknowledged and the third waits: both are forgotten.
    let mut next = world.wire(&device).await;
    assert_eq!(next.connect(&Connect { clean: false, ..one }).await, 0);
    next.ping().await;
    next.send(&publish(5, CREATE, b"", 0, 0)).await;
    assert_eq!(Publish::read(&next.packet().await, 5).topic, format!("{CREATE}/accepted"));
}

/// Says yes once it may.
struct Slow(Semaphore);

#[async_trait::async_trait]
impl Callback for Slow {
    async fn call(&self, _: &[u8]) -> Result<Vec<u8>, String> {
        let _ = self.0.acquire().await;
        Ok(br#"{"allowProvisioning":true}"#.to_vec())
    }
}

#[tokio::test]
async fn while_a_request_is_served_the_connection_goes_on_and_too_many_more_are_told_to_try_again() {
    let slow = Arc::new(Slow(Semaphore::new(0)));
    let callbacks = Callbacks::default().with(ARN, slow.clone(), 64);
    let options = Options { callbacks, ..options() };
    let world =
        World::new_with_options(EVERYTHING, options, |config| config.limits.queued_requests = 2).await;
    template(&world, "plain", None).await;
    template(
        &world,
        "pumps",
        Some(ProvisioningHook { payload_version: "2020-04-01".into(), target_arn: ARN.into() }),
    )
    .await;
    let device = world.device("claim");
    let mut wire = world.online(&device, 4, "waits").await;
    wire.subscribe(4, "$aws/certificates/#", 0).await;
    wire.subscribe(4, "$aws/provisioning-templates/#", 0).await;
    wire.subscribe(4, "dev", 0).await;
    let made = certificate(&mut wire).await;
    let token = made["certificateOwnershipToken"].as_str().unwrap();
    ask(&mut wire, REGISTER, &json!({ "certificateOwnershipToken": token, "parameters": { "Serial": "p" } }))
        .await;
    // Other traffic of the connection goes on.
    wire.send(&publish(4, "dev", b"hello", 0, 0)).await;
    assert_eq!(Publish::read(&wire.packet().await, 4).payload, b"hello");
    wire.ping().await;
    // Two wait, or one and one is being taken up; of ten more most are rejected, in the end all answered.
    for _ in 0..10 {
        wire.send(&publish(4, REGISTER, b"{}", 0, 0)).await;
    }
    let rejected = format!("{REGISTER}/rejected");
    for _ in 0..7 {
        let busy = answer(&mut wire, &rejected).await;
        assert_eq!((&busy["statusCode"], &busy["errorCode"]), (&json!(429), &json!("Throttling")));
    }
    // Other connections do not wait.
    let mut other = world.online(&device, 4, "other").await;
    other.subscribe(4, "$aws/certificates/#", 0).await;
    certificate(&mut other).await;
    slow.0.add_permits(1);
    let accepted = loop {
        let publish = Publish::read(&wire.packet().await, 4);
        if publish.topic.ends_with("/accepted") {
            break serde_json::from_slice::<Value>(&publish.payload).unwrap();
        }
    };
    assert_eq!(accepted["thingName"], "p");
}

#[tokio::test]
async fn a_rate_that_is_used_up_is_a_rejection_with_429() {
    let mut options = options();
    options.fleet_rates.create_keys_and_certificate = 1;
    let world = World::new_with_options(EVERYTHING, options, |_| ()).await;
    let mut wire = world.online(&world.device("claim"), 4, "c").await;
    wire.subscribe(4, "$aws/certificates/#", 0).await;
    // A second may pass between any two, but not between all.
    for _ in 0..200 {
        wire.send(&publish(4, CREATE, b"", 0, 0)).await;
        let publish = Publish::read(&wire.packet().await, 4);
        if publish.topic.ends_with("/rejected") {
            let rejected: Value = serde_json::from_slice(&publish.payload).unwrap();
            assert_eq!(rejected["statusCode"], 429);
            return;
        }
    }
    panic!("200 certificates in 200 seconds or more");
}

#[tokio::test]
async fn a_client_that_goes_leaves_nothing_behind() {
    let world = world().await;
    let device = world.device("claim");
    for _ in 0..20 {
        let mut wire = world.online(&device, 4, "gone").await;
        wire.subscribe(4, "$aws/certificates/#", 1).await;
        wire.send(&publish(4, CREATE, b"", 1, 1)).await;
        drop(wire);
    }
    let mut wire = world.online(&device, 4, "gone").await;
    wire.ping().await;
    tokio::time::timeout(Duration::from_secs(60), world.broker.shutdown(PATIENCE)).await.unwrap();
}
