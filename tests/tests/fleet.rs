//! Fleet provisioning from end to end: real devices that share a claim, a real hook, a real kill.
#![allow(clippy::indexing_slicing, reason = "a JSON value indexed by what it lacks gives null")]

use anyhow::{Context, bail, ensure};
use jitp_certs::{Attribute, Issued, KeyKind, KeyPair};
use jitp_tests::{Broker, BrokerOptions, Factory, PATIENCE, Plant, wire};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use rumqttc::{TlsConfiguration, Transport};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use tokio::sync::Barrier;
use tokio::time::timeout;

const CREATE: &str = "$aws/certificates/create/json";
const REGISTER: &str = "$aws/provisioning-templates/pumps/provision/json";
const HOOK: &str = "arn:aws:lambda:us-east-1:000000000000:function:stock";

const CLAIM_POLICY: &str = r#"{ "Version": "2012-10-17", "Statement": [
  { "Effect": "Allow", "Action": "iot:Connect", "Resource": "arn:aws:iot:us-east-1:000000000000:client/boot-*" },
  { "Effect": "Allow", "Action": ["iot:Publish", "iot:Receive"], "Resource": [
      "arn:aws:iot:us-east-1:000000000000:topic/$aws/certificates/create*",
      "arn:aws:iot:us-east-1:000000000000:topic/$aws/provisioning-templates/pumps/provision/*" ] },
  { "Effect": "Allow", "Action": "iot:Subscribe", "Resource": [
      "arn:aws:iot:us-east-1:000000000000:topicfilter/$aws/certificates/*",
      "arn:aws:iot:us-east-1:000000000000:topicfilter/$aws/provisioning-templates/pumps/provision/*" ] } ] }"#;

/// A plant with the template `pumps` and a claim certificate under [`CLAIM_POLICY`].
struct Fleet {
    plant: Plant,
    claim: Issued,
}

impl Fleet {
    async fn new(options: BrokerOptions, hook: bool) -> anyhow::Result<Self> {
        let plant = Plant::with(options)?;
        let api = plant.broker.api()?;
        let template = json!({
            "Parameters": { "Serial": { "Type": "String" }, "Site": { "Type": "String", "Default": "lab" } },
            "Resources": {
                "thing": { "Type": "AWS::IoT::Thing", "Properties": {
                    "ThingName": { "Fn::Join": ["", ["pump-", { "Ref": "Serial" }]] },
                    "AttributePayload": { "site": { "Ref": "Site" } } } },
                "certificate": { "Type": "AWS::IoT::Certificate", "Properties": {
                    "CertificateId": { "Ref": "AWS::IoT::Certificate::Id" }, "Status": "ACTIVE" } },
                "policy": { "Type": "AWS::IoT::Policy", "Properties": { "PolicyName": "device" } }
            },
            "DeviceConfiguration": { "interval": "30" }
        });
        let mut create = json!({
            "templateName": "pumps", "templateBody": template.to_string(), "enabled": true,
            "provisioningRoleArn": "arn:aws:iam::000000000000:role/provisioner"
        });
        if hook {
            create["preProvisioningHook"] = json!({ "targetArn": HOOK });
        }
        api.post("/provisioning-templates", &create).await?;
        // The claim: a certificate of a CA that is registered here already, with a policy of its own.
        let claims = Factory::new("Claims CA")?;
        let policy = claims.file("claim-policy.json", CLAIM_POLICY)?;
        plant.broker.ask(&["policy", "create", "claim", "--document", &policy.display().to_string()])?;
        claims.register(
            &plant.broker,
            &json!({
                "Parameters": { "AWS::IoT::Certificate::Id": { "Type": "String" } },
                "Resources": {
                    "certificate": { "Type": "AWS::IoT::Certificate", "Properties": {
                        "CertificateId": { "Ref": "AWS::IoT::Certificate::Id" }, "Status": "ACTIVE" } },
                    "policy": { "Type": "AWS::IoT::Policy", "Properties": { "PolicyName": "claim" } }
                }
            })
            .to_string(),
        )?;
        Ok(Self { claim: claims.device("claim")?.issued, plant })
    }

    async fn connect(&self, client_id: &str, filters: &[&str]) -> anyhow::Result<Client> {
        Client::connect(&self.plant.broker, &self.claim, client_id, filters).await
    }
}

/// A device of rumqttc's.
struct Client {
    client: AsyncClient,
    events: EventLoop,
}

