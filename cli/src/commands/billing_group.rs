//! `jitp billing-group`: who pays for which thing.
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
    /// List billing groups
    List {
        #[command(flatten)]
        target: Target,
    },
    /// Show one, with its things
    Show(One),
    /// Create one
    Create {
        name: String,
        #[arg(long, value_name = "TEXT")]
        description: Option<String>,
        #[command(flatten)]
        target: Target,
    },
    /// Give one another description
    Update {
        #[arg(add = complete::billing_groups())]
        name: String,
        #[arg(long, value_name = "TEXT")]
        description: String,
        #[command(flatten)]
        target: Target,
    },
    /// Delete one; its things are then in none
    Delete {
        #[command(flatten)]
        one: One,
        #[command(flatten)]
        sure: Sure,
    },
    /// Put a thing into a billing group, out of the one that it is in
    Add(Membership),
    /// Take a thing out of its billing group
    Remove(Membership),
}

#[derive(Debug, Args)]
pub struct One {
    #[arg(add = complete::billing_groups())]
    pub name: String,
    #[command(flatten)]
    pub target: Target,
}

#[derive(Debug, Args)]
pub struct Membership {
    #[arg(add = complete::billing_groups())]
    pub group: String,
    #[arg(add = complete::things())]
    pub thing: String,
    #[command(flatten)]
    pub target: Target,
}

pub async fn run(global: &Global, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::List { target } => list(global, &connect(global, &target)?).await,
        Command::Show(one) => show(global, &connect(global, &one.target)?, &one.name).await,
        Command::Create { name, description, target } => {
            let body = json!({ "billingGroupProperties": { "billingGroupDescription": description } });
            let reply = connect(global, &target)?.post(&path(&name), &body).await?;
            output::done(global, &reply, &member(&reply, "billingGroupArn"))
        }
        Command::Update { name, description, target } => {
            let body = json!({ "billingGroupProperties": { "billingGroupDescription": description } });
            let reply = connect(global, &target)?.patch(&path(&name), &body).await?;
            let sentence = format!("billing group {name} has version {}", member(&reply, "version"));
            output::done(global, &reply, &sentence)
        }
        Command::Delete { one: One { name, target }, sure } => {
            sure.about(&format!("Delete the billing group {name}"))?;
            connect(global, &target)?.delete(&path(&name)).await?;
            output::done(global, &json!({}), &format!("billing group {name} is deleted"))
        }
        Command::Add(membership) => change(global, &membership, "addThingToBillingGroup", "in").await,
        Command::Remove(membership) => {
            change(global, &membership, "removeThingFromBillingGroup", "no longer in").await
        }
    }
}

fn path(name: &str) -> String {
    format!("/billing-groups/{}", encode(name))
}

async fn list(global: &Global, client: &Client) -> anyhow::Result<Exit> {
    let path = "/billing-groups?maxResults=250";
    let items = client.list(path, "billingGroups", "nextToken", "nextToken").await?;
    if global.json {
        return output::json(&Value::Array(items));
    }
    let row = |group: &Value| vec![member(group, "groupName"), member(group, "groupArn")];
    output::table(&["billing group", "arn"], items.iter().map(row).collect())
}

async fn show(global: &Global, client: &Client, name: &str) -> anyhow::Result<Exit> {
    let path = path(name);
    let group = client.get(&path).await?;
    let things =
        client.list(&format!("{path}/things?maxResults=250"), "things", "nextToken", "nextToken").await?;
    if global.json {
        return output::json(&json!({ "billingGroup": group, "things": things }));
    }
    let empty = Value::Null;
    let of = |name: &str| group.get(name).unwrap_or(&empty);
    let names: Vec<&str> = things.iter().filter_map(Value::as_str).collect();
    output::fields(&[
        ("billing group", optional(&group, "billingGroupName")),
        ("ARN", optional(&group, "billingGroupArn")),
        ("description", optional(of("billingGroupProperties"), "billingGroupDescription")),
        ("created", time(of("billingGroupMetadata"), "creationDate")),
        ("version", optional(&group, "version")),
        ("things", Some(names.join(", "))),
    ])
}

async fn change(global: &Global, membership: &Membership, verb: &str, now: &str) -> anyhow::Result<Exit> {
    let Membership { group, thing, target } = membership;
    let body = json!({ "billingGroupName": group, "thingName": thing });
    connect(global, target)?.put(&format!("/billing-groups/{verb}"), &body).await?;
    output::done(global, &json!({}), &format!("thing {thing} is {now} the billing group {group}"))
}
