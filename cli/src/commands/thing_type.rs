//! `jitp type`: thing types.
use super::connect;
use crate::args::{Global, Target};
use crate::client::{Client, encode};
use crate::complete;
use crate::confirm::Sure;
use crate::exit::Exit;
use crate::output::{self, member, optional, time};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List types
    List {
        #[command(flatten)]
        target: Target,
    },
    /// Show one
    Show(One),
    /// Create one
    Create {
        name: String,
        #[arg(long, value_name = "TEXT")]
        description: Option<String>,
        /// An attribute that things of this type are found by; at most three
        #[arg(long = "searchable", value_name = "ATTRIBUTE")]
        searchable: Vec<String>,
        #[command(flatten)]
        target: Target,
    },
    /// Let no further thing be of this type
    Deprecate(One),
    /// Take that back
    Undeprecate(One),
    /// Delete one that no thing has and that was deprecated a while ago
    Delete {
        #[command(flatten)]
        one: One,
        #[command(flatten)]
        sure: Sure,
    },
}

#[derive(Debug, Args)]
pub struct One {
    #[arg(add = complete::thing_types())]
    pub name: String,
    #[command(flatten)]
    pub target: Target,
}

pub async fn run(global: &Global, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::List { target } => list(global, &connect(global, &target)?).await,
        Command::Show(one) => show(global, &connect(global, &one.target)?, &one.name).await,
        Command::Create { name, description, searchable, target } => {
            let searchable = (!searchable.is_empty()).then_some(searchable);
            let properties =
                json!({ "thingTypeDescription": description, "searchableAttributes": searchable });
            let body = json!({ "thingTypeProperties": properties });
            let reply = connect(global, &target)?.post(&path(&name), &body).await?;
            output::done(global, &reply, &member(&reply, "thingTypeArn"))
        }
        Command::Deprecate(one) => deprecate(global, &one, false).await,
        Command::Undeprecate(one) => deprecate(global, &one, true).await,
        Command::Delete { one: One { name, target }, sure } => {
            sure.about(&format!("Delete the thing type {name}"))?;
            connect(global, &target)?.delete(&path(&name)).await?;
            output::done(global, &json!({}), &format!("thing type {name} is deleted"))
        }
    }
}

fn path(name: &str) -> String {
    format!("/thing-types/{}", encode(name))
}

fn state(thing_type: &Value) -> &'static str {
    match thing_type.pointer("/thingTypeMetadata/deprecated").and_then(Value::as_bool) {
        Some(true) => "deprecated",
        _ => "in use",
    }
}

async fn list(global: &Global, client: &Client) -> anyhow::Result<Exit> {
    let items = client.list("/thing-types?maxResults=250", "thingTypes", "nextToken", "nextToken").await?;
    if global.json {
        return output::json(&Value::Array(items));
    }
    let row = |item: &Value| {
        let description =
            item.get("thingTypeProperties").map(|properties| member(properties, "thingTypeDescription"));
        vec![member(item, "thingTypeName"), state(item).into(), description.unwrap_or_default()]
    };
    output::table(&["type", "state", "description"], items.iter().map(row).collect())
}

async fn show(global: &Global, client: &Client, name: &str) -> anyhow::Result<Exit> {
    let found = client.get(&path(name)).await?;
    if global.json {
        return output::json(&found);
    }
    let empty = Value::Null;
    let of = |name: &str| found.get(name).unwrap_or(&empty);
    let searchable = of("thingTypeProperties").get("searchableAttributes").and_then(Value::as_array);
    let searchable: Vec<&str> = searchable.into_iter().flatten().filter_map(Value::as_str).collect();
    output::fields(&[
        ("type", optional(&found, "thingTypeName")),
        ("ARN", optional(&found, "thingTypeArn")),
        ("description", optional(of("thingTypeProperties"), "thingTypeDescription")),
        ("searchable", Some(searchable.join(", "))),
        ("state", Some(state(&found).into())),
        ("deprecated", time(of("thingTypeMetadata"), "deprecationDate")),
        ("created", time(of("thingTypeMetadata"), "creationDate")),
    ])
}

async fn deprecate(global: &Global, one: &One, undo: bool) -> anyhow::Result<Exit> {
    let path = format!("{}/deprecate", path(&one.name));
    connect(global, &one.target)?.post(&path, &json!({ "undoDeprecate": undo })).await?;
    let now = if undo { "in use again" } else { "deprecated" };
    output::done(global, &json!({}), &format!("thing type {} is {now}", one.name))
}
