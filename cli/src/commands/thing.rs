//! `jitp thing`: what has been provisioned.
use super::connect;
use crate::args::{Global, Target};
use crate::client::{Client, encode};
use crate::exit::Exit;
use crate::output::{self, member, optional};
use clap::Subcommand;
use serde_json::{Value, json};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List things
    List {
        /// Only things of this type
        #[arg(long = "type", value_name = "NAME")]
        thing_type: Option<String>,
        /// Only things with this attribute
        #[arg(long, value_name = "NAME=VALUE")]
        attribute: Option<String>,
        #[command(flatten)]
        target: Target,
    },
    /// Show one, with its certificates
    Show {
        name: String,
        #[command(flatten)]
        target: Target,
    },
}

pub async fn run(global: &Global, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::List { thing_type, attribute, target } => {
            list(global, &connect(global, &target)?, thing_type.as_deref(), attribute.as_deref()).await
        }
        Command::Show { name, target } => show(global, &connect(global, &target)?, &name).await,
    }
}

async fn list(
    global: &Global,
    client: &Client,
    thing_type: Option<&str>,
    attribute: Option<&str>,
) -> anyhow::Result<Exit> {
    let mut path = String::from("/things?maxResults=250");
    if let Some(name) = thing_type {
        path.push_str(&format!("&thingTypeName={}", encode(name)));
    }
    if let Some((name, value)) = attribute.map(|text| text.split_once('=').unwrap_or((text, ""))) {
        path.push_str(&format!("&attributeName={}&attributeValue={}", encode(name), encode(value)));
    }
    let items = client.list(&path, "things", "nextToken", "nextToken").await?;
    if global.json {
        return output::json(&Value::Array(items));
    }
    let row = |thing: &Value| {
        vec![
            member(thing, "thingName"),
            member(thing, "thingTypeName"),
            attributes(thing),
            member(thing, "version"),
        ]
    };
    output::table(&["thing", "type", "attributes", "version"], items.iter().map(row).collect())
}

async fn show(global: &Global, client: &Client, name: &str) -> anyhow::Result<Exit> {
    let path = format!("/things/{}", encode(name));
    let thing = client.get(&path).await?;
    let principals = client
        .list(&format!("{path}/principals?maxResults=250"), "principals", "nextToken", "nextToken")
        .await?;
    if global.json {
        return output::json(&json!({ "thing": thing, "principals": principals }));
    }
    let arns: Vec<&str> = principals.iter().filter_map(Value::as_str).collect();
    output::fields(&[
        ("thing", optional(&thing, "thingName")),
        ("ARN", optional(&thing, "thingArn")),
        ("id", optional(&thing, "thingId")),
        ("type", optional(&thing, "thingTypeName")),
        ("billing group", optional(&thing, "billingGroupName")),
        ("attributes", Some(attributes(&thing))),
        ("version", optional(&thing, "version")),
        ("certificates", Some(arns.join(", "))),
    ])
}

fn attributes(thing: &Value) -> String {
    let Some(Value::Object(attributes)) = thing.get("attributes") else { return String::new() };
    attributes
        .iter()
        .map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default()))
        .collect::<Vec<_>>()
        .join(" ")
}
