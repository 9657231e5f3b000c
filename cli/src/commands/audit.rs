//! `jitp audit`: which calls of the API changed something, or tried to.
use super::connect;
use crate::args::{Global, Target};
use crate::exit::Exit;
use crate::log_view::LogView;
use crate::moment::Moment;
use crate::output::{self, member};
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

/// With `--since` what is there already comes first when following.
pub async fn run(global: &Global, args: Args) -> anyhow::Result<Exit> {
    let client = connect(global, &args.target)?;
    let after = args.since.map(|_| 0);
    let log = LogView {
        path: "/jitp/v1/audit",
        member: "records",
        filter: vec![
            ("accessKeyId", args.key),
            ("operation", args.operation),
            ("since", args.since.map(|moment| moment.0.to_string())),
        ],
        describe,
    };
    if args.follow {
        log.follow(global, &client, after).await
    } else {
        log.list(global, &client, args.limit).await
    }
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
