//! `jitp search`: things by a query of fleet indexing.
use super::connect;
use crate::args::{Global, Target};
use crate::exit::Exit;
use crate::output::{self, member};
use serde_json::{Value, json};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// For example 'thingName:pump-* AND attributes.line:7' (docs/api.md)
    pub query: String,
    /// At most this many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub limit: u32,
    #[command(flatten)]
    pub target: Target,
}

/// Most that the API gives at a time.
const PAGE: usize = 250;

pub async fn run(global: &Global, args: Args) -> anyhow::Result<Exit> {
    let client = connect(global, &args.target)?;
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let mut things = Vec::new();
    let mut token = Value::Null;
    while things.len() < limit {
        let page = PAGE.min(limit - things.len());
        let body = json!({ "queryString": args.query, "maxResults": page, "nextToken": token });
        let mut reply = client.post("/indices/search", &body).await?;
        if let Some(Value::Array(more)) = reply.get_mut("things").map(Value::take) {
            things.extend(more);
        }
        match reply.get_mut("nextToken").map(Value::take) {
            Some(next) if !next.is_null() => token = next,
            _ => break,
        }
    }
    if global.json {
        return output::json(&Value::Array(things));
    }
    let row = |thing: &Value| {
        let connected = match thing.pointer("/connectivity/connected").and_then(Value::as_bool) {
            Some(true) => "yes",
            Some(false) => "no",
            None => "",
        };
        vec![
            member(thing, "thingName"),
            member(thing, "thingTypeName"),
            super::thing::attributes(thing),
            connected.into(),
        ]
    };
    output::table(&["thing", "type", "attributes", "connected"], things.iter().map(row).collect())
}
