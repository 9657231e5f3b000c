//! `jitp policy`: what devices may do.
use super::{connect, read, versions};
use crate::args::{Global, Target};
use crate::client::{Client, encode};
use crate::complete;
use crate::confirm::Sure;
use crate::exit::{Exit, InvalidInput};
use crate::output::{self, member, optional, time};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check a policy document, without a broker
    Check { file: PathBuf },
    /// Create a policy from a document
    Create {
        name: String,
        #[arg(long, value_name = "FILE")]
        document: PathBuf,
        #[command(flatten)]
        target: Target,
    },
    /// Give a policy a new default document
    Update {
        #[arg(add = complete::policies())]
        name: String,
        #[arg(long, value_name = "FILE")]
        document: PathBuf,
        #[command(flatten)]
        target: Target,
    },
    /// Put another version in force
    Use {
        #[arg(add = complete::policies())]
        name: String,
        version: u32,
        #[command(flatten)]
        target: Target,
    },
    /// List the versions
    Versions {
        #[arg(add = complete::policies())]
        name: String,
        #[command(flatten)]
        target: Target,
    },
    /// Delete a version that is not in force: there may be five
    DeleteVersion {
        #[arg(add = complete::policies())]
        name: String,
        version: u32,
        #[command(flatten)]
        sure: Sure,
        #[command(flatten)]
        target: Target,
    },
    /// List policies
    List {
        #[command(flatten)]
        target: Target,
    },
    /// Show one, with its default document and what it is attached to
    Show {
        #[arg(add = complete::policies())]
        name: String,
        #[command(flatten)]
        target: Target,
    },
    /// Attach a policy to a certificate or a thing group
    Attach(Attachment),
    /// Detach it again
    Detach(Attachment),
    /// Delete a policy that is attached to nothing
    Delete {
        #[arg(add = complete::policies())]
        name: String,
        #[command(flatten)]
        sure: Sure,
        #[command(flatten)]
        target: Target,
    },
    /// List what applies to a certificate, or to a thing by its groups, or to both together
    #[command(group(clap::ArgGroup::new("of").required(true).multiple(true)))]
    Effective {
        /// The certificate's id
        #[arg(long, value_name = "ID", group = "of", add = complete::certificates())]
        certificate: Option<String>,
        #[arg(long, value_name = "NAME", group = "of", add = complete::things())]
        thing: Option<String>,
        #[command(flatten)]
        target: Target,
    },
}

#[derive(Debug, Args)]
pub struct Attachment {
    /// The policy
    #[arg(add = complete::policies())]
    pub name: String,
    /// The ARN of a certificate or a thing group
    pub to: String,
    #[command(flatten)]
    pub target: Target,
}

pub async fn run(global: &Global, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Check { file } => check(global, &read(&file)?),
        Command::Create { name, document, target } => {
            let client = connect(global, &target)?;
            let reply = client.post(&policy(&name), &json!({ "policyDocument": read(&document)? })).await?;
            if global.json {
                output::json(&reply)
            } else {
                output::text(&format!("{}\n", member(&reply, "policyArn")))
            }
        }
        Command::Update { name, document, target } => {
            let body = json!({ "policyDocument": read(&document)? });
            versions::add(global, &target, &versions::OF_POLICY, &name, &body).await
        }
        Command::Use { name, version, target } => {
            versions::select(global, &target, &versions::OF_POLICY, &name, version).await
        }
        Command::Versions { name, target } => {
            versions::list(global, &target, &versions::OF_POLICY, &name).await
        }
        Command::DeleteVersion { name, version, sure, target } => {
            sure.about(&format!("Delete version {version} of the policy {name}"))?;
            versions::delete(global, &target, &versions::OF_POLICY, &name, version).await
        }
        Command::List { target } => list(global, &connect(global, &target)?).await,
        Command::Show { name, target } => show(global, &connect(global, &target)?, &name).await,
        Command::Attach(attachment) => attach(global, &attachment, true).await,
        Command::Detach(attachment) => attach(global, &attachment, false).await,
        Command::Delete { name, sure, target } => {
            sure.about(&format!("Delete the policy {name}"))?;
            connect(global, &target)?.delete(&policy(&name)).await?;
            output::done(global, &json!({}), &format!("policy {name} is deleted"))
        }
        Command::Effective { certificate, thing, target } => {
            effective(global, &connect(global, &target)?, certificate, thing).await
        }
    }
}

