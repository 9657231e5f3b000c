//! `jitp demo`: everything in a fresh directory, and the story of a first connection, told as it happens.
use super::attempts::describe;
use super::serve::{Beginning, Service};
use crate::args::Global;
use crate::client::Client;
use crate::config::Config;
use crate::credentials;
use crate::data_dir::{DataDir, write_file};
use crate::exit::Exit;
use crate::mqtt_device::{Contact, Device, Heard, Identity};
use crate::output;
use anyhow::{Context, bail};
use jitp_certs::{Attribute, Authority, Issued, KeyKind, LeafRequest, Validity};
use jitp_policies::{Action, AttachedPolicy, Document, Permissions, Scope, ThingContext};
use jitp_provisioner::{Clock, SystemClock};
use rumqttc::v5::mqttbytes::v5::{PubAckReason, Publish};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const TEMPLATE: &str = include_str!("../../demo/template.json");
const DEVICE_POLICY: &str = include_str!("../../demo/device-policy.json");
const OPERATOR_TEMPLATE: &str = include_str!("../../demo/operator-template.json");
const DEVICE: &str = "pump-0042";
const PATIENCE: Duration = Duration::from_secs(15);
const DAY: i64 = 24 * 3600;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Stop when the story is told
    #[arg(long)]
    pub exit: bool,
    /// Where devices connect; port 0 picks a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub mqtt: SocketAddr,
    /// Where operators connect; port 0 picks a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub api: SocketAddr,
}

pub async fn run(_global: &Global, args: Args) -> anyhow::Result<Exit> {
    let directory =
        tempfile::Builder::new().prefix("jitp-demo-").tempdir().context("cannot make a directory")?;
    let mut config = Config::load(None)?;
    config.broker.listen = vec![args.mqtt];
    config.api.listen = args.api;
    let data = DataDir::open(&directory.path().join("data"))?;
    let service = Service::start(&data, &config, &Beginning::default()).await?;
    let stage = Stage::set(directory.path(), &data, &service)?;

    stage.chapter(1, "a broker that knows nobody")?;
    stage.say(&service.ready_line())?;
    let told = stage.tell().await;
    if told.is_ok() && !args.exit {
        stage.things_to_try()?;
        tokio::signal::ctrl_c().await?;
    }
    service.stop().await?;
    told.map(|()| Exit::Success)
}

/// Where the story plays: the broker, the API with the operator's key, and the files.
struct Stage<'a> {
    directory: &'a Path,
    data: &'a DataDir,
    port: u16,
    api: String,
    client: Client,
    server_ca: String,
}

impl<'a> Stage<'a> {
    fn set(directory: &'a Path, data: &'a DataDir, service: &Service) -> anyhow::Result<Self> {
        let api = format!("http://{}", service.api_address());
        Ok(Self {
            directory,
            data,
            port: service.mqtt_address().port(),
            client: Client::new(&api, "us-east-1", credentials::find(data.path())?)?,
            api,
            server_ca: std::fs::read_to_string(data.server_ca())?,
        })
    }

    async fn tell(&self) -> anyhow::Result<()> {
        self.chapter(2, "an operator registers a CA and says what its devices shall become")?;
        let factory = self.register_ca("Plant A", "ca", TEMPLATE).await?;
        let staff = self.register_ca("Staff", "staff", OPERATOR_TEMPLATE).await?;
        let mut watcher = self.watch(&staff).await?;

        self.chapter(3, "a device that nobody knows connects")?;
        let issued = self.device(&factory, DEVICE, "device")?;
        self.say(&format!("certificate {}", issued.certificate.id()))?;
        self.say(&format!("subject     {}", issued.certificate.subject()))?;
        let started = Instant::now();
        let mut device = match self.connect(&issued, DEVICE).await? {
            Contact::Accepted(device) => device,
            Contact::Refused(code) => bail!("the device was refused: {code:?}"),
            Contact::Closed(why) => bail!("the device was not let in: {why}"),
        };
        self.say(&format!(
            "CONNACK at the first try, {:.1} ms after the first byte",
            started.elapsed().as_secs_f64() * 1e3
        ))?;

        self.chapter(4, "what that connection brought about")?;
        self.show_registry().await?;
        self.chapter(5, "what the operator heard meanwhile")?;
        self.events(&mut watcher).await?;

        self.chapter(6, "what its policy allows, and what not")?;
        self.publish(&mut device, &mut watcher).await?;

        self.chapter(7, "a stranger")?;
        self.stranger().await?;
        device.disconnect().await?;
        watcher.disconnect().await
    }

