//! `jitp authorize`: may a device do this, and why?
use super::connect;
use crate::args::{Global, Target};
use crate::client::encode;
use crate::complete;
use crate::exit::Exit;
use crate::output::{self, member};
use clap::ValueEnum;
use serde_json::{Value, json};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Action {
    /// A client id
    Connect,
    /// A topic
    Publish,
    /// A topic
    Receive,
    /// A topic filter
    Subscribe,
}

impl Action {
    /// As in AWS's `actionType`, and the kind of its resources in ARNs.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Connect => ("CONNECT", "client"),
            Self::Publish => ("PUBLISH", "topic"),
            Self::Receive => ("RECEIVE", "topic"),
            Self::Subscribe => ("SUBSCRIBE", "topicfilter"),
        }
    }
}

/// Exit code 2: something of it is denied.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What it wants to do
    #[arg(value_enum)]
    pub action: Action,
    /// On what: client ids, topics or topic filters, at most ten
    #[arg(required = true, num_args = 1..=10, value_name = "NAME")]
    pub names: Vec<String>,
    /// The id of its certificate
    #[arg(long, value_name = "ID", add = complete::certificates())]
    pub certificate: Option<String>,
    /// The client id that it connects with
    #[arg(long, value_name = "ID")]
    pub client_id: Option<String>,
    /// Ask as if this policy were attached, too; may be repeated
    #[arg(long = "with-policy", value_name = "NAME", add = complete::policies())]
    pub with: Vec<String>,
    /// Ask as if this policy were not attached; may be repeated
    #[arg(long = "without-policy", value_name = "NAME", add = complete::policies())]
    pub without: Vec<String>,
    #[command(flatten)]
    pub target: Target,
}

pub async fn run(global: &Global, args: Args) -> anyhow::Result<Exit> {
    let client = connect(global, &args.target)?;
    let status = client.get("/jitp/v1/status").await?;
    let arn = |kind: &str, name: &str| {
        format!("arn:aws:iot:{}:{}:{kind}/{name}", args.target.region, member(&status, "account"))
    };
    let (action, kind) = args.action.words();
    let question = |name: &String| json!({ "actionType": action, "resources": [arn(kind, name)] });
    let body = json!({
        "principal": args.certificate.as_ref().map(|id| arn("cert", id)),
        "authInfos": args.names.iter().map(question).collect::<Vec<_>>(),
        "policyNamesToAdd": args.with,
        "policyNamesToSkip": args.without,
    });
    let client_id = args.client_id.map(|id| format!("?clientId={}", encode(&id))).unwrap_or_default();
    let mut reply = client.post(&format!("/test-authorization{client_id}"), &body).await?;
    let results = match reply.get_mut("authResults").map(Value::take) {
        Some(Value::Array(results)) => results,
        _ => Vec::new(),
    };
    let allowed = results.iter().all(|result| member(result, "authDecision") == "ALLOWED");
    if global.json {
        output::json(&Value::Array(results))?;
    } else {
        let row = |(name, result): (&String, &Value)| {
            vec![name.clone(), member(result, "authDecision"), because(result), missing(result)]
        };
        let rows = args.names.iter().zip(&results).map(row).collect();
        output::table(&[kind, "decision", "by", "unknown variables"], rows)?;
    }
    Ok(if allowed { Exit::Success } else { Exit::Denied })
}

/// The policies that made the decision.
fn because(result: &Value) -> String {
    let by = match member(result, "authDecision").as_str() {
        "ALLOWED" => "/allowed/policies",
        "EXPLICIT_DENY" => "/denied/explicitDeny/policies",
        _ => return "no statement".into(),
    };
    let policies = result.pointer(by).and_then(Value::as_array).into_iter().flatten();
    policies.map(|policy| member(policy, "policyName")).collect::<Vec<_>>().join(", ")
}

fn missing(result: &Value) -> String {
    let names = result.get("missingContextValues").and_then(Value::as_array).into_iter().flatten();
    names.filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
}
