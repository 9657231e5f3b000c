//! `jitp device provision`: what a device does that has a claim certificate and wants one of its own.
use super::read;
use crate::args::Global;
use crate::data_dir::write_file;
use crate::exit::{Exit, InvalidInput};
use crate::mqtt_device::{Contact, Device, Heard, Identity};
use crate::output;
use anyhow::{Context, bail};
use clap::Args;
use jitp_certs::{Attribute, KeyKind, KeyPair};
use rumqttc::v5::mqttbytes::v5::{PubAckReason, SubscribeReasonCode};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use zeroize::Zeroizing;

/// The broker may ask a hook, which has 5 seconds, and make a key.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Args)]
pub struct Provision {
    /// The claim certificate
    #[arg(long, value_name = "FILE")]
    pub cert: PathBuf,
    /// Its private key
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// The fleet provisioning template
    #[arg(long, value_name = "NAME")]
    pub template: String,
    /// A parameter of the template; may be repeated
    #[arg(long = "parameter", value_name = "NAME=VALUE")]
    pub parameters: Vec<String>,
    /// The new certificate goes to NAME.pem, its key to NAME.key
    #[arg(long)]
    pub name: String,
    /// The directory for these files
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub out: PathBuf,
    /// Make the key here (P-256) and send a signing request, instead of having the broker make the key
    #[arg(long)]
    pub own_key: bool,
    /// Of the claim's connection
    #[arg(long, value_name = "ID")]
    pub client_id: String,
    /// Whom the device trusts [default: server-ca.pem in the data directory]
    #[arg(long, value_name = "FILE")]
    pub server_ca: Option<PathBuf>,
    #[arg(long, default_value = "localhost")]
    pub host: String,
    #[arg(long, default_value_t = 8883)]
    pub port: u16,
}

pub async fn run(global: &Global, args: &Provision) -> anyhow::Result<Exit> {
    let files = Files::new(&args.out, &args.name)?;
    let parameters = parameters(&args.parameters)?;
    let server_ca = args.server_ca.clone().unwrap_or_else(|| global.data_dir.join("server-ca.pem"));
    let (certificate, private_key) = (read(&args.cert)?, Zeroizing::new(read(&args.key)?));
    let identity = Identity {
        host: &args.host,
        port: args.port,
        client_id: &args.client_id,
        server_ca: &read(&server_ca)?,
        certificate: &certificate,
        private_key: &private_key,
    };
    let mut device = match Device::connect(&identity, PATIENCE).await? {
        Contact::Accepted(device) => device,
        Contact::Refused(code) => return refused(global, &format!("CONNACK {code:?}"), args),
        Contact::Closed(how) => return refused(global, &how, args),
    };
    let made = match make(&mut device, args).await? {
        Ok(made) => made,
        Err(rejected) => return rejected.tell(global, args),
    };
    let request = json!({ "certificateOwnershipToken": &*made.token, "parameters": parameters });
    let topic = format!("$aws/provisioning-templates/{}/provision/json", args.template);
    let accepted = match ask(&mut device, &topic, &request.to_string()).await? {
        Ok(accepted) => accepted,
        Err(rejected) => return rejected.tell(global, args),
    };
    device.disconnect().await?;
    write_file(&files.key, &made.private_key, 0o600)?;
    write_file(&files.certificate, &made.certificate, 0o600)?;
    tell(global, &files, &made.id, &accepted)
}

/// Where the new certificate goes.
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

impl Files {
    /// Nothing is written over.
    fn new(directory: &Path, name: &str) -> anyhow::Result<Self> {
        let named = |ending: &str| directory.join(format!("{}.{ending}", name.replace('/', "_")));
        let files = Self { certificate: named("pem"), key: named("key") };
        for path in [&files.certificate, &files.key] {
            if path.exists() {
                let message = format!("{} exists: give another --name, or remove it", path.display());
                return Err(InvalidInput(message).into());
            }
        }
        Ok(files)
    }
}

fn parameters(given: &[String]) -> anyhow::Result<BTreeMap<&str, &str>> {
    let pair = |text: &'_ String| InvalidInput(format!("--parameter {text:?}: expected NAME=VALUE"));
    given.iter().map(|text| Ok(text.split_once('=').ok_or_else(|| pair(text))?)).collect()
}

/// A certificate that waits for RegisterThing.
struct Made {
    id: String,
    certificate: String,
    private_key: Zeroizing<String>,
    token: Zeroizing<String>,
}

/// The broker said no.
struct Rejected(Value);