    /// A new CA, registered over the API with its template, active, auto-registration on.
    async fn register_ca(&self, name: &str, file: &str, template: &str) -> anyhow::Result<Authority> {
        let now = SystemClock.now().unix_seconds();
        let validity = Validity { not_before: now - DAY, not_after: now + 365 * DAY };
        let authority =
            Authority::create(&[(Attribute::CommonName, format!("{name} CA"))], validity, KeyKind::EcP256)?;
        write_file(&self.file(file, "key"), authority.private_key().expose(), 0o600)?;
        write_file(&self.file(file, "pem"), &authority.certificate().to_pem(), 0o644)?;
        write_file(&self.directory.join(format!("{file}-template.json")), template, 0o644)?;
        if file == "ca" {
            self.client.post("/policies/device", &json!({ "policyDocument": DEVICE_POLICY })).await?;
            let everything: Value = ["THING", "THING_TYPE_ASSOCIATION", "THING_GROUP_MEMBERSHIP"]
                .map(|key| (key, json!({ "Enabled": true })))
                .into_iter()
                .collect();
            self.client.patch("/event-configurations", &json!({ "eventConfigurations": everything })).await?;
        }
        let code = self.client.get("/registrationcode").await?;
        let code = output::member(&code, "registrationCode");
        let verification = authority.issue_verification(&code, validity)?;
        let body = json!({
            "caCertificate": authority.certificate().to_pem(),
            "verificationCertificate": verification.certificate.to_pem(),
            "registrationConfig": {
                "templateBody": template,
                "roleArn": "arn:aws:iam::000000000000:role/jitp-provisioning",
            },
        });
        self.client.post("/cacertificate?setAsActive=true&allowAutoRegistration=true", &body).await?;
        self.say(&format!("registered {name} CA, with a template"))?;
        Ok(authority)
    }

    fn device(&self, authority: &Authority, name: &str, file: &str) -> anyhow::Result<Issued> {
        let now = SystemClock.now().unix_seconds();
        let issued = authority.issue_device(&LeafRequest {
            subject: vec![
                (Attribute::OrganizationalUnit, "line-7".into()),
                (Attribute::CommonName, name.into()),
            ],
            validity: Validity { not_before: now - DAY, not_after: now + 365 * DAY },
            key: KeyKind::EcP256,
        })?;
        write_file(&self.file(file, "key"), issued.private_key.expose(), 0o600)?;
        write_file(&self.file(file, "pem"), &issued.certificate.to_pem(), 0o644)?;
        Ok(issued)
    }

    async fn connect(&self, issued: &Issued, client_id: &str) -> anyhow::Result<Contact> {
        let identity = Identity {
            host: "localhost",
            port: self.port,
            client_id,
            server_ca: &self.server_ca,
            certificate: &issued.certificate.to_pem(),
            private_key: issued.private_key.expose(),
        };
        Device::connect(&identity, PATIENCE).await
    }

    /// An operator's client, provisioned the same way, that listens to everything.
    async fn watch(&self, staff: &Authority) -> anyhow::Result<Box<Device>> {
        let issued = self.device(staff, "watcher", "watcher")?;
        let Contact::Accepted(mut watcher) = self.connect(&issued, "watcher").await? else {
            bail!("the operator's client was not let in");
        };
        for filter in ["$aws/events/#", "$jitp/events/#", "devices/#"] {
            watcher.subscribe(filter).await?;
            while !matches!(within(watcher.hear()).await?, Heard::Subscribed(_)) {}
            self.say(&format!("watching {filter}"))?;
        }
        Ok(watcher)
    }

