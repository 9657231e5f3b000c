//! `jitp template`: what a first connection brings about.
use super::{connect, issue, read, versions};
use crate::args::{Global, Target};
use crate::client::{Client, encode};
use crate::complete;
use crate::confirm::Sure;
use crate::exit::{Exit, InvalidInput};
use crate::output::{self, member, optional, time};
use clap::{Subcommand, ValueEnum};
use jitp_templates::{Caller, Rules, Template};
use serde_json::{Value, json};
use std::path::PathBuf;

/// Who runs the template.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    #[default]
    Jitp,
    Fleet,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check a template, without a broker: every problem at once
    Check {
        file: PathBuf,
        #[arg(long = "type", value_enum, default_value_t)]
        kind: Kind,
    },
    /// Store a template
    Create {
        name: String,
        #[arg(long, value_name = "FILE")]
        body: PathBuf,
        #[arg(long = "type", value_enum, default_value_t)]
        kind: Kind,
        #[arg(long)]
        description: Option<String>,
        #[command(flatten)]
        target: Target,
    },
    /// Give a template a new default body
    Update {
        #[arg(add = complete::templates())]
        name: String,
        #[arg(long, value_name = "FILE")]
        body: PathBuf,
        #[command(flatten)]
        target: Target,
    },
    /// Put another version in force
    Use {
        #[arg(add = complete::templates())]
        name: String,
        version: u32,
        #[command(flatten)]
        target: Target,
    },
    /// List the versions
    Versions {
        #[arg(add = complete::templates())]
        name: String,
        #[command(flatten)]
        target: Target,
    },
    /// Delete a version that is not in force: there may be five
    DeleteVersion {
        #[arg(add = complete::templates())]
        name: String,
        version: u32,
        #[command(flatten)]
        sure: Sure,
        #[command(flatten)]
        target: Target,
    },
    /// Delete a template
    Delete {
        #[arg(add = complete::templates())]
        name: String,
        #[command(flatten)]
        sure: Sure,
        #[command(flatten)]
        target: Target,
    },
    /// Get a short-lived certificate for a device that shall be provisioned by a template
    Claim(issue::Claim),
    /// List templates
    List {
        #[command(flatten)]
        target: Target,
    },
    /// Show one, with the body of its default version
    Show {
        #[arg(add = complete::templates())]
        name: String,
        #[command(flatten)]
        target: Target,
    },
}

pub async fn run(global: &Global, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Check { file, kind } => check(global, &read(&file)?, kind),
        Command::Create { name, body, kind, description, target } => {
            let client = connect(global, &target)?;
            let mut request = json!({
                "templateName": name,
                "templateBody": read(&body)?,
                "provisioningRoleArn": "arn:aws:iam::000000000000:role/jitp-provisioning",
                "enabled": true,
                "type": if kind == Kind::Jitp { "JITP" } else { "FLEET_PROVISIONING" },
            });
            if let (Some(text), Value::Object(members)) = (description, &mut request) {
                members.insert("description".into(), json!(text));
            }
            let reply = client.post("/provisioning-templates", &request).await?;
            if global.json {
                output::json(&reply)
            } else {
                output::text(&format!("{}\n", member(&reply, "templateArn")))
            }
        }
        Command::Update { name, body, target } => {
            let body = json!({ "templateBody": read(&body)? });
            versions::add(global, &target, &versions::OF_TEMPLATE, &name, &body).await
        }
        Command::Use { name, version, target } => {
            versions::select(global, &target, &versions::OF_TEMPLATE, &name, version).await
        }
        Command::Versions { name, target } => {
            versions::list(global, &target, &versions::OF_TEMPLATE, &name).await
        }
        Command::DeleteVersion { name, version, sure, target } => {
            sure.about(&format!("Delete version {version} of the template {name}"))?;
            versions::delete(global, &target, &versions::OF_TEMPLATE, &name, version).await
        }
        Command::Delete { name, sure, target } => {
            sure.about(&format!("Delete the template {name}"))?;
            let path = format!("/provisioning-templates/{}", encode(&name));
            connect(global, &target)?.delete(&path).await?;
            output::done(global, &json!({}), &format!("template {name} is deleted"))
        }
        Command::Claim(args) => issue::claim(global, &args).await,
        Command::List { target } => list(global, &connect(global, &target)?).await,
        Command::Show { name, target } => show(global, &connect(global, &target)?, &name).await,
    }
}

/// Parses a template as the broker would; every problem in the error.
pub fn parse(body: &str, kind: Kind) -> anyhow::Result<Template> {
    let policy = |document: &str| {
        jitp_policies::Document::parse(document).map(|_| ()).map_err(|error| error.to_string())
    };
    let caller = if kind == Kind::Jitp { Caller::Jitp } else { Caller::Fleet };
    let rules = Rules { caller, policy: &policy, functions_in_fleet_only: false };
    Template::parse(body, rules).map_err(|problems| {
        let lines: Vec<String> = problems.0.iter().map(|p| format!("  {}: {}", p.path, p.message)).collect();
        InvalidInput(format!("the template has {} problem(s)\n{}", lines.len(), lines.join("\n"))).into()
    })
}

fn check(global: &Global, body: &str, kind: Kind) -> anyhow::Result<Exit> {
    let template = parse(body, kind)?;
    let parameters: Vec<(&str, Option<&str>)> = template.parameters().collect();
    if global.json {
        let parameters: Vec<Value> =
            parameters.iter().map(|(name, default)| json!({ "name": name, "default": default })).collect();
        return output::json(&json!({ "valid": true, "parameters": parameters }));
    }
    output::line("the template is valid")?;
    for (name, default) in parameters {
        match default {
            Some(default) => output::line(&format!("  parameter {name}, else {default:?}"))?,
            None => output::line(&format!("  parameter {name}, required"))?,
        }
    }
    Ok(Exit::Success)
}

async fn list(global: &Global, client: &Client) -> anyhow::Result<Exit> {
    let path = "/provisioning-templates?maxResults=250";
    let items = client.list(path, "templates", "nextToken", "nextToken").await?;
    if global.json {
        return output::json(&Value::Array(items));
    }
    let row = |template: &Value| {
        vec![
            member(template, "templateName"),
            member(template, "type"),
            time(template, "lastModifiedDate").unwrap_or_default(),
            member(template, "description"),
        ]
    };
    output::table(&["template", "type", "modified", "description"], items.iter().map(row).collect())
}

async fn show(global: &Global, client: &Client, name: &str) -> anyhow::Result<Exit> {
    let template = client.get(&format!("/provisioning-templates/{}", encode(name))).await?;
    if global.json {
        return output::json(&template);
    }
    output::fields(&[
        ("template", optional(&template, "templateName")),
        ("ARN", optional(&template, "templateArn")),
        ("type", optional(&template, "type")),
        ("description", optional(&template, "description")),
        ("default version", optional(&template, "defaultVersionId")),
        ("created", time(&template, "creationDate")),
        ("modified", time(&template, "lastModifiedDate")),
    ])?;
    output::text(&format!("\n{}\n", member(&template, "templateBody")))
}