impl Client {
    async fn connect(broker: &Broker, who: &Issued, id: &str, filters: &[&str]) -> anyhow::Result<Self> {
        let mut options = MqttOptions::new(id, "localhost", broker.mqtt().port());
        let tls = TlsConfiguration::Rustls(wire::device_tls(broker, who)?);
        options.set_clean_start(true).set_transport(Transport::Tls(tls));
        options.set_connection_timeout(PATIENCE.as_secs());
        let (client, events) = AsyncClient::new(options, 16);
        let mut connected = Self { client, events };
        connected.until(|packet| matches!(packet, Packet::ConnAck(_)).then_some(())).await?;
        for filter in filters {
            connected.client.subscribe(*filter, QoS::AtLeastOnce).await?;
            connected.until(|packet| matches!(packet, Packet::SubAck(_)).then_some(())).await?;
        }
        Ok(connected)
    }

    async fn until<T>(&mut self, wanted: impl Fn(Packet) -> Option<T>) -> anyhow::Result<T> {
        let next = async {
            loop {
                if let Event::Incoming(packet) = self.events.poll().await?
                    && let Some(found) = wanted(packet)
                {
                    return anyhow::Ok(found);
                }
            }
        };
        timeout(PATIENCE, next).await.context("what was waited for did not come")?
    }

    /// The next message.
    async fn message(&mut self) -> anyhow::Result<(String, Value)> {
        self.until(|packet| match packet {
            Packet::Publish(publish) => {
                let topic = String::from_utf8_lossy(&publish.topic).into_owned();
                Some((topic, serde_json::from_slice(&publish.payload).unwrap_or_default()))
            }
            _ => None,
        })
        .await
    }

    /// The payload of the next message, which must be an answer to this request.
    async fn ask(&mut self, topic: &str, payload: Value) -> anyhow::Result<Value> {
        let payload = if payload.is_null() { String::new() } else { payload.to_string() };
        self.client.publish(topic, QoS::AtLeastOnce, false, payload).await?;
        let (came_on, answer) = self.message().await?;
        ensure!(came_on == format!("{topic}/accepted"), "{came_on}: {answer:#}");
        Ok(answer)
    }

    /// Everything that was sent to this client before has come; it was nothing.
    async fn heard_nothing(&mut self) -> anyhow::Result<()> {
        self.client.subscribe(format!("{CREATE}/mark"), QoS::AtMostOnce).await?;
        self.until(|packet| match packet {
            Packet::SubAck(_) => Some(Ok(())),
            Packet::Publish(publish) => Some(Err(anyhow::anyhow!("it heard {publish:?}"))),
            _ => None,
        })
        .await?
    }
}

fn identity(made: &Value) -> anyhow::Result<Issued> {
    let text = |name: &str| made[name].as_str().with_context(|| format!("no {name}"));
    Ok(Issued {
        certificate: jitp_certs::Certificate::from_pem(text("certificatePem")?)?,
        private_key: jitp_certs::PrivateKeyPem::from_pem(text("privateKey")?)?,
    })
}

