//! `jitp device`: a device's side, for tests and factories.
use super::ca::KeyType;
use super::provision::{self, Provision};
use super::read;
use crate::args::Global;
use crate::data_dir::write_file;
use crate::exit::{Exit, InvalidInput};
use crate::mqtt_device::{Contact, Device, Heard, Identity};
use crate::output;
use clap::{Args, Subcommand};
use jitp_certs::{Attribute, Authority, Certificate, LeafRequest, Validity};
use jitp_provisioner::{Clock, SystemClock};
use rumqttc::v5::mqttbytes::v5::{PubAckReason, Publish, SubscribeReasonCode};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const DAY: i64 = 24 * 3600;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a device's key and certificate, signed by a CA's key
    Create(Create),
    /// Connect as a device, publish, subscribe, and print what happened
    Connect(Connect),
    /// Get a certificate of its own for a device that has a claim certificate
    Provision(Provision),
}

#[derive(Debug, Args)]
pub struct Create {
    /// Common name: usually the serial number, and what templates make the thing's name of
    #[arg(long, value_name = "NAME")]
    pub name: String,
    /// A further subject attribute: O, OU, C, ST, dnQualifier or serialNumber; may be repeated
    #[arg(long = "subject", value_name = "ATTRIBUTE=VALUE")]
    pub subject: Vec<String>,
    #[arg(long, value_name = "FILE", default_value = "ca.pem")]
    pub ca_cert: PathBuf,
    #[arg(long, value_name = "FILE", default_value = "ca.key")]
    pub ca_key: PathBuf,
    /// Where the certificate goes [default: NAME.pem]
    #[arg(long, value_name = "FILE")]
    pub cert: Option<PathBuf>,
    /// Where the private key goes [default: NAME.key]
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    #[arg(long, value_enum, default_value_t)]
    pub key_type: KeyType,
    /// How long it is valid
    #[arg(long, default_value_t = 3650)]
    pub days: u32,
}

#[derive(Debug, Args)]
pub struct Connect {
    /// The device's certificate (the leaf, or the leaf and its CA)
    #[arg(long, value_name = "FILE")]
    pub cert: PathBuf,
    /// The device's private key
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// Whom the device trusts [default: server-ca.pem in the data directory]
    #[arg(long, value_name = "FILE")]
    pub server_ca: Option<PathBuf>,
    #[arg(long, default_value = "localhost")]
    pub host: String,
    #[arg(long, default_value_t = 8883)]
    pub port: u16,
    /// [default: the certificate's common name]
    #[arg(long, value_name = "ID")]
    pub client_id: Option<String>,
    /// Subscribe to this filter; may be repeated
    #[arg(long = "subscribe", value_name = "FILTER")]
    pub filters: Vec<String>,
    /// Publish this (QoS 1); may be repeated
    #[arg(long = "publish", value_name = "TOPIC=PAYLOAD")]
    pub messages: Vec<String>,
    /// Stay connected this long after the last answer, printing what comes
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub stay: u64,
}

pub async fn run(global: &Global, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Create(args) => create(global, &args),
        Command::Connect(args) => connect(global, &args).await,
        Command::Provision(args) => provision::run(global, &args).await,
    }
}

