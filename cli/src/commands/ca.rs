//! `jitp ca`: the certification authorities whose devices may come.
use super::{connect, read, status};
use crate::args::{Global, Target};
use crate::client::{Client, encode};
use crate::complete;
use crate::confirm::Sure;
use crate::data_dir::write_file;
use crate::exit::{Exit, InvalidInput};
use crate::output::{self, member, optional, time};
use anyhow::Context;
use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use jitp_certs::{Attribute, Authority, KeyKind, Validity};
use jitp_provisioner::{Clock, SystemClock};
use serde_json::{Value, json};
use std::path::PathBuf;

const DAY: i64 = 24 * 3600;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a CA: a key (0600) and a self-signed certificate
    Create(Create),
    /// Register a CA, active and with auto-registration; proves possession of its key when given it
    Register(Register),
    /// List the registered CAs
    List {
        #[command(flatten)]
        target: Target,
    },
    /// Show one
    Show(One),
    /// Let it register new devices
    Activate(One),
    /// Stop it from registering new devices; those registered keep working
    Deactivate(One),
    /// Delete one that is deactivated; certificates that it has registered stay
    Delete {
        #[command(flatten)]
        one: One,
        #[command(flatten)]
        sure: Sure,
    },
    /// Show how many certificates it may register by itself, and how fast; or change it
    Budget(Budget),
}

#[derive(Debug, Args)]
pub struct Create {
    /// Common name of the CA
    #[arg(long, value_name = "NAME")]
    pub name: String,
    /// Where the certificate goes
    #[arg(long, value_name = "FILE", default_value = "ca.pem")]
    pub cert: PathBuf,
    /// Where the private key goes
    #[arg(long, value_name = "FILE", default_value = "ca.key")]
    pub key: PathBuf,
    #[arg(long, value_enum, default_value_t)]
    pub key_type: KeyType,
    /// How long it is valid
    #[arg(long, default_value_t = 3650)]
    pub days: u32,
}

/// The kinds of key that can be made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum KeyType {
    #[default]
    P256,
    P384,
    P521,
    Rsa2048,
    Rsa3072,
    Rsa4096,
}
impl From<KeyType> for KeyKind {
    fn from(kind: KeyType) -> Self {
        match kind {
            KeyType::P256 => KeyKind::EcP256,
            KeyType::P384 => KeyKind::EcP384,
            KeyType::P521 => KeyKind::EcP521,
            KeyType::Rsa2048 => KeyKind::Rsa2048,
            KeyType::Rsa3072 => KeyKind::Rsa3072,
            KeyType::Rsa4096 => KeyKind::Rsa4096,
        }
    }
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what_to_run").args(["template", "template_body", "jitr"]))]
pub struct Register {
    /// The CA's certificate
    #[arg(long, value_name = "FILE", default_value = "ca.pem")]
    pub cert: PathBuf,
    /// The CA's private key: signs the verification certificate here; it is not sent
    #[arg(long, value_name = "FILE", conflicts_with_all = ["verification", "sni_only"])]
    pub key: Option<PathBuf>,
    /// A verification certificate made elsewhere (its common name is the registration code)
    #[arg(long, value_name = "FILE")]
    pub verification: Option<PathBuf>,
    /// Register without proof of possession; its devices must then send SNI
    #[arg(long, conflicts_with = "verification")]
    pub sni_only: bool,
    /// JITP: the stored template to run
    #[arg(long, value_name = "NAME")]
    pub template: Option<String>,
    /// JITP: a template file to store with the CA
    #[arg(long, value_name = "FILE")]
    pub template_body: Option<PathBuf>,
    /// JITR: only register certificates; an operator activates them
    #[arg(long)]
    pub jitr: bool,
    /// Leave it INACTIVE
    #[arg(long)]
    pub inactive: bool,
    /// Leave auto-registration disabled
    #[arg(long)]
    pub no_auto_registration: bool,
    #[command(flatten)]
    pub target: Target,
}

#[derive(Debug, Args)]
pub struct One {
    /// The CA certificate's id
    #[arg(add = complete::cas())]
    pub id: String,
    #[command(flatten)]
    pub target: Target,
}

#[derive(Debug, Args)]
pub struct Budget {
    /// The CA certificate's id
    #[arg(add = complete::cas())]
    pub id: String,
    /// Certificates that it may register in all, those of an earlier total included
    #[arg(long, value_name = "N", conflicts_with = "unlimited")]
    pub runs: Option<u64>,
    /// As many certificates as come
    #[arg(long)]
    pub unlimited: bool,
    /// Provisioning runs a second (0: unlimited)
    #[arg(long, value_name = "N", conflicts_with = "default_rate")]
    pub rate: Option<u32>,
    /// As many runs a second as the configuration says (provisioning.runs_per_ca_per_second)
    #[arg(long)]
    pub default_rate: bool,
    #[command(flatten)]
    pub target: Target,
}

pub async fn run(global: &Global, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Create(args) => create(global, &args),
        Command::Register(args) => register(global, &args).await,
        Command::List { target } => list(global, &connect(global, &target)?).await,
        Command::Show(one) => show(global, &connect(global, &one.target)?, &one.id).await,
        Command::Activate(one) => switch(global, &one, "ACTIVE").await,
        Command::Deactivate(one) => switch(global, &one, "INACTIVE").await,
        Command::Delete { one: One { id, target }, sure } => {
            sure.about(&format!("Delete the CA certificate {id}"))?;
            connect(global, &target)?.delete(&format!("/cacertificate/{}", encode(&id))).await?;
            output::done(global, &json!({}), &format!("CA certificate {id} is deleted"))
        }
        Command::Budget(args) => budget(global, &args).await,
    }
}

