//! `jitp cert`: the certificates of devices.
use super::{connect, issue, status};
use crate::args::{Global, Target};
use crate::client::{Client, encode};
use crate::complete;
use crate::confirm::Sure;
use crate::exit::Exit;
use crate::output::{self, member, optional, time};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Have the broker issue one, with a new key or for a signing request
    Create(issue::Certificate),
    /// List certificates
    List {
        /// Only those that this CA signed
        #[arg(long, value_name = "ID", add = complete::cas())]
        ca: Option<String>,
        #[command(flatten)]
        target: Target,
    },
    /// Show one, with its things and policies
    Show(One),
    /// Show which certificates it renews, and which renewed it
    Chain(One),
    /// Let its device connect
    Activate(One),
    /// Disconnect its device and keep it out until it is activated again
    Deactivate {
        #[command(flatten)]
        one: One,
        #[command(flatten)]
        sure: Sure,
    },
    /// Disconnect its device and keep it out for good
    Revoke {
        #[command(flatten)]
        one: One,
        #[command(flatten)]
        sure: Sure,
    },
    /// Delete one that is not active and has no things
    Delete {
        #[command(flatten)]
        one: One,
        /// Also if policies are attached to it
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        sure: Sure,
    },
}

#[derive(Debug, Args)]
pub struct One {
    /// The certificate's id
    #[arg(add = complete::certificates())]
    pub id: String,
    #[command(flatten)]
    pub target: Target,
}

pub async fn run(global: &Global, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Create(args) => issue::certificate(global, &args).await,
        Command::List { ca, target } => list(global, &connect(global, &target)?, ca.as_deref()).await,
        Command::Show(one) => show(global, &connect(global, &one.target)?, &one.id).await,
        Command::Chain(one) => chain(global, &connect(global, &one.target)?, &one.id).await,
        Command::Activate(one) => switch(global, &one, "ACTIVE").await,
        Command::Deactivate { one, sure } => {
            sure.about(&format!("Disconnect the device of the certificate {} and keep it out", one.id))?;
            switch(global, &one, "INACTIVE").await
        }
        Command::Revoke { one, sure } => {
            sure.about(&format!("Revoke the certificate {} for good", one.id))?;
            switch(global, &one, "REVOKED").await
        }
        Command::Delete { one: One { id, target }, force, sure } => {
            sure.about(&format!("Delete the certificate {id}"))?;
            let path = format!("/certificates/{}?forceDelete={force}", encode(&id));
            connect(global, &target)?.delete(&path).await?;
            output::done(global, &json!({}), &format!("certificate {id} is deleted"))
        }
    }
}

async fn list(global: &Global, client: &Client, ca: Option<&str>) -> anyhow::Result<Exit> {
    let path = match ca {
        Some(ca) => format!("/certificates-by-ca/{}?pageSize=250", encode(ca)),
        None => "/certificates?pageSize=250".into(),
    };
    let items = client.list(&path, "certificates", "nextMarker", "marker").await?;
    if global.json {
        return output::json(&Value::Array(items));
    }
    let row = |certificate: &Value| {
        vec![
            member(certificate, "certificateId"),
            member(certificate, "status"),
            time(certificate, "creationDate").unwrap_or_default(),
        ]
    };
    output::table(&["certificate id", "status", "created"], items.iter().map(row).collect())
}

async fn show(global: &Global, client: &Client, id: &str) -> anyhow::Result<Exit> {
    let reply = client.get(&format!("/certificates/{}", encode(id))).await?;
    let empty = Value::Null;
    let certificate = reply.get("certificateDescription").unwrap_or(&empty);
    let arn = member(certificate, "certificateArn");
    let attached =
        client.post(&format!("/attached-policies/{}?pageSize=250", encode(&arn)), &json!({})).await?;
    let policies: Vec<Value> = attached
        .get("policies")
        .and_then(Value::as_array)
        .map(|list| list.iter().filter_map(|policy| policy.get("policyName").cloned()).collect())
        .unwrap_or_default();
    if global.json {
        return output::json(&json!({ "certificateDescription": certificate, "policies": policies }));
    }
    let validity = certificate.get("validity").unwrap_or(&empty);
    let names: Vec<&str> = policies.iter().filter_map(Value::as_str).collect();
    output::fields(&[
        ("certificate id", optional(certificate, "certificateId")),
        ("ARN", Some(arn)),
        ("status", optional(certificate, "status")),
        ("CA certificate id", optional(certificate, "caCertificateId")),
        ("policies", Some(names.join(", "))),
        ("created", time(certificate, "creationDate")),
        ("modified", time(certificate, "lastModifiedDate")),
        ("valid from", time(validity, "notBefore")),
        ("valid to", time(validity, "notAfter")),
    ])
}

async fn chain(global: &Global, client: &Client, id: &str) -> anyhow::Result<Exit> {
    let reply = client.get(&format!("/jitp/v1/certificates/{}/renewals", encode(id))).await?;
    if global.json {
        return output::json(&reply);
    }
    let row = |link: &Value| {
        let at = |name| time(link, name).unwrap_or_default();
        let status = optional(link, "status").unwrap_or_else(|| "deleted".into());
        vec![member(link, "certificateId"), status, at("creationDate"), at("renewedDate"), at("retiredDate")]
    };
    let links = reply.get("certificates").and_then(Value::as_array);
    let rows = links.into_iter().flatten().map(row).collect();
    output::table(&["certificate id", "status", "created", "renewed", "retired"], rows)
}

async fn switch(global: &Global, one: &One, to: &str) -> anyhow::Result<Exit> {
    let subject =
        status::Subject { word: "certificate", collection: "certificates", id: &one.id, target: &one.target };
    status::set(global, &subject, to).await
}
