//! `jitp indexing`: what can be searched.
use super::connect;
use crate::args::{Global, Target};
use crate::exit::Exit;
use crate::output::{self, optional};
use clap::Subcommand;
use serde_json::{Value, json};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show what can be searched
    Show {
        #[command(flatten)]
        target: Target,
    },
    /// Let things be searched, and dynamic groups be
    Enable {
        /// Also by whether they are connected
        #[arg(long)]
        connectivity: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Let nothing be searched
    Disable {
        #[command(flatten)]
        target: Target,
    },
}

pub async fn run(global: &Global, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Show { target } => {
            let reply = connect(global, &target)?.get("/indexing/config").await?;
            let things = reply.get("thingIndexingConfiguration").cloned().unwrap_or_default();
            if global.json {
                return output::json(&things);
            }
            let names = |member: &str| {
                let fields = things.get(member).and_then(Value::as_array).into_iter().flatten();
                fields.filter_map(|field| optional(field, "name")).collect::<Vec<_>>().join(", ")
            };
            output::fields(&[
                ("things", optional(&things, "thingIndexingMode")),
                ("connectivity", optional(&things, "thingConnectivityIndexingMode")),
                ("fields", Some(names("managedFields"))),
                ("custom fields", Some(names("customFields"))),
            ])
        }
        Command::Enable { connectivity, target } => {
            let connectivity = if connectivity { "STATUS" } else { "OFF" };
            set(global, &target, "REGISTRY", connectivity).await
        }
        Command::Disable { target } => set(global, &target, "OFF", "OFF").await,
    }
}

async fn set(global: &Global, target: &Target, things: &str, connectivity: &str) -> anyhow::Result<Exit> {
    let body = json!({ "thingIndexingConfiguration": {
        "thingIndexingMode": things,
        "thingConnectivityIndexingMode": connectivity,
    } });
    connect(global, target)?.post("/indexing/config", &body).await?;
    output::done(
        global,
        &json!({}),
        &format!("indexing of things is {things}, of connectivity {connectivity}"),
    )
}
