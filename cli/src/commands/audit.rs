//! `jitp audit`: which calls of the API changed something, or tried to.
use super::connect;
use crate::args::{Global, Target};
use crate::client::{Client, encode};
use crate::exit::Exit;
use crate::json_lines::JsonLines;
use crate::moment::Moment;
use crate::output::{self, member};
use anyhow::Context;
use serde_json::Value;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Go on printing calls as they happen
    #[arg(long, short)]
    pub follow: bool,
    /// Only calls since then: a time (2026-01-31T12:00:00Z), or how long ago (90s, 15m, 24h, 7d)
    #[arg(long, value_name = "WHEN", value_parser = Moment::parse)]
    pub since: Option<Moment>,
    /// Only calls of this access key
    #[arg(long, value_name = "ID")]
    pub key: Option<String>,
    /// Only calls of this operation, for example RegisterCACertificate
    #[arg(long, value_name = "NAME")]
    pub operation: Option<String>,
    /// At most this many, newest last
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,
    #[command(flatten)]
    pub target: Target,
}

pub async fn run(global: &Global, args: Args) -> anyhow::Result<Exit> {
    let client = connect(global, &args.target)?;
    if args.follow { follow(global, &client, &args).await } else { list(global, &client, &args).await }
}

fn filter(args: &Args) -> String {
    let since = args.since.map(|moment| moment.0.to_string());
    [("accessKeyId", &args.key), ("operation", &args.operation), ("since", &since)]
        .into_iter()
        .filter_map(|(name, value)| value.as_ref().map(|value| format!("&{name}={}", encode(value))))
        .collect()
}

async fn list(global: &Global, client: &Client, args: &Args) -> anyhow::Result<Exit> {
    let mut reply = client.get(&format!("/jitp/v1/audit?limit={}{}", args.limit, filter(args))).await?;
    let mut records = match reply.get_mut("records").map(Value::take) {
        Some(Value::Array(records)) => records,
        _ => Vec::new(),
    };
    records.reverse();
    if global.json {
        return output::json(&Value::Array(records));
    }
    if records.is_empty() {
        return output::text("none\n");
    }
    for record in &records {
        output::line(&describe(record))?;
    }
    Ok(Exit::Success)
}

/// With `--since` what is there already comes first.
async fn follow(global: &Global, client: &Client, args: &Args) -> anyhow::Result<Exit> {
    let after = if args.since.is_some() { "&after=0" } else { "" };
    let query = format!("{after}{}", filter(args));
    let query = if query.is_empty() { query } else { format!("?{}", query.trim_start_matches('&')) };
    let mut lines = JsonLines::of(client.stream(&format!("/jitp/v1/audit/tail{query}")).await?);
    while let Some(line) = lines.next().await? {
        if global.json {
            output::line(&line)?;
        } else {
            let record = serde_json::from_str(&line).context("the broker sent a line that is not JSON")?;
            output::line(&describe(&record))?;
        }
    }
    Ok(Exit::Success)
}

/// One call for a person: when, who, from where, what, on what, and the answer.
fn describe(record: &Value) -> String {
    let when = record.get("timestamp").and_then(Value::as_f64).unwrap_or_default() / 1000.0;
    let when = output::time(&serde_json::json!({ "t": when }), "t").unwrap_or_default();
    let resources: Vec<String> = record
        .get("resources")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default()))
        .collect();
    let result = output::optional(record, "error").unwrap_or_else(|| "done".into());
    format!(
        "{when}  {}  {}  {}  {result}  {}",
        member(record, "accessKeyId"),
        member(record, "sourceIp"),
        member(record, "operation"),
        resources.join(" "),
    )
    .trim_end()
    .to_owned()
}