async fn make(device: &mut Device, args: &Provision) -> anyhow::Result<Result<Made, Rejected>> {
    let (accepted, own_key) = if args.own_key {
        let keys = KeyPair::generate(KeyKind::EcP256)?;
        let csr = keys.sign_request(&[(Attribute::CommonName, args.name.clone())])?;
        let request = json!({ "certificateSigningRequest": csr }).to_string();
        let key = Zeroizing::new(keys.private_key()?.expose().to_owned());
        (ask(device, "$aws/certificates/create-from-csr/json", &request).await?, Some(key))
    } else {
        (ask(device, "$aws/certificates/create/json", "").await?, None)
    };
    let accepted = match accepted {
        Ok(accepted) => accepted,
        Err(rejected) => return Ok(Err(rejected)),
    };
    let member = |name: &str| {
        let text = accepted.get(name).and_then(Value::as_str).map(str::to_owned);
        text.with_context(|| format!("the broker's answer lacks {name}"))
    };
    Ok(Ok(Made {
        id: member("certificateId")?,
        certificate: member("certificatePem")?,
        private_key: own_key.map_or_else(|| member("privateKey").map(Zeroizing::new), Ok)?,
        token: member("certificateOwnershipToken")?.into(),
    }))
}

/// Asks one of the APIs, and waits for its answer.
async fn ask(device: &mut Device, topic: &str, payload: &str) -> anyhow::Result<Result<Value, Rejected>> {
    let answered = tokio::time::timeout(PATIENCE, exchange(device, topic, payload)).await;
    answered.with_context(|| format!("no answer to {topic} within {PATIENCE:?}"))?
}

async fn exchange(
    device: &mut Device,
    topic: &str,
    payload: &str,
) -> anyhow::Result<Result<Value, Rejected>> {
    let (accepted, rejected) = (format!("{topic}/accepted"), format!("{topic}/rejected"));
    for filter in [&accepted, &rejected] {
        device.subscribe(filter).await?;
        match device.hear().await {
            Heard::Subscribed(codes)
                if codes.iter().all(|c| matches!(c, SubscribeReasonCode::Success(_))) => {}
            _ => bail!("the broker refuses a subscription to {filter}: the claim's policy must allow it"),
        }
    }
    device.publish(topic, payload).await?;
    loop {
        match device.hear().await {
            Heard::Message(publish) if publish.topic == accepted.as_bytes() => {
                return Ok(Ok(serde_json::from_slice(&publish.payload)?));
            }
            Heard::Message(publish) if publish.topic == rejected.as_bytes() => {
                return Ok(Err(Rejected(serde_json::from_slice(&publish.payload)?)));
            }
            Heard::Published(PubAckReason::Success | PubAckReason::NoMatchingSubscribers)
            | Heard::Message(_)
            | Heard::Subscribed(_) => {}
            Heard::Published(reason) => {
                bail!(
                    "the broker refuses a request on {topic} ({reason:?}): the claim's policy must allow it"
                )
            }
            Heard::Disconnected(code, _) => bail!("the broker closed the connection: {code:?}"),
            Heard::Lost(why) => bail!("the connection was lost: {why}"),
        }
    }
}

impl Rejected {
    fn tell(self, global: &Global, args: &Provision) -> anyhow::Result<Exit> {
        if global.json {
            output::json(&self.0)?;
        } else {
            let text =
                |name: &str| self.0.get(name).map(|value| value.to_string().trim_matches('"').to_owned());
            output::fields(&[
                ("rejected", text("statusCode")),
                ("error", text("errorCode")),
                ("message", text("errorMessage")),
                ("next", Some(format!("jitp attempts --client-id {}", args.client_id))),
            ])?;
        }
        Ok(Exit::Denied)
    }
}

fn refused(global: &Global, how: &str, args: &Provision) -> anyhow::Result<Exit> {
    let next = format!("jitp attempts --client-id {}", args.client_id);
    if global.json {
        output::json(&json!({ "refused": how }))?;
    } else {
        output::fields(&[("refused", Some(how.to_owned())), ("next", Some(next))])?;
    }
    Ok(Exit::Denied)
}

fn tell(global: &Global, files: &Files, id: &str, accepted: &Value) -> anyhow::Result<Exit> {
    let empty = json!({});
    let configuration = accepted.get("deviceConfiguration").unwrap_or(&empty);
    let thing = accepted.get("thingName").and_then(Value::as_str);
    let Files { certificate, key } = files;
    if global.json {
        return output::json(&json!({
            "certificateId": id, "thingName": thing, "deviceConfiguration": configuration,
            "certificate": certificate, "privateKey": key
        }));
    }
    output::fields(&[
        ("thing", thing.map(str::to_owned)),
        ("certificate id", Some(id.to_owned())),
        ("configuration", Some(configuration.to_string())),
        ("certificate", Some(certificate.display().to_string())),
        ("private key", Some(key.display().to_string())),
        (
            "next",
            thing.map(|thing| {
                format!(
                    "jitp device connect --cert {} --key {} --client-id {thing}",
                    certificate.display(),
                    key.display()
                )
            }),
        ),
    ])
}