    async fn show_registry(&self) -> anyhow::Result<()> {
        let thing = self.client.get(&format!("/things/{DEVICE}")).await?;
        self.say(&format!("thing       {}", output::member(&thing, "thingArn")))?;
        self.say(&format!("attributes  {}", thing.get("attributes").unwrap_or(&Value::Null)))?;
        let principals = self.client.get(&format!("/things/{DEVICE}/principals")).await?;
        let arn = principals
            .pointer("/principals/0")
            .and_then(Value::as_str)
            .context("the thing has no principal")?;
        self.say(&format!("certificate {arn}"))?;
        let path = format!("/attached-policies/{}", crate::client::encode(arn));
        let attached = self.client.post(&path, &json!({})).await?;
        let name = attached.pointer("/policies/0/policyName").and_then(Value::as_str).unwrap_or_default();
        self.say(&format!("policy      {name}"))
    }

    /// Prints what arrives until the device's own story is complete.
    async fn events(&self, watcher: &mut Device) -> anyhow::Result<()> {
        let connected = format!("$aws/events/presence/connected/{DEVICE}");
        let created = format!("$aws/events/thing/{DEVICE}/created");
        let expected: [&dyn Fn(&str) -> bool; 4] = [
            &|topic| topic.starts_with("$aws/events/certificates/registered/"),
            &|topic| topic == created,
            &|topic| topic.starts_with("$jitp/events/attempts/provisioned/"),
            &|topic| topic == connected,
        ];
        let mut seen = [false; 4];
        while seen.contains(&false) {
            let message = self.message(watcher).await?;
            let topic = String::from_utf8_lossy(&message.topic).into_owned();
            if topic.contains("watcher") || !self.concerns_device(&message) {
                continue;
            }
            for (seen, expected) in seen.iter_mut().zip(expected) {
                *seen |= expected(&topic);
            }
            self.say(&topic)?;
        }
        Ok(())
    }

    /// The watcher's own provisioning makes events too; they are not part of the story.
    fn concerns_device(&self, message: &Publish) -> bool {
        let topic = String::from_utf8_lossy(&message.topic);
        let payload: Value = serde_json::from_slice(&message.payload).unwrap_or_default();
        let client = output::member(&payload, "clientId");
        let own = std::fs::read_to_string(self.file("watcher", "pem")).unwrap_or_default();
        let watcher = jitp_certs::Certificate::from_pem(&own).map(|c| c.id().to_string()).unwrap_or_default();
        topic.contains(DEVICE)
            || client == DEVICE
            || output::member(&payload, "certificateId") != watcher && client.is_empty()
    }

    async fn message(&self, watcher: &mut Device) -> anyhow::Result<Publish> {
        loop {
            match within(watcher.hear()).await? {
                Heard::Message(message) => return Ok(message),
                Heard::Disconnected(..) | Heard::Lost(_) => bail!("the operator's client was disconnected"),
                Heard::Published(_) | Heard::Subscribed(_) => {}
            }
        }
    }

    async fn publish(&self, device: &mut Device, watcher: &mut Device) -> anyhow::Result<()> {
        let allowed = format!("devices/{DEVICE}/telemetry");
        device.publish(&allowed, r#"{"bar":3.1}"#).await?;
        self.say(&format!("publish {allowed}: {}", self.published(device).await?))?;
        loop {
            let message = self.message(watcher).await?;
            if message.topic == allowed.as_bytes() {
                self.say(&format!("the operator received {}", String::from_utf8_lossy(&message.payload)))?;
                break;
            }
        }
        let denied = "devices/pump-0001/telemetry";
        device.publish(denied, "{}").await?;
        self.say(&format!("publish {denied}: {}", self.published(device).await?))?;
        self.say(&format!("because {}", explanation(denied)?))
    }

    async fn published(&self, device: &mut Device) -> anyhow::Result<&'static str> {
        loop {
            match within(device.hear()).await? {
                Heard::Published(PubAckReason::Success | PubAckReason::NoMatchingSubscribers) => {
                    return Ok("accepted");
                }
                Heard::Published(PubAckReason::NotAuthorized) => return Ok("denied (0x87 not authorized)"),
                Heard::Published(_) => return Ok("refused"),
                Heard::Disconnected(..) | Heard::Lost(_) => bail!("the device was disconnected"),
                Heard::Message(_) | Heard::Subscribed(_) => {}
            }
        }
    }

