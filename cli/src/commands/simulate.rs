//! `jitp simulate`: the dry run. Without a broker the Plan or every problem; with one also what exists already, which
//! overrides would act, and what the device would be allowed to do.
use super::template::{Kind, parse};
use super::{connect, read};
use crate::args::{Global, Target};
use crate::exit::{Exit, InvalidInput};
use crate::output;
use jitp_certs::{Attribute, Certificate};
use jitp_templates::{Parameters, Plan, PolicySource};
use serde_json::{Value, json};
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The template
    #[arg(long, value_name = "FILE")]
    pub template: PathBuf,
    /// The device's certificate
    #[arg(long, value_name = "PEM")]
    pub certificate: PathBuf,
    /// Ask this broker's API what exists already
    #[arg(long, value_name = "URL")]
    pub against: Option<String>,
    /// The region to sign for: that of the broker
    #[arg(long, env = "JITP_REGION", default_value = "us-east-1")]
    pub region: String,
    /// With https: the CA of the API's certificate (PEM) [default: server-ca.pem in the data directory]
    #[arg(long, value_name = "FILE", env = "JITP_API_CA")]
    pub api_ca: Option<PathBuf>,
}

pub async fn run(global: &Global, args: Args) -> anyhow::Result<Exit> {
    let body = read(&args.template)?;
    let pem = read(&args.certificate)?;
    let template = parse(&body, Kind::Jitp)?;
    let certificate = Certificate::from_pem(&pem)
        .map_err(|error| InvalidInput(format!("{}: {error}", args.certificate.display())))?;
    let plan = match template.evaluate(&parameters(&certificate)) {
        Ok(plan) => plan,
        Err(error) => {
            if global.json {
                output::json(&json!({ "wouldSucceed": false, "problems": error.0 }))?;
            } else {
                output::line(&format!(
                    "this certificate would not be provisioned: {} problem(s)",
                    error.0.len()
                ))?;
                for problem in &error.0 {
                    output::line(&format!("  {}: {}", problem.path, problem.message))?;
                }
            }
            return Ok(Exit::Denied);
        }
    };
    match &args.against {
        None if global.json => output::json(&json!({ "wouldSucceed": true, "plan": plan })),
        None => output::text(&describe(&plan)),
        Some(url) => {
            let target = Target { url: url.clone(), region: args.region, api_ca: args.api_ca };
            against(global, &target, &body, &pem, &plan).await
        }
    }
}

/// What JITP would bind (`spec/jitp.md` section 6).
fn parameters(certificate: &Certificate) -> Parameters {
    let subject = [
        ("Country", Attribute::Country),
        ("Organization", Attribute::Organization),
        ("OrganizationalUnit", Attribute::OrganizationalUnit),
        ("DistinguishedNameQualifier", Attribute::DistinguishedNameQualifier),
        ("StateName", Attribute::State),
        ("CommonName", Attribute::CommonName),
        ("SerialNumber", Attribute::SerialNumber),
    ];
    let named = |(name, attribute)| {
        let value = certificate.subject().first(attribute)?;
        Some((format!("AWS::IoT::Certificate::{name}"), value.to_owned()))
    };
    let id = ("AWS::IoT::Certificate::Id".to_owned(), certificate.id().to_string());
    subject.into_iter().filter_map(named).chain([id]).collect()
}

async fn against(
    global: &Global,
    target: &Target,
    body: &str,
    pem: &str,
    plan: &Plan,
) -> anyhow::Result<Exit> {
    let client = connect(global, target)?;
    let request = json!({ "templateBody": body, "certificatePem": pem });
    let reply = client.post("/jitp/v1/simulate", &request).await?;
    let failure = reply.get("failure").filter(|failure| !failure.is_null());
    let exit = if failure.is_some() { Exit::Denied } else { Exit::Success };
    if global.json {
        output::json(&reply)?;
        return Ok(exit);
    }
    output::text(&describe(plan))?;
    output::line("\nagainst this broker")?;
    for existing in reply.get("existing").and_then(Value::as_array).into_iter().flatten() {
        output::line(&format!(
            "  {}: {}",
            output::member(existing, "what"),
            output::member(existing, "effect")
        ))?;
    }
    if let Some(failure) = failure {
        output::line(&format!("\nit would fail: {}", failure_text(failure)))?;
    }
    if let Some(permissions) = reply.get("permissions") {
        output::text(&permissions_text(permissions))?;
    }
    Ok(exit)
}

/// Effective permissions, a statement a paragraph: what, on what, and whose.
fn permissions_text(permissions: &Value) -> String {
    let list = |name| permissions.get(name).and_then(Value::as_array).into_iter().flatten();
    let words = |statement: &Value, name: &str| -> Vec<String> {
        let items = statement.get(name).and_then(Value::as_array).into_iter().flatten();
        items.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let mut text = String::from("\nthe device could\n");
    if list("statements").next().is_none() {
        text.push_str("  do nothing\n");
    }
    for statement in list("statements") {
        let effect = if output::member(statement, "effect") == "Deny" { "never " } else { "" };
        text.push_str(&format!("  {effect}{}\n", words(statement, "actions").join(", ")));
        for (label, name) in [("on", "resources"), ("on anything but", "notResources")] {
            for resource in words(statement, name) {
                text.push_str(&format!("    {label} {resource}\n"));
            }
        }
        text.push_str(&format!("    by {}\n", source(statement)));
    }
    for statement in list("notApplicable") {
        text.push_str(&format!(
            "  not used: {}: {}\n",
            source(statement),
            output::member(statement, "reason")
        ));
    }
    text
}

fn source(statement: &Value) -> String {
    let named = match output::optional(statement, "sid") {
        Some(sid) => format!("statement {sid:?}"),
        None => format!("statement {}", output::member(statement, "index")),
    };
    let (policy, version) = (output::member(statement, "policy"), output::member(statement, "version"));
    format!("{named} of policy {policy} version {version}")
}

fn failure_text(failure: &Value) -> String {
    let parts: Vec<&str> =
        failure.as_array().map(|list| list.iter().filter_map(Value::as_str).collect()).unwrap_or_default();
    if parts.is_empty() { failure.to_string() } else { parts.join(": ") }
}

fn describe(plan: &Plan) -> String {
    let mut text = String::from("this certificate would be provisioned\n");
    let mut line = |label: &str, value: String| text.push_str(&format!("  {label:14} {value}\n"));
    if let Some(thing) = &plan.thing {
        line("thing", thing.name.to_string());
        if let Some(kind) = &thing.thing_type {
            line("thing type", kind.to_string());
        }
        for (name, value) in thing.attributes.iter().flatten() {
            line("attribute", format!("{name}={value}"));
        }
        for group in thing.groups.iter().flatten() {
            line("thing group", group.to_string());
        }
        if let Some(group) = &thing.billing_group {
            line("billing group", group.to_string());
        }
    }
    if let Some(certificate) = &plan.certificate {
        let status = match certificate.status {
            Some(jitp_templates::CertificateStatus::Inactive) => "INACTIVE",
            Some(jitp_templates::CertificateStatus::Active) | None => "ACTIVE",
        };
        line("certificate", status.into());
    }
    for policy in &plan.policies {
        let kind = match policy.source {
            PolicySource::Existing => "must exist",
            PolicySource::Inline { .. } => "made from the template",
        };
        line("policy", format!("{} ({kind})", policy.name));
    }
    text
}