fn policy(name: &str) -> String {
    format!("/policies/{}", encode(name))
}

fn check(global: &Global, document: &str) -> anyhow::Result<Exit> {
    match jitp_policies::Document::parse(document) {
        Ok(_) if global.json => output::json(&json!({ "valid": true })),
        Ok(_) => output::text("the document is valid\n"),
        Err(error) => Err(InvalidInput(error.to_string()).into()),
    }
}

async fn list(global: &Global, client: &Client) -> anyhow::Result<Exit> {
    let items = client.list("/policies?pageSize=250", "policies", "nextMarker", "marker").await?;
    if global.json {
        return output::json(&Value::Array(items));
    }
    let row = |policy: &Value| vec![member(policy, "policyName"), member(policy, "policyArn")];
    output::table(&["policy", "arn"], items.iter().map(row).collect())
}

async fn show(global: &Global, client: &Client, name: &str) -> anyhow::Result<Exit> {
    let reply = client.get(&policy(name)).await?;
    let targets = client.post(&format!("/policy-targets/{}?pageSize=250", encode(name)), &json!({})).await?;
    let targets = targets.get("targets").cloned().unwrap_or_default();
    if global.json {
        return output::json(&json!({ "policy": reply, "targets": targets }));
    }
    let arns: Vec<&str> =
        targets.as_array().map(|list| list.iter().filter_map(Value::as_str).collect()).unwrap_or_default();
    output::fields(&[
        ("policy", optional(&reply, "policyName")),
        ("ARN", optional(&reply, "policyArn")),
        ("default version", optional(&reply, "defaultVersionId")),
        ("created", time(&reply, "creationDate")),
        ("attached to", Some(arns.join(", "))),
    ])?;
    output::text(&format!("\n{}\n", member(&reply, "policyDocument")))
}

async fn effective(
    global: &Global,
    client: &Client,
    certificate: Option<String>,
    thing: Option<String>,
) -> anyhow::Result<Exit> {
    let principal = match &certificate {
        Some(id) => {
            let described = client.get(&format!("/certificates/{}", encode(id))).await?;
            described.pointer("/certificateDescription/certificateArn").cloned()
        }
        None => None,
    };
    let thing = thing.map(|name| format!("?thingName={}", encode(&name))).unwrap_or_default();
    let path = format!("/effective-policies{thing}");
    let mut reply = client.post(&path, &json!({ "principal": principal })).await?;
    let policies = reply.get_mut("effectivePolicies").map(Value::take).unwrap_or_default();
    if global.json {
        return output::json(&policies);
    }
    let row = |policy: &Value| vec![member(policy, "policyName"), member(policy, "policyArn")];
    output::table(&["policy", "arn"], policies.as_array().into_iter().flatten().map(row).collect())
}

async fn attach(global: &Global, attachment: &Attachment, attach: bool) -> anyhow::Result<Exit> {
    let client = connect(global, &attachment.target)?;
    let path = format!("/target-policies/{}", encode(&attachment.name));
    let body = json!({ "target": attachment.to });
    if attach {
        client.put(&path, &body).await?
    } else {
        client.post(&path, &body).await?
    };
    if global.json {
        return output::json(&json!({}));
    }
    let verb = if attach { "attached to" } else { "detached from" };
    output::text(&format!("policy {} is {verb} {}\n", attachment.name, attachment.to))
}
