//! `jitp approve` and `jitp reject`: decide about certificates that registered themselves and wait (`docs/jitr.md`).
use super::{connect, read};
use crate::args::{Global, Target};
use crate::client::{Client, encode};
use crate::exit::{Exit, InvalidInput};
use crate::json_lines::JsonLines;
use crate::output::{self, member, optional, time};
use crate::pending_rule::Rule;
use crate::progress;
use anyhow::Context;
use clap::Args;
use futures_util::{StreamExt, stream};
use jitp_certs::Certificate;
use serde_json::{Value, json};
use std::io::{IsTerminal, Write};
use std::path::PathBuf;

/// Decisions under way at one time.
const AT_A_TIME: usize = 16;

/// Which certificates. All that is given must hold.
#[derive(Debug, Args)]
pub struct Choice {
    /// Certificate ids
    #[arg(value_name = "ID")]
    pub ids: Vec<String>,
    /// Every one that waits
    #[arg(long, conflicts_with = "ids")]
    pub all: bool,
    /// Those of this CA
    #[arg(long, value_name = "ID", conflicts_with = "ids")]
    pub ca: Option<String>,
    /// Those whose subject has such an attribute, for example 'CN=plant-a-*'; may be repeated, then all must hold
    #[arg(long, value_name = "ATTRIBUTE=PATTERN", conflicts_with = "ids")]
    pub subject: Vec<String>,
    /// Those whose X.509 serial number is in the first column of this file (hexadecimal)
    #[arg(long, value_name = "FILE.csv", conflicts_with = "ids")]
    pub serials: Option<PathBuf>,
    /// Show which these are, and decide nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
    /// Go on deciding about certificates that come and are meant, until stopped
    #[arg(long, short, conflicts_with_all = ["ids", "dry_run"], requires = "yes")]
    pub follow: bool,
    #[command(flatten)]
    pub target: Target,
}

