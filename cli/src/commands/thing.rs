//! `jitp thing`: what has been provisioned.
use super::connect;
use crate::args::{Global, Target};
use crate::client::{Client, encode};
use crate::complete;
use crate::confirm::Sure;
use crate::exit::Exit;
use crate::output::{self, member, optional};
use crate::pair::{object, pair};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List things
    List {
        /// Only things of this type
        #[arg(long = "type", value_name = "NAME", add = complete::thing_types())]
        thing_type: Option<String>,
        /// Only things with this attribute
        #[arg(long, value_name = "NAME=VALUE")]
        attribute: Option<String>,
        #[command(flatten)]
        target: Target,
    },
    /// Show one, with its certificates
    Show(One),
    /// Create one
    Create {
        name: String,
        #[command(flatten)]
        content: Content,
        /// The billing group that it is in
        #[arg(long, value_name = "NAME", add = complete::billing_groups())]
        billing_group: Option<String>,
        #[command(flatten)]
        target: Target,
    },
    /// Change one: attributes that are given are added, an empty value removes one
    Update {
        #[arg(add = complete::things())]
        name: String,
        #[command(flatten)]
        content: Content,
        /// It has no type any more
        #[arg(long, conflicts_with = "thing_type")]
        no_type: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Delete one that no certificate is attached to
    Delete {
        #[command(flatten)]
        one: One,
        #[command(flatten)]
        sure: Sure,
    },
    /// Attach a certificate to a thing
    Attach(Attachment),
    /// Detach it again
    Detach(Attachment),
}

#[derive(Debug, Args)]
pub struct One {
    #[arg(add = complete::things())]
    pub name: String,
    #[command(flatten)]
    pub target: Target,
}

#[derive(Debug, Args)]
pub struct Content {
    /// Its type
    #[arg(long = "type", value_name = "NAME", id = "thing_type", add = complete::thing_types())]
    pub thing_type: Option<String>,
    /// May be repeated
    #[arg(long = "attribute", value_name = "NAME=VALUE", value_parser = pair)]
    pub attributes: Vec<(String, String)>,
}

#[derive(Debug, Args)]
pub struct Attachment {
    #[arg(add = complete::things())]
    pub thing: String,
    /// The certificate's id
    #[arg(add = complete::certificates())]
    pub certificate: String,
    #[command(flatten)]
    pub target: Target,
}

pub async fn run(global: &Global, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::List { thing_type, attribute, target } => {
            list(global, &connect(global, &target)?, thing_type.as_deref(), attribute.as_deref()).await
        }
        Command::Show(one) => show(global, &connect(global, &one.target)?, &one.name).await,
        Command::Create { name, content, billing_group, target } => {
            let body = json!({
                "thingTypeName": content.thing_type,
                "attributePayload": { "attributes": object(&content.attributes) },
                "billingGroupName": billing_group,
            });
            let reply = connect(global, &target)?.post(&path(&name), &body).await?;
            output::done(global, &reply, &member(&reply, "thingArn"))
        }
        Command::Update { name, content, no_type, target } => {
            let attributes = object(&content.attributes)
                .map(|attributes| json!({ "attributes": attributes, "merge": true }));
            let body = json!({
                "thingTypeName": content.thing_type,
                "removeThingType": no_type,
                "attributePayload": attributes,
            });
            connect(global, &target)?.patch(&path(&name), &body).await?;
            output::done(global, &json!({}), &format!("thing {name} is updated"))
        }
        Command::Delete { one: One { name, target }, sure } => {
            sure.about(&format!("Delete the thing {name}"))?;
            connect(global, &target)?.delete(&path(&name)).await?;
            output::done(global, &json!({}), &format!("thing {name} is deleted"))
        }
        Command::Attach(attachment) => attach(global, &attachment, true).await,
        Command::Detach(attachment) => attach(global, &attachment, false).await,
    }
}

fn path(name: &str) -> String {
    format!("/things/{}", encode(name))
}

async fn attach(global: &Global, attachment: &Attachment, attach: bool) -> anyhow::Result<Exit> {
    let Attachment { thing, certificate, target } = attachment;
    let client = connect(global, target)?;
    let described = client.get(&format!("/certificates/{}", encode(certificate))).await?;
    let arn = described.pointer("/certificateDescription/certificateArn").and_then(Value::as_str);
    let principal = [("x-amzn-principal", arn.unwrap_or_default())];
    let path = format!("{}/principals", path(thing));
    let (method, now) = if attach { ("PUT", "attached to") } else { ("DELETE", "detached from") };
    client.call_with_headers(method, &path, &principal).await?;
    output::done(global, &json!({}), &format!("certificate {certificate} is {now} thing {thing}"))
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
    let path = path(name);
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

/// Its attributes on one line.
pub fn attributes(thing: &Value) -> String {
    let Some(Value::Object(attributes)) = thing.get("attributes") else { return String::new() };
    attributes
        .iter()
        .map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default()))
        .collect::<Vec<_>>()
        .join(" ")
}