fn create(global: &Global, args: &Create) -> anyhow::Result<Exit> {
    for path in [&args.cert, &args.key] {
        if path.exists() {
            return Err(
                InvalidInput(format!("{} exists: name another file, or remove it", path.display())).into()
            );
        }
    }
    let now = SystemClock.now().unix_seconds();
    let validity = Validity { not_before: now - DAY, not_after: now + i64::from(args.days) * DAY };
    let subject = [(Attribute::CommonName, args.name.clone())];
    let authority = Authority::create(&subject, validity, args.key_type.into())?;
    write_file(&args.key, authority.private_key().expose(), 0o600)?;
    write_file(&args.cert, &authority.certificate().to_pem(), 0o644)?;
    let id = authority.certificate().id().to_string();
    if global.json {
        return output::json(
            &json!({ "certificateId": id, "certificate": args.cert, "privateKey": args.key }),
        );
    }
    output::fields(&[
        ("CA certificate id", Some(id)),
        ("certificate", Some(args.cert.display().to_string())),
        ("private key", Some(args.key.display().to_string())),
        (
            "next",
            Some(format!(
                "jitp ca register --cert {} --key {} --template NAME",
                args.cert.display(),
                args.key.display()
            )),
        ),
    ])
}

async fn register(global: &Global, args: &Register) -> anyhow::Result<Exit> {
    let client = connect(global, &args.target)?;
    let certificate = read(&args.cert)?;
    let mut body = json!({ "caCertificate": certificate });
    let verification = match (&args.key, &args.verification) {
        (Some(key), _) => Some(verification_certificate(&client, &certificate, &read(key)?).await?),
        (None, Some(file)) => Some(read(file)?),
        (None, None) if args.sni_only => None,
        (None, None) => {
            return Err(InvalidInput(
                "one of --key, --verification or --sni-only is needed to show that the CA is yours".into(),
            )
            .into());
        }
    };
    if let Some(verification) = verification {
        set(&mut body, "verificationCertificate", json!(verification));
    } else {
        set(&mut body, "certificateMode", json!("SNI_ONLY"));
    }
    if let Some(config) = registration_config(args)? {
        set(&mut body, "registrationConfig", config);
    }
    let path = format!(
        "/cacertificate?setAsActive={}&allowAutoRegistration={}",
        !args.inactive, !args.no_auto_registration
    );
    let reply = client.post(&path, &body).await?;
    if global.json {
        return output::json(&reply);
    }
    output::fields(&[
        ("CA certificate id", optional(&reply, "certificateId")),
        ("ARN", optional(&reply, "certificateArn")),
    ])
}

/// A certificate signed by the CA's key whose common name is the registration code: proof of possession.
async fn verification_certificate(client: &Client, certificate: &str, key: &str) -> anyhow::Result<String> {
    let authority =
        Authority::from_pem(certificate, key).map_err(|error| InvalidInput(format!("the CA: {error}")))?;
    let reply = client.get("/registrationcode").await?;
    let code = optional(&reply, "registrationCode").context("the reply has no registrationCode")?;
    let now = SystemClock.now().unix_seconds();
    let validity = Validity { not_before: now - DAY, not_after: now + DAY };
    Ok(authority.issue_verification(&code, validity)?.certificate.to_pem())
}

