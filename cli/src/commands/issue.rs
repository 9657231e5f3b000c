//! What the broker issues, as files: `jitp cert create` and `jitp template claim`.
use super::{connect, read};
use crate::args::{Global, Target};
use crate::client::encode;
use crate::data_dir::write_file;
use crate::exit::{Exit, InvalidInput};
use crate::output::{self, member, time};
use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Value, json};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

#[derive(Debug, Args)]
pub struct Certificate {
    /// A certificate signing request (PKCS#10, PEM): the certificate is for its key [default: the broker makes a key]
    #[arg(long, value_name = "FILE")]
    pub csr: Option<PathBuf>,
    /// Let its device connect at once
    #[arg(long)]
    pub active: bool,
    #[command(flatten)]
    pub place: Place,
    #[command(flatten)]
    pub target: Target,
}

#[derive(Debug, Args)]
pub struct Claim {
    /// The template (of type FLEET_PROVISIONING) that the device shall be provisioned by
    pub template: String,
    #[command(flatten)]
    pub place: Place,
    #[command(flatten)]
    pub target: Target,
}

/// Where the files go.
#[derive(Debug, Args)]
pub struct Place {
    /// The directory of the files
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub out: PathBuf,
    /// Their name: NAME.pem and NAME.key [default: the first 12 digits of the certificate's id]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
}

pub async fn certificate(global: &Global, args: &Certificate) -> anyhow::Result<Exit> {
    args.place.prepare()?;
    let client = connect(global, &args.target)?;
    let reply = match &args.csr {
        Some(csr) => {
            let request = json!({ "certificateSigningRequest": read(csr)? });
            client.post(&format!("/certificates?setAsActive={}", args.active), &request).await?
        }
        None => {
            client.post(&format!("/keys-and-certificate?setAsActive={}", args.active), &json!({})).await?
        }
    };
    let files = args.place.save(&reply)?;
    if global.json {
        return output::json(&files.in_json(&reply, "certificateArn"));
    }
    let id = member(&reply, "certificateId");
    let next = match args.active {
        true => format!("jitp policy attach POLICY {id}"),
        false => format!("jitp cert activate {id}"),
    };
    output::fields(&[
        ("certificate id", Some(id)),
        ("certificate", Some(files.certificate.display().to_string())),
        ("private key", files.key.map(|key| key.display().to_string())),
        ("next", Some(next)),
    ])
}

pub async fn claim(global: &Global, args: &Claim) -> anyhow::Result<Exit> {
    args.place.prepare()?;
    let client = connect(global, &args.target)?;
    let path = format!("/provisioning-templates/{}/provisioning-claim", encode(&args.template));
    let reply = client.post(&path, &json!({})).await?;
    let files = args.place.save(&reply)?;
    if global.json {
        return output::json(&files.in_json(&reply, "expiration"));
    }
    output::fields(&[
        ("certificate id", Some(member(&reply, "certificateId"))),
        ("template", Some(args.template.clone())),
        ("valid to", time(&reply, "expiration")),
        ("certificate", Some(files.certificate.display().to_string())),
        ("private key", files.key.map(|key| key.display().to_string())),
    ])
}

/// What has been written.
struct Files {
    certificate: PathBuf,
    key: Option<PathBuf>,
}

impl Place {
    /// Finds out what cannot be written before anything is issued: a key comes once.
    fn prepare(&self) -> anyhow::Result<()> {
        if let Some(name) = &self.name {
            if name.is_empty() || name.contains('/') {
                bail!(InvalidInput(format!("{name:?} is not a file name")));
            }
            for path in [self.file(name, "pem"), self.file(name, "key")] {
                refuse_present(&path)?;
            }
        }
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.out);
        made.with_context(|| format!("cannot make the directory {}", self.out.display()))
    }

    /// Writes the reply's certificate and key, readable by their owner only.
    fn save(&self, reply: &Value) -> anyhow::Result<Files> {
        let id = member(reply, "certificateId");
        let stem = self.name.clone().unwrap_or_else(|| id.chars().take(12).collect());
        let (certificate, key) = (self.file(&stem, "pem"), self.file(&stem, "key"));
        let private_key = reply.get("keyPair").map(|pair| Zeroizing::new(member(pair, "PrivateKey")));
        for path in [&certificate, &key] {
            refuse_present(path)?;
        }
        if let Some(private_key) = &private_key {
            write_file(&key, private_key, 0o600)?;
        }
        write_file(&certificate, &member(reply, "certificatePem"), 0o600)?;
        Ok(Files { certificate, key: private_key.map(|_| key) })
    }

    fn file(&self, stem: &str, ending: &str) -> PathBuf {
        self.out.join(format!("{stem}.{ending}"))
    }
}

impl Files {
    /// For programs: where the files are, never what is in them.
    fn in_json(&self, reply: &Value, further: &str) -> Value {
        let mut members = json!({
            "certificateId": reply.get("certificateId"),
            "certificate": self.certificate,
            "privateKey": self.key,
        });
        if let (Value::Object(members), Some(value)) = (&mut members, reply.get(further)) {
            members.insert(further.into(), value.clone());
        }
        members
    }
}

fn refuse_present(path: &Path) -> anyhow::Result<()> {
    if path.exists() {
        bail!(InvalidInput(format!("{} exists: name another file, or remove it", path.display())));
    }
    Ok(())
}