fn create(global: &Global, args: &Create) -> anyhow::Result<Exit> {
    let named = |given: &Option<PathBuf>, ending: &str| {
        given.clone().unwrap_or_else(|| PathBuf::from(format!("{}.{ending}", args.name.replace('/', "_"))))
    };
    let (cert, key) = (named(&args.cert, "pem"), named(&args.key, "key"));
    for path in [&cert, &key] {
        if path.exists() {
            return Err(
                InvalidInput(format!("{} exists: name another file, or remove it", path.display())).into()
            );
        }
    }
    let authority = Authority::from_pem(&read(&args.ca_cert)?, &read(&args.ca_key)?)
        .map_err(|error| InvalidInput(format!("the CA: {error}")))?;
    let now = SystemClock.now().unix_seconds();
    let request = LeafRequest {
        subject: subject(args)?,
        validity: Validity { not_before: now - DAY, not_after: now + i64::from(args.days) * DAY },
        key: args.key_type.into(),
    };
    let issued = authority.issue_device(&request)?;
    write_file(&key, issued.private_key.expose(), 0o600)?;
    write_file(&cert, &issued.certificate.to_pem(), 0o644)?;
    let id = issued.certificate.id().to_string();
    if global.json {
        return output::json(&json!({ "certificateId": id, "certificate": cert, "privateKey": key }));
    }
    output::fields(&[
        ("certificate id", Some(id)),
        ("subject", Some(issued.certificate.subject().to_string())),
        ("certificate", Some(cert.display().to_string())),
        ("private key", Some(key.display().to_string())),
        ("next", Some(format!("jitp device connect --cert {} --key {}", cert.display(), key.display()))),
    ])
}

fn subject(args: &Create) -> anyhow::Result<Vec<(Attribute, String)>> {
    let mut subject = Vec::new();
    for text in &args.subject {
        let Some((name, value)) = text.split_once('=') else {
            return Err(InvalidInput(format!("--subject {text:?}: expected ATTRIBUTE=VALUE")).into());
        };
        let attribute = match name {
            "C" => Attribute::Country,
            "O" => Attribute::Organization,
            "OU" => Attribute::OrganizationalUnit,
            "ST" => Attribute::State,
            "CN" => Attribute::CommonName,
            "dnQualifier" => Attribute::DistinguishedNameQualifier,
            "serialNumber" => Attribute::SerialNumber,
            _ => {
                return Err(InvalidInput(format!(
                    "--subject {name:?}: expected O, OU, C, ST, CN, dnQualifier or serialNumber"
                ))
                .into());
            }
        };
        subject.push((attribute, value.to_owned()));
    }
    subject.push((Attribute::CommonName, args.name.clone()));
    Ok(subject)
}

async fn connect(global: &Global, args: &Connect) -> anyhow::Result<Exit> {
    let server_ca = args.server_ca.clone().unwrap_or_else(|| global.data_dir.join("server-ca.pem"));
    let certificate = read(&args.cert)?;
    let client_id = match &args.client_id {
        Some(id) => id.clone(),
        None => common_name(&args.cert, &certificate)?,
    };
    let (server_ca, private_key) = (read(&server_ca)?, read(&args.key)?);
    let identity = Identity {
        host: &args.host,
        port: args.port,
        client_id: &client_id,
        server_ca: &server_ca,
        certificate: &certificate,
        private_key: &private_key,
    };
    let report = Report { json: global.json };
    let why = format!("the operator sees why: jitp attempts --client-id {client_id}");
    let device = match Device::connect(&identity, Duration::from_secs(15)).await? {
        Contact::Accepted(device) => device,
        Contact::Refused(code) => {
            report.line("refused", &format!("{code:?}"), &why)?;
            return Ok(Exit::Denied);
        }
        Contact::Closed(how) => {
            report.line("closed", &how, &format!("no CONNACK; {why}"))?;
            return Ok(Exit::Denied);
        }
    };
    report.line("connected", &client_id, &format!("{}:{}", args.host, args.port))?;
    converse(args, device, &report).await
}

/// Messages that are printed though the time to stay is over, if they are there already.
const AT_HAND: usize = 64;