#[derive(Debug, Args)]
pub struct Approve {
    #[command(flatten)]
    pub choice: Choice,
    /// Run this template (of type JITP) for each, as a first connection would
    #[arg(long, value_name = "NAME")]
    pub template: Option<String>,
    /// Attach this policy to each; may be repeated
    #[arg(long = "policy", value_name = "NAME")]
    pub policies: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Reject {
    #[command(flatten)]
    pub choice: Choice,
    /// For ever: REVOKED instead of INACTIVE
    #[arg(long)]
    pub revoke: bool,
}

pub async fn approve(global: &Global, args: Approve) -> anyhow::Result<Exit> {
    let mut body = json!({ "policyNames": args.policies });
    if let (Some(template), Some(members)) = (args.template, body.as_object_mut()) {
        members.insert("templateName".into(), json!(template));
    }
    decide(global, &args.choice, &Decision { verb: "approve", body }).await
}

pub async fn reject(global: &Global, args: Reject) -> anyhow::Result<Exit> {
    let body = json!({ "revoke": args.revoke });
    decide(global, &args.choice, &Decision { verb: "reject", body }).await
}

/// What is done to each.
struct Decision {
    verb: &'static str,
    body: Value,
}

async fn decide(global: &Global, choice: &Choice, decision: &Decision) -> anyhow::Result<Exit> {
    let rule = rule(choice)?;
    let client = connect(global, &choice.target)?;
    // Before the list is read, so that nobody who comes meanwhile is missed.
    let coming = match choice.follow {
        true => Some(JsonLines::of(client.stream(&tail(choice)).await?)),
        false => None,
    };
    let waiting = waiting(&client, choice, &rule).await?;
    if choice.dry_run {
        return show(global, &waiting);
    }
    if !choice.yes && !waiting.is_empty() {
        confirm(decision.verb, &waiting)?;
    }
    let ids: Vec<String> = waiting.iter().map(|one| member(one, "certificateId")).collect();
    let results = all(&client, &ids, decision).await;
    let failed = results.iter().filter(|result| result.get("error").is_some()).count();
    let Some(coming) = coming else {
        report(global, decision, &results)?;
        return Ok(if failed == 0 { Exit::Success } else { Exit::Denied });
    };
    for result in &results {
        line(global, result)?;
    }
    follow(global, &client, coming, &rule, decision).await
}

fn rule(choice: &Choice) -> anyhow::Result<Rule> {
    let chosen = !choice.ids.is_empty() || choice.all || choice.ca.is_some();
    if !chosen && choice.subject.is_empty() && choice.serials.is_none() {
        let message = "which certificates? give ids, --ca, --subject, --serials, or --all";
        return Err(InvalidInput(message.into()).into());
    }
    let serials = choice.serials.as_ref().map(|file| read(file)).transpose()?;
    Rule::new(&choice.subject, serials.as_deref()).map_err(|message| InvalidInput(message).into())
}

/// Those that are meant.
async fn waiting(client: &Client, choice: &Choice, rule: &Rule) -> anyhow::Result<Vec<Value>> {
    if !choice.ids.is_empty() {
        let mut found = Vec::new();
        for id in &choice.ids {
            found.push(client.get(&format!("/jitp/v1/pending-certificates/{}", encode(id))).await?);
        }
        return Ok(found);
    }
    let ca = choice.ca.as_ref().map(|ca| format!("&caCertificateId={}", encode(ca))).unwrap_or_default();
    let path = format!("/jitp/v1/pending-certificates?maxResults=250{ca}");
    let mut all = client.list(&path, "certificates", "nextToken", "nextToken").await?;
    all.retain(|one| certificate(one).is_some_and(|certificate| rule.means(&certificate)));
    Ok(all)
}

fn certificate(one: &Value) -> Option<Certificate> {
    Certificate::from_pem(&member(one, "certificatePem")).ok()
}

fn show(global: &Global, waiting: &[Value]) -> anyhow::Result<Exit> {
    if global.json {
        return output::json(&Value::Array(waiting.to_vec()));
    }
    let row = |one: &Value| {
        let certificate = certificate(one);
        let text = |part: fn(&Certificate) -> String| certificate.as_ref().map(part).unwrap_or_default();
        vec![
            member(one, "certificateId"),
            text(|certificate| certificate.subject().to_string()),
            text(|certificate| certificate.serial_number().to_owned()),
            time(one, "creationDate").unwrap_or_default(),
            member(one, "lastError"),
        ]
    };
    let headings = ["certificate id", "subject", "serial number", "since", "last error"];
    output::table(&headings, waiting.iter().map(row).collect())
}

fn confirm(verb: &str, waiting: &[Value]) -> anyhow::Result<()> {
    if !std::io::stdin().is_terminal() {
        let message =
            format!("{} certificates are meant: see them with --dry-run, and add --yes", waiting.len());
        return Err(InvalidInput(message).into());
    }
    let mut out = std::io::stderr().lock();
    for one in waiting.iter().take(10) {
        let subject = certificate(one).map(|certificate| certificate.subject().to_string());
        writeln!(out, "{}  {}", member(one, "certificateId"), subject.unwrap_or_default())?;
    }
    if waiting.len() > 10 {
        writeln!(out, "and {} more", waiting.len() - 10)?;
    }
    write!(out, "{verb} {}? [y/N] ", waiting.len())?;
    out.flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    if answer.trim().eq_ignore_ascii_case("y") || answer.trim().eq_ignore_ascii_case("yes") {
        return Ok(());
    }
    Err(InvalidInput("nothing was decided".into()).into())
}

/// Decides about each; what comes back has a status, or an error.
async fn all(client: &Client, ids: &[String], decision: &Decision) -> Vec<Value> {
    let bar = progress::of_count(ids.len() as u64);
    let results = stream::iter(ids.iter().map(|id| async {
        let result = one(client, id, decision).await;
        bar.inc(1);
        result
    }));
    let results = results.buffered(AT_A_TIME).collect().await;
    bar.finish_and_clear();
    results
}

async fn one(client: &Client, id: &str, decision: &Decision) -> Value {
    let path = format!("/jitp/v1/pending-certificates/{}/{}", encode(id), decision.verb);
    match client.post(&path, &decision.body).await {
        Ok(result) => result,
        Err(error) => json!({ "certificateId": id, "error": format!("{error:#}") }),
    }
}

fn report(global: &Global, decision: &Decision, results: &[Value]) -> anyhow::Result<()> {
    if global.json {
        return output::json(&Value::Array(results.to_vec())).map(|_| ());
    }
    for result in results {
        line(global, result)?;
    }
    let failed = results.iter().filter(|result| result.get("error").is_some()).count();
    let done = if decision.verb == "approve" { "approved" } else { "rejected" };
    output::line(&format!("{} {done}, {failed} failed", results.len() - failed))
}

/// One result.
fn line(global: &Global, result: &Value) -> anyhow::Result<()> {
    if global.json {
        return output::line(&result.to_string());
    }
    let thing = optional(result, "thingName").map(|thing| format!("  thing {thing}")).unwrap_or_default();
    let what = optional(result, "error").unwrap_or_else(|| member(result, "status") + &thing);
    output::line(&format!("{}  {what}", member(result, "certificateId")))
}

/// The attempts of devices whose certificates wait.
fn tail(choice: &Choice) -> String {
    let ca = choice.ca.as_ref().map(|ca| format!("&caCertificateId={}", encode(ca))).unwrap_or_default();
    format!("/jitp/v1/attempts/tail?outcome=refused{ca}")
}

async fn follow(
    global: &Global,
    client: &Client,
    mut coming: JsonLines,
    rule: &Rule,
    decision: &Decision,
) -> anyhow::Result<Exit> {
    while let Some(text) = coming.next().await? {
        let attempt: Value =
            serde_json::from_str(&text).context("the broker sent a line that is not JSON")?;
        let waits = ["REGISTERED_PENDING_ACTIVATION", "DEVICE_CERTIFICATE_PENDING_ACTIVATION"];
        if !waits.contains(&member(&attempt, "reason").as_str()) {
            continue;
        }
        let id = member(&attempt, "certificateId");
        // It may have been decided about meanwhile.
        let Ok(one) = client.get(&format!("/jitp/v1/pending-certificates/{}", encode(&id))).await else {
            continue;
        };
        if certificate(&one).is_some_and(|certificate| rule.means(&certificate)) {
            line(global, &self::one(client, &id, decision).await)?;
        }
    }
    Ok(Exit::Success)
}
