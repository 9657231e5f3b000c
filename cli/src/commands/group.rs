//! `jitp group`: thing groups, static ones and those that are the answer to a query.
use super::connect;
use crate::args::{Global, Target};
use crate::client::{Client, encode};
use crate::complete;
use crate::confirm::Sure;
use crate::exit::Exit;
use crate::output::{self, member, optional, time};
use crate::pair::{object, pair};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List groups
    List {
        /// Only those below this one
        #[arg(long, value_name = "NAME", add = complete::thing_groups())]
        parent: Option<String>,
        #[command(flatten)]
        target: Target,
    },
    /// Show one, with its things
    Show(One),
    /// Create one; with --query its things are those that match
    Create {
        name: String,
        /// The group that it is below
        #[arg(long, value_name = "NAME", conflicts_with = "query", add = complete::thing_groups())]
        parent: Option<String>,
        /// Which things are in it, for example attributes.line:7
        #[arg(long)]
        query: Option<String>,
        #[command(flatten)]
        properties: Properties,
        #[command(flatten)]
        target: Target,
    },
    /// Change one: what is given; attributes that are given are added, an empty value removes one
    Update {
        #[arg(add = complete::thing_groups())]
        name: String,
        /// Of a group that has one
        #[arg(long)]
        query: Option<String>,
        #[command(flatten)]
        properties: Properties,
        #[command(flatten)]
        target: Target,
    },
    /// Delete one that has none below it
    Delete {
        #[command(flatten)]
        one: One,
        #[command(flatten)]
        sure: Sure,
    },
    /// Put a thing into a group
    Add(Membership),
    /// Take a thing out of a group
    Remove(Membership),
}

#[derive(Debug, Args)]
pub struct One {
    #[arg(add = complete::thing_groups())]
    pub name: String,
    #[command(flatten)]
    pub target: Target,
}

#[derive(Debug, Args)]
pub struct Properties {
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    /// May be repeated
    #[arg(long = "attribute", value_name = "NAME=VALUE", value_parser = pair)]
    pub attributes: Vec<(String, String)>,
}

impl Properties {
    fn json(&self, merge: bool) -> Value {
        let attributes = object(&self.attributes).map(|attributes| {
            if merge {
                json!({ "attributes": attributes, "merge": true })
            } else {
                json!({ "attributes": attributes })
            }
        });
        json!({ "thingGroupDescription": self.description, "attributePayload": attributes })
    }
}

#[derive(Debug, Args)]
pub struct Membership {
    #[arg(add = complete::thing_groups())]
    pub group: String,
    #[arg(add = complete::things())]
    pub thing: String,
    #[command(flatten)]
    pub target: Target,
}

pub async fn run(global: &Global, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::List { parent, target } => list(global, &connect(global, &target)?, parent.as_deref()).await,
        Command::Show(one) => show(global, &connect(global, &one.target)?, &one.name).await,
        Command::Create { name, parent, query, properties, target } => {
            let body = json!({
                "parentGroupName": parent,
                "queryString": query,
                "thingGroupProperties": properties.json(false),
            });
            let path = path(&name, query.is_some());
            let reply = connect(global, &target)?.post(&path, &body).await?;
            output::done(global, &reply, &member(&reply, "thingGroupArn"))
        }
        Command::Update { name, query, properties, target } => {
            let client = connect(global, &target)?;
            let dynamic = is_dynamic(&client.get(&path(&name, false)).await?);
            let body = json!({ "queryString": query, "thingGroupProperties": properties.json(true) });
            let reply = client.patch(&path(&name, dynamic || query.is_some()), &body).await?;
            output::done(global, &reply, &format!("group {name} has version {}", member(&reply, "version")))
        }
        Command::Delete { one: One { name, target }, sure } => {
            sure.about(&format!("Delete the thing group {name}"))?;
            let client = connect(global, &target)?;
            let dynamic = is_dynamic(&client.get(&path(&name, false)).await?);
            client.delete(&path(&name, dynamic)).await?;
            output::done(global, &json!({}), &format!("group {name} is deleted"))
        }
        Command::Add(membership) => change(global, &membership, "addThingToThingGroup", "in").await,
        Command::Remove(membership) => {
            change(global, &membership, "removeThingFromThingGroup", "no longer in").await
        }
    }
}

fn path(name: &str, dynamic: bool) -> String {
    let collection = if dynamic { "dynamic-thing-groups" } else { "thing-groups" };
    format!("/{collection}/{}", encode(name))
}

fn is_dynamic(group: &Value) -> bool {
    optional(group, "queryString").is_some()
}

async fn list(global: &Global, client: &Client, parent: Option<&str>) -> anyhow::Result<Exit> {
    let below = parent.map(|name| format!("&parentGroup={}", encode(name))).unwrap_or_default();
    let path = format!("/thing-groups?maxResults=250{below}");
    let items = client.list(&path, "thingGroups", "nextToken", "nextToken").await?;
    if global.json {
        return output::json(&Value::Array(items));
    }
    let row = |group: &Value| vec![member(group, "groupName"), member(group, "groupArn")];
    output::table(&["group", "arn"], items.iter().map(row).collect())
}

async fn show(global: &Global, client: &Client, name: &str) -> anyhow::Result<Exit> {
    let path = path(name, false);
    let group = client.get(&path).await?;
    let things =
        client.list(&format!("{path}/things?maxResults=250"), "things", "nextToken", "nextToken").await?;
    if global.json {
        return output::json(&json!({ "group": group, "things": things }));
    }
    let empty = Value::Null;
    let of = |name: &str| group.get(name).unwrap_or(&empty);
    let names: Vec<&str> = things.iter().filter_map(Value::as_str).collect();
    output::fields(&[
        ("group", optional(&group, "thingGroupName")),
        ("ARN", optional(&group, "thingGroupArn")),
        ("description", optional(of("thingGroupProperties"), "thingGroupDescription")),
        ("parent", optional(of("thingGroupMetadata"), "parentGroupName")),
        ("query", optional(&group, "queryString")),
        ("created", time(of("thingGroupMetadata"), "creationDate")),
        ("version", optional(&group, "version")),
        ("things", Some(names.join(", "))),
    ])
}

async fn change(global: &Global, membership: &Membership, verb: &str, now: &str) -> anyhow::Result<Exit> {
    let Membership { group, thing, target } = membership;
    let body = json!({ "thingGroupName": group, "thingName": thing });
    connect(global, target)?.put(&format!("/thing-groups/{verb}"), &body).await?;
    output::done(global, &json!({}), &format!("thing {thing} is {now} the group {group}"))
}
