//! `jitp events`: which changes of the registry are told on topics.
use super::connect;
use crate::args::{Global, Target};
use crate::exit::Exit;
use crate::output;
use clap::Subcommand;
use serde_json::{Map, Value, json};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show which kinds of events are on
    Show {
        #[command(flatten)]
        target: Target,
    },
    /// Switch kinds of events on
    Enable(Kinds),
    /// Switch kinds of events off
    Disable(Kinds),
}

#[derive(Debug, clap::Args)]
pub struct Kinds {
    /// For example THING; `jitp events show` lists them all
    #[arg(required = true, value_name = "KIND")]
    pub kinds: Vec<String>,
    #[command(flatten)]
    pub target: Target,
}

pub async fn run(global: &Global, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Show { target } => {
            let reply = connect(global, &target)?.get("/event-configurations").await?;
            let kinds = reply.get("eventConfigurations").cloned().unwrap_or_default();
            if global.json {
                return output::json(&kinds);
            }
            let row = |(kind, setting): (&String, &Value)| {
                let on = setting.get("Enabled").and_then(Value::as_bool).unwrap_or_default();
                vec![kind.clone(), if on { "on" } else { "off" }.into()]
            };
            output::table(&["events", "state"], kinds.as_object().into_iter().flatten().map(row).collect())
        }
        Command::Enable(kinds) => switch(global, kinds, true).await,
        Command::Disable(kinds) => switch(global, kinds, false).await,
    }
}

async fn switch(global: &Global, Kinds { kinds, target }: Kinds, on: bool) -> anyhow::Result<Exit> {
    let settings: Map<String, Value> =
        kinds.iter().map(|kind| (kind.to_uppercase(), json!({ "Enabled": on }))).collect();
    let body = json!({ "eventConfigurations": settings });
    connect(global, &target)?.patch("/event-configurations", &body).await?;
    let state = if on { "on" } else { "off" };
    output::done(global, &json!({}), &format!("{} is {state}", kinds.join(", ").to_uppercase()))
}