fn registration_config(args: &Register) -> anyhow::Result<Option<Value>> {
    Ok(match (&args.template, &args.template_body) {
        (Some(name), _) => Some(json!({ "templateName": name })),
        (None, Some(file)) => Some(json!({
            "templateBody": read(file)?,
            "roleArn": "arn:aws:iam::000000000000:role/jitp-provisioning",
        })),
        (None, None) => None,
    })
}

fn set(body: &mut Value, name: &str, value: Value) {
    if let Value::Object(members) = body {
        members.insert(name.into(), value);
    }
}

async fn list(global: &Global, client: &Client) -> anyhow::Result<Exit> {
    let items = client.list("/cacertificates?pageSize=250", "certificates", "nextMarker", "marker").await?;
    if global.json {
        return output::json(&Value::Array(items));
    }
    let row = |ca: &Value| {
        vec![member(ca, "certificateId"), member(ca, "status"), time(ca, "creationDate").unwrap_or_default()]
    };
    output::table(&["ca certificate id", "status", "created"], items.iter().map(row).collect())
}

async fn show(global: &Global, client: &Client, id: &str) -> anyhow::Result<Exit> {
    let mut reply = client.get(&format!("/cacertificate/{}", encode(id))).await?;
    let budget = client.get(&budget_path(id)).await?;
    if global.json {
        set(&mut reply, "budget", budget);
        return output::json(&reply);
    }
    let [runs, rate] = budget_fields(&budget);
    let empty = Value::Null;
    let ca = reply.get("certificateDescription").unwrap_or(&empty);
    let config = reply.get("registrationConfig").unwrap_or(&empty);
    let validity = ca.get("validity").unwrap_or(&empty);
    output::fields(&[
        ("CA certificate id", optional(ca, "certificateId")),
        ("ARN", optional(ca, "certificateArn")),
        ("status", optional(ca, "status")),
        ("auto-registration", optional(ca, "autoRegistrationStatus")),
        ("mode", optional(ca, "certificateMode")),
        (
            "template",
            optional(config, "templateName")
                .or_else(|| config.get("templateBody").map(|_| "kept with the CA (--json shows it)".into())),
        ),
        runs,
        rate,
        ("created", time(ca, "creationDate")),
        ("modified", time(ca, "lastModifiedDate")),
        ("valid from", time(validity, "notBefore")),
        ("valid to", time(validity, "notAfter")),
    ])
}

async fn switch(global: &Global, one: &One, to: &str) -> anyhow::Result<Exit> {
    let subject =
        status::Subject { word: "CA", collection: "cacertificate", id: &one.id, target: &one.target };
    status::set(global, &subject, to).await
}

async fn budget(global: &Global, args: &Budget) -> anyhow::Result<Exit> {
    let client = connect(global, &args.target)?;
    let mut update = json!({});
    if args.runs.is_some() || args.unlimited {
        set(&mut update, "totalRuns", json!(args.runs));
    }
    if args.rate.is_some() || args.default_rate {
        set(&mut update, "runsPerSecond", json!(args.rate));
    }
    let reply = if update == json!({}) {
        client.get(&budget_path(&args.id)).await?
    } else {
        client.patch(&budget_path(&args.id), &update).await?
    };
    if global.json {
        return output::json(&reply);
    }
    let [runs, rate] = budget_fields(&reply);
    output::fields(&[("CA certificate id", optional(&reply, "caCertificateId")), runs, rate])
}

fn budget_path(id: &str) -> String {
    format!("/jitp/v1/ca-certificates/{}/budget", encode(id))
}

/// A budget as a person reads it.
fn budget_fields(budget: &Value) -> [(&'static str, Option<String>); 2] {
    let runs = match optional(budget, "totalRuns") {
        Some(total) => format!("{} of {total} certificates registered", member(budget, "usedRuns")),
        None => "unlimited".into(),
    };
    let whose = if budget.get("runsPerSecond").is_some() { "its own" } else { "the configured default" };
    let rate = match member(budget, "runsPerSecondInForce").as_str() {
        "0" => format!("unlimited ({whose})"),
        rate => format!("{rate} a second ({whose})"),
    };
    [("budget", Some(runs)), ("rate", Some(rate))]
}