fn register(made: &Value, serial: &str) -> Value {
    json!({ "certificateOwnershipToken": made["certificateOwnershipToken"], "parameters": { "Serial": serial } })
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_that_share_a_claim_hear_their_own_answers_and_nobody_hears_theirs() -> anyhow::Result<()> {
    const DEVICES: usize = 8;
    let fleet = Arc::new(Fleet::new(BrokerOptions::default(), false).await?);
    let mut monitor = fleet.connect("boot-monitor", &["$aws/certificates/#"]).await?;
    let mut staff = fleet
        .plant
        .watcher("auditor", &["$aws/certificates/#", "$aws/provisioning-templates/#", "#"])
        .await?;
    let together = Arc::new(Barrier::new(DEVICES));
    let devices: Vec<_> = (0..DEVICES)
        .map(|number| {
            let (fleet, together) = (Arc::clone(&fleet), Arc::clone(&together));
            tokio::spawn(async move {
                let filters = ["$aws/certificates/#", "$aws/provisioning-templates/pumps/provision/+/+"];
                let mut client = fleet.connect(&format!("boot-{number}"), &filters).await?;
                together.wait().await;
                let made = client.ask(CREATE, Value::Null).await?;
                let answer = client.ask(REGISTER, register(&made, &number.to_string())).await?;
                ensure!(answer["thingName"] == format!("pump-{number}"), "{answer:#}");
                ensure!(answer["deviceConfiguration"] == json!({ "interval": "30" }), "{answer:#}");
                // The key is the certificate's, and they connect.
                let own = identity(&made)?;
                let name = format!("pump-{number}");
                Client::connect(&fleet.plant.broker, &own, &name, &[&format!("devices/{name}/#")]).await?;
                client.heard_nothing().await?;
                made["certificateId"].as_str().map(str::to_owned).context("no id")
            })
        })
        .collect();
    let mut ids = std::collections::BTreeSet::new();
    for device in devices {
        ids.insert(device.await??);
    }
    ensure!(ids.len() == DEVICES, "{ids:?}");
    monitor.heard_nothing().await?;
    let own = fleet.plant.staff.device("speaker")?;
    let mut speaker = Client::connect(&fleet.plant.broker, &own, "speaker", &[]).await?;
    speaker.client.publish("over", QoS::AtLeastOnce, false, "\"over\"").await?;
    speaker.until(|packet| matches!(packet, Packet::PubAck(_)).then_some(())).await?;
    staff.until("the end", |message| message.topic == "over").await?;
    ensure!(staff.heard().is_empty(), "{:?}", staff.heard());

    let attempts = fleet.plant.broker.ask(&["attempts", "--client-id", "boot-3"])?;
    let run = attempts.as_array().and_then(|all| all.iter().find(|a| a["kind"] == "fleet"));
    let run = run.with_context(|| format!("{attempts:#}"))?;
    ensure!(run["reason"] == "PROVISIONED" && run["templateName"] == "pumps", "{run:#}");
    ensure!(run["claimCertificateId"] == fleet.claim.certificate.id().to_string(), "{run:#}");
    for secret in ["PRIVATE KEY", "OwnershipToken"] {
        ensure!(!fleet.plant.broker.log().contains(secret), "the log has a secret");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_made_ahead_as_soon_as_there_is_a_fleet_template() -> anyhow::Result<()> {
    let fleet = Fleet::new(BrokerOptions::default(), false).await?;
    let api = fleet.plant.broker.api()?;
    let in_stock = async {
        loop {
            let metrics = api.open("/metrics").await?.body;
            if metrics.as_str().is_some_and(|text| text.contains("\nIssuingKeys_Ready ")) {
                return anyhow::Ok(());
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, in_stock).await.context("nobody has asked, and no key is in stock")?
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_and_its_answer_survive_a_kill() -> anyhow::Result<()> {
    let mut fleet = Fleet::new(BrokerOptions::default(), false).await?;
    let filters = ["$aws/certificates/#", "$aws/provisioning-templates/pumps/provision/+/+"];
    let mut client = fleet.connect("boot-1", &filters).await?;
    let (used, unused) = (client.ask(CREATE, Value::Null).await?, client.ask(CREATE, Value::Null).await?);
    let first = client.ask(REGISTER, register(&used, "1")).await?;
    drop(client);
    fleet.plant.broker.kill()?;
    let fleet = Fleet { plant: fleet.plant.restart()?, ..fleet };
    let mut client = fleet.connect("boot-1", &filters).await?;
    let again = client.ask(REGISTER, register(&used, "another")).await?;
    ensure!(again == first, "{again:#}");
    client.ask(REGISTER, register(&unused, "2")).await?;
    let own = identity(&unused)?;
    Client::connect(&fleet.plant.broker, &own, "pump-2", &["devices/pump-2/#"]).await?;
    let things = fleet.plant.broker.ask(&["thing", "list"])?;
    let names: Vec<_> =
        things.as_array().into_iter().flatten().filter_map(|t| t["thingName"].as_str()).collect();
    ensure!(names.contains(&"pump-1") && names.contains(&"pump-2"), "{names:?}");
    ensure!(!names.contains(&"pump-another"), "{names:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_provisions_a_device_whose_files_are_its_owners_alone() -> anyhow::Result<()> {
    let program = "import json,sys; q=json.load(sys.stdin)\n\
                   print(json.dumps({'allowProvisioning': q['parameters'].get('Serial','') != 'stolen',\n\
                   'parameterOverrides': {'Site': 'oslo'}}))";
    let config = format!("[hooks.stock]\narn = {HOOK:?}\ncommand = [\"python3\", \"-c\", {program:?}]\n");
    let fleet = Fleet::new(BrokerOptions::config(&config), true).await?;
    let directory = tempfile::tempdir()?;
    let (claim, key) = (directory.path().join("claim.pem"), directory.path().join("claim.key"));
    std::fs::write(&claim, fleet.claim.certificate.to_pem())?;
    std::fs::write(&key, fleet.claim.private_key.expose())?;
    let port = fleet.plant.broker.mqtt().port().to_string();
    let run = |name: &str, serial: &str, more: &[&str]| {
        let out = directory.path().display().to_string();
        let parameter = format!("Serial={serial}");
        let (claim, key) = (claim.display().to_string(), key.display().to_string());
        let mut arguments = vec![
            "--json",
            "device",
            "provision",
            "--cert",
            &claim,
            "--key",
            &key,
            "--client-id",
            "boot-cli",
            "--template",
            "pumps",
            "--parameter",
            &parameter,
            "--name",
            name,
            "--out",
            &out,
            "--port",
            &port,
        ];
        arguments.extend(more);
        fleet.plant.broker.run(&arguments)
    };
    for (serial, more) in [("7", &[][..]), ("8", &["--own-key"][..])] {
        let done = run(&format!("device-{serial}"), serial, more)?.json()?;
        ensure!(done["thingName"] == format!("pump-{serial}"), "{done:#}");
        for file in ["certificate", "privateKey"] {
            let path = done[file].as_str().context("no file")?;
            let mode = std::fs::metadata(path)?.permissions().mode() & 0o777;
            ensure!(mode == 0o600, "{path}: {mode:o}");
        }
        let text = |file: &str| -> anyhow::Result<String> {
            Ok(std::fs::read_to_string(done[file].as_str().context("no file")?)?)
        };
        let own = Issued {
            certificate: jitp_certs::Certificate::from_pem(&text("certificate")?)?,
            private_key: jitp_certs::PrivateKeyPem::from_pem(&text("privateKey")?)?,
        };
        Client::connect(&fleet.plant.broker, &own, &format!("pump-{serial}"), &[]).await?;
        let thing = fleet.plant.broker.ask(&["thing", "show", &format!("pump-{serial}")])?;
        ensure!(thing["thing"]["attributes"] == json!({ "site": "oslo" }), "{thing:#}");
    }
    let stolen = run("device-9", "stolen", &[])?;
    ensure!(stolen.code == Some(2), "{stolen:?}");
    ensure!(
        stolen.stdout.contains("AccessDenied") && !directory.path().join("device-9.key").exists(),
        "{stolen:?}"
    );
    let again = run("device-7", "7", &[])?;
    ensure!(again.code == Some(3) && again.stderr.contains("exists"), "{again:?}");
    fleet.plant.broker.wait_for(&["attempts", "--reason", "HOOK_DENIED"], |answer| {
        answer.as_array().is_some_and(|all| !all.is_empty())
    })?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signing_request_gets_a_certificate_for_its_key_and_a_bad_one_a_reason() -> anyhow::Result<()> {
    let fleet = Fleet::new(BrokerOptions::default(), false).await?;
    let topic = "$aws/certificates/create-from-csr/json";
    let mut client = fleet.connect("boot-1", &["$aws/certificates/create-from-csr/json/+"]).await?;
    let keys = KeyPair::generate(KeyKind::EcP256)?;
    let csr = keys.sign_request(&[(Attribute::CommonName, "pump".into())])?;
    let made = client.ask(topic, json!({ "certificateSigningRequest": csr })).await?;
    ensure!(made.get("privateKey").is_none(), "{made:#}");
    let certificate = made["certificatePem"].as_str().context("no certificate")?;
    let certificate = jitp_certs::Certificate::from_pem(certificate)?;
    ensure!(certificate.subject().first(Attribute::CommonName) == Some("pump"));
    for (payload, error) in [
        (json!({ "certificateSigningRequest": "-----BEGIN CERTIFICATE REQUEST-----\nno" }), "InvalidCsr"),
        (json!({ "certificateSigningRequest": 5 }), "InvalidPayload"),
        (json!({}), "InvalidPayload"),
    ] {
        client.client.publish(topic, QoS::AtLeastOnce, false, payload.to_string()).await?;
        let (came_on, rejected) = client.message().await?;
        ensure!(came_on == format!("{topic}/rejected") && rejected["errorCode"] == error, "{rejected:#}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_can_do_nothing_else() -> anyhow::Result<()> {
    let fleet = Fleet::new(BrokerOptions::default(), false).await?;
    let mut client = fleet.connect("boot-1", &[]).await?;
    for topic in ["devices/pump-1/up", "$aws/provisioning-templates/valves/provision/json"] {
        client.client.publish(topic, QoS::AtLeastOnce, false, "{}").await?;
        let reason = client.until(|packet| match packet {
            Packet::PubAck(ack) => Some(ack.reason),
            _ => None,
        });
        let reason = reason.await?;
        if reason != rumqttc::v5::mqttbytes::v5::PubAckReason::NotAuthorized {
            bail!("{topic}: {reason:?}");
        }
    }
    Ok(())
}