    async fn stranger(&self) -> anyhow::Result<()> {
        let now = SystemClock.now().unix_seconds();
        let validity = Validity { not_before: now - DAY, not_after: now + DAY };
        let nobody =
            Authority::create(&[(Attribute::CommonName, "Nobody's CA".into())], validity, KeyKind::EcP256)?;
        let issued = self.device(&nobody, "stranger", "stranger")?;
        match self.connect(&issued, "stranger").await? {
            Contact::Accepted(_) => bail!("the stranger was let in"),
            Contact::Refused(code) => self.say(&format!("CONNACK {code:?}"))?,
            Contact::Closed(why) => self.say(&format!("closed: {why}"))?,
        }
        let path = format!("/jitp/v1/attempts?limit=1&certificateId={}", issued.certificate.id());
        let started = Instant::now();
        loop {
            let reply = self.client.get(&path).await?;
            if let Some(attempt) = reply.pointer("/attempts/0") {
                return self.say(&describe(attempt));
            }
            if started.elapsed() > PATIENCE {
                bail!("the attempt log does not show the stranger");
            }
            tokio::task::yield_now().await;
        }
    }

    fn things_to_try(&self) -> anyhow::Result<()> {
        let (directory, data) = (self.directory.display(), self.data.path().display());
        output::line("\nStill running. In another terminal:\n")?;
        output::line(&format!(
            "  mosquitto_sub -h localhost -p {} --cafile {data}/server-ca.pem --cert {directory}/watcher.pem \\\n    \
             --key {directory}/watcher.key -i spectator -V 5 -v -t '$aws/events/#' -t '$jitp/events/#' -t 'devices/#'",
            self.port
        ))?;
        output::line(&format!(
            "  AWS_SHARED_CREDENTIALS_FILE={data}/credentials aws iot list-things --region us-east-1 --endpoint-url {}",
            self.api
        ))?;
        output::line(&format!("  jitp attempts --follow --data-dir {data} --api {}", self.api))?;
        output::line(&format!(
            "  jitp device create --name pump-0043 --ca-cert {directory}/ca.pem --ca-key {directory}/ca.key\n  \
             jitp device connect --cert pump-0043.pem --key pump-0043.key --port {} --data-dir {data} \\\n    \
             --publish devices/pump-0043/telemetry=hello",
            self.port
        ))?;
        output::line("\nCtrl-C ends it; the directory is removed.")
    }

    fn file(&self, name: &str, ending: &str) -> std::path::PathBuf {
        self.directory.join(format!("{name}.{ending}"))
    }

    fn chapter(&self, number: u8, title: &str) -> anyhow::Result<()> {
        output::line(&format!("\n{number}. {title}"))
    }

    fn say(&self, text: &str) -> anyhow::Result<()> {
        for line in text.lines() {
            output::line(&format!("   {line}"))?;
        }
        Ok(())
    }
}

/// Why the device's policy denies a publish, from the policy language itself.
fn explanation(topic: &str) -> anyhow::Result<String> {
    let policy = AttachedPolicy {
        name: "device".into(),
        version: 1,
        document: Arc::new(Document::parse(DEVICE_POLICY)?),
    };
    let scope = Scope { region: "us-east-1".into(), account: "000000000000".into() };
    let context = jitp_policies::Context {
        client_id: Some(DEVICE.into()),
        thing: Some(ThingContext { name: DEVICE.into(), ..ThingContext::default() }),
        thing_is_attached: true,
        ..jitp_policies::Context::default()
    };
    Ok(Permissions::compile(&[policy], &scope, &context).explain(Action::Publish, topic).to_string())
}

async fn within<T>(future: impl Future<Output = T>) -> anyhow::Result<T> {
    tokio::time::timeout(PATIENCE, future).await.context("the broker was silent for too long")
}
