//! `jitp replay`: what would another version of a template have decided? Nothing is written.
use super::connect;
use crate::args::{Global, Target};
use crate::exit::Exit;
use crate::moment::Moment;
use crate::output::{self, member, optional};
use serde_json::{Value, json};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The template
    #[arg(long, value_name = "NAME")]
    pub template: String,
    /// Its version that is tried
    #[arg(long, value_name = "N")]
    pub version: u32,
    /// The attempts since then: a time (2026-01-31T12:00:00Z), or how long ago (90s, 15m, 24h, 7d)
    #[arg(long, value_name = "WHEN", value_parser = Moment::parse, default_value = "7d")]
    pub since: Moment,
    #[command(flatten)]
    pub target: Target,
}

/// The answer is no when anything would have been decided otherwise.
pub async fn run(global: &Global, args: Args) -> anyhow::Result<Exit> {
    let client = connect(global, &args.target)?;
    let mut request = json!({
        "templateName": args.template, "versionId": args.version, "since": args.since.0, "limit": 1000,
    });
    let (mut compared, mut differences) = (0, Vec::new());
    loop {
        let page = client.post("/jitp/v1/replay", &request).await?;
        compared += page.get("compared").and_then(Value::as_u64).unwrap_or(0);
        differences.extend(page.get("differences").and_then(Value::as_array).cloned().unwrap_or_default());
        let Some(next) = page.get("nextBefore").filter(|next| !next.is_null()) else { break };
        if let Some(members) = request.as_object_mut() {
            members.insert("before".into(), next.clone());
        }
    }
    let exit = if differences.is_empty() { Exit::Success } else { Exit::Denied };
    if global.json {
        output::json(&json!({ "compared": compared, "differences": differences }))?;
        return Ok(exit);
    }
    for difference in &differences {
        output::text(&describe(difference))?;
    }
    output::line(&format!(
        "{} of {compared} attempts would have been decided otherwise by version {} of {}",
        differences.len(),
        args.version,
        args.template
    ))?;
    Ok(exit)
}

/// One difference for a person: who, and below it what.
fn describe(difference: &Value) -> String {
    let when = difference.get("timestamp").and_then(Value::as_f64).unwrap_or_default() / 1000.0;
    let when = output::time(&json!({ "t": when }), "t").unwrap_or_default();
    let who = optional(difference, "subject").unwrap_or_else(|| member(difference, "certificateId"));
    let version =
        optional(difference, "templateVersion").map(|v| format!("  version {v}")).unwrap_or_default();
    let mut text = format!("{when}  {who}{version}\n");
    for change in difference.get("changes").and_then(Value::as_array).into_iter().flatten() {
        let part = |name| optional(change, name).unwrap_or_else(|| "-".into());
        text.push_str(&format!("    {}: {} → {}\n", member(change, "what"), part("was"), part("wouldBe")));
    }
    if let Some(why) = optional(difference, "uncertain") {
        text.push_str(&format!("    uncertain: {why}\n"));
    }
    text
}