/// Subscribes, publishes, waits for each answer in turn, then stays as long as asked.
async fn converse(args: &Connect, mut device: Box<Device>, report: &Report) -> anyhow::Result<Exit> {
    let mut exit = Exit::Success;
    for filter in &args.filters {
        device.subscribe(filter).await?;
        match answer(&mut device, report).await? {
            Some(Heard::Subscribed(codes))
                if codes.iter().all(|c| matches!(c, SubscribeReasonCode::Success(_))) =>
            {
                report.line("subscribed", filter, "")?;
            }
            Some(Heard::Subscribed(codes)) => {
                report.line("subscribe refused", filter, &format!("{codes:?}"))?;
                exit = Exit::Denied;
            }
            _ => return Ok(Exit::Denied),
        }
    }
    for message in &args.messages {
        let Some((topic, payload)) = message.split_once('=') else {
            return Err(InvalidInput(format!("--publish {message:?}: expected TOPIC=PAYLOAD")).into());
        };
        device.publish(topic, payload).await?;
        match answer(&mut device, report).await? {
            Some(Heard::Published(PubAckReason::Success | PubAckReason::NoMatchingSubscribers)) => {
                report.line("published", topic, payload)?;
            }
            Some(Heard::Published(reason)) => {
                report.line("publish refused", topic, &format!("{reason:?}"))?;
                exit = Exit::Denied;
            }
            _ => return Ok(Exit::Denied),
        }
    }
    let (stay, answered) = (Duration::from_secs(args.stay), Instant::now());
    let mut at_hand = AT_HAND;
    while at_hand > 0 || answered.elapsed() < stay {
        // What came with the last answer is heard first, however late this process gets its turn.
        let left = stay.saturating_sub(answered.elapsed());
        match tokio::time::timeout(left, device.hear()).await {
            Ok(heard) if report.heard(&heard)? => at_hand = at_hand.saturating_sub(1),
            Ok(_) => return Ok(Exit::Denied),
            Err(_) => break,
        }
    }
    device.disconnect().await?;
    Ok(exit)
}

/// The next acknowledgement; messages on the way are printed. `None`: the connection ended.
async fn answer(device: &mut Device, report: &Report) -> anyhow::Result<Option<Heard>> {
    loop {
        match device.hear().await {
            heard @ (Heard::Published(_) | Heard::Subscribed(_)) => return Ok(Some(heard)),
            heard => {
                if !report.heard(&heard)? {
                    return Ok(None);
                }
            }
        }
    }
}

fn common_name(path: &Path, pem: &str) -> anyhow::Result<String> {
    let end = "-----END CERTIFICATE-----";
    let leaf = pem.find(end).and_then(|at| pem.get(..at + end.len())).unwrap_or(pem);
    let certificate =
        Certificate::from_pem(leaf).map_err(|error| InvalidInput(format!("{}: {error}", path.display())))?;
    let name = certificate.subject().first(Attribute::CommonName);
    name.map(str::to_owned).ok_or_else(|| {
        InvalidInput(format!("{} has no common name: give --client-id", path.display())).into()
    })
}

struct Report {
    json: bool,
}

impl Report {
    fn line(&self, what: &str, subject: &str, detail: &str) -> anyhow::Result<()> {
        if self.json {
            return output::line(&json!({ "event": what, "subject": subject, "detail": detail }).to_string());
        }
        output::line(format!("{what:18} {subject}  {detail}").trim_end())
    }

    /// Prints what was heard; `false` when the connection is over.
    fn heard(&self, heard: &Heard) -> anyhow::Result<bool> {
        match heard {
            Heard::Message(Publish { topic, payload, .. }) => {
                self.line("message", &String::from_utf8_lossy(topic), &String::from_utf8_lossy(payload))?;
            }
            Heard::Published(reason) => self.line("publish answered", &format!("{reason:?}"), "")?,
            Heard::Subscribed(codes) => self.line("subscribe answered", &format!("{codes:?}"), "")?,
            Heard::Disconnected(code, reason) => {
                self.line("disconnected", &format!("{code:?}"), reason.as_deref().unwrap_or_default())?;
                return Ok(false);
            }
            Heard::Lost(why) => {
                self.line("connection lost", why, "")?;
                return Ok(false);
            }
        }
        Ok(true)
    }
}
