//! `jitp attempts`: who tried to connect, and why they were let in or not.
use super::connect;
use crate::args::{Global, Target};
use crate::exit::Exit;
use crate::log_view::LogView;
use crate::output::{self, member, optional};
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
    let outcome = args.outcome.map(|outcome| match outcome {
        Outcome::Provisioned => "provisioned".to_owned(),
        Outcome::Refused => "refused".to_owned(),
    });
    let log = LogView {
        path: "/jitp/v1/attempts",
        member: "attempts",
        filter: vec![
            ("outcome", outcome),
            ("reason", args.reason),
            ("certificateId", args.certificate),
            ("caCertificateId", args.ca),
            ("clientId", args.client_id),
        ],
        describe,
    };
    if args.follow {
        log.follow(global, &client, None).await
    } else {
        log.list(global, &client, args.limit).await
    }
}

/// One attempt for a person: who, the answer, and below it why.
pub fn describe(attempt: &Value) -> String {
    let when = attempt.get("timestamp").and_then(Value::as_f64).unwrap_or_default() / 1000.0;
    let when = output::time(&serde_json::json!({ "t": when }), "t").unwrap_or_default();
    let who = optional(attempt, "clientId").unwrap_or_else(|| "-".into());
    let certificate: String = member(attempt, "certificateId").chars().take(12).collect();
    let mut text = format!(
        "{when}  {:11}  {:34}  client {who}  certificate {}\n    {}",
        member(attempt, "outcome"),
        member(attempt, "reason"),
        if certificate.is_empty() { "-" } else { &certificate },
        member(attempt, "message"),
    );
    for (label, name) in
        [("thing", "thingName"), ("resource", "failingResource"), ("at", "jsonPath"), ("subject", "subject")]
    {
        if let Some(value) = optional(attempt, name) {
            text.push_str(&format!("\n    {label}: {value}"));
        }
    }
    text
}
