//! `jitp attempts`: who tried to connect, and why they were let in or not.
use super::connect;
use crate::args::{Global, Target};
use crate::client::{Client, encode};
use crate::exit::Exit;
use crate::json_lines::JsonLines;
use crate::output::{self, member, optional};
use anyhow::Context;
use clap::ValueEnum;
use serde_json::Value;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Outcome {
    Provisioned,
    Refused,
}

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Go on printing attempts as they happen
    #[arg(long, short)]
    pub follow: bool,
    #[arg(long, value_enum)]
    pub outcome: Option<Outcome>,
    /// Only this reason code (docs/reason-codes.md)
    #[arg(long, value_name = "CODE")]
    pub reason: Option<String>,
    /// Only this certificate
    #[arg(long, value_name = "ID")]
    pub certificate: Option<String>,
    /// Only certificates of this CA
    #[arg(long, value_name = "ID")]
    pub ca: Option<String>,
    /// Only this client id
    #[arg(long, value_name = "ID")]
    pub client_id: Option<String>,
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
    let outcome = args.outcome.map(|outcome| match outcome {
        Outcome::Provisioned => "provisioned".to_owned(),
        Outcome::Refused => "refused".to_owned(),
    });
    [
        ("outcome", &outcome),
        ("reason", &args.reason),
        ("certificateId", &args.certificate),
        ("caCertificateId", &args.ca),
        ("clientId", &args.client_id),
    ]
    .into_iter()
    .filter_map(|(name, value)| value.as_ref().map(|value| format!("&{name}={}", encode(value))))
    .collect()
}

async fn list(global: &Global, client: &Client, args: &Args) -> anyhow::Result<Exit> {
    let reply = client.get(&format!("/jitp/v1/attempts?limit={}{}", args.limit, filter(args))).await?;
    let mut attempts = reply.get("attempts").and_then(Value::as_array).cloned().unwrap_or_default();
    attempts.reverse();
    if global.json {
        return output::json(&Value::Array(attempts));
    }
    if attempts.is_empty() {
        return output::text("none\n");
    }
    for attempt in &attempts {
        output::text(&describe(attempt))?;
    }
    Ok(Exit::Success)
}

async fn follow(global: &Global, client: &Client, args: &Args) -> anyhow::Result<Exit> {
    let filter = filter(args);
    let query =
        if filter.is_empty() { String::new() } else { format!("?{}", filter.trim_start_matches('&')) };
    let mut lines = JsonLines::of(client.stream(&format!("/jitp/v1/attempts/tail{query}")).await?);
    while let Some(line) = lines.next().await? {
        if global.json {
            output::line(&line)?;
        } else {
            output::text(&describe(
                &serde_json::from_str(&line).context("the broker sent a line that is not JSON")?,
            ))?;
        }
    }
    Ok(Exit::Success)
}

/// One attempt for a person: who, the answer, and below it why.
pub fn describe(attempt: &Value) -> String {
    let when = attempt.get("timestamp").and_then(Value::as_f64).unwrap_or_default() / 1000.0;
    let when = output::time(&serde_json::json!({ "t": when }), "t").unwrap_or_default();
    let who = optional(attempt, "clientId").unwrap_or_else(|| "-".into());
    let certificate: String = member(attempt, "certificateId").chars().take(12).collect();
    let mut text = format!(
        "{when}  {:11}  {:34}  client {who}  certificate {}\n    {}\n",
        member(attempt, "outcome"),
        member(attempt, "reason"),
        if certificate.is_empty() { "-" } else { &certificate },
        member(attempt, "message"),
    );
    for (label, name) in
        [("thing", "thingName"), ("resource", "failingResource"), ("at", "jsonPath"), ("subject", "subject")]
    {
        if let Some(value) = optional(attempt, name) {
            text.push_str(&format!("    {label}: {value}\n"));
        }
    }
    text
}
