//! `jitp retained`: the messages that are kept for later subscribers.
use super::connect;
use crate::args::{Global, Target};
use crate::client::encode;
use crate::complete;
use crate::confirm::Sure;
use crate::exit::Exit;
use crate::output::{self, member, time};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::Subcommand;
use serde_json::{Value, json};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List their topics
    List {
        #[command(flatten)]
        target: Target,
    },
    /// Show one; with --json its payload is base64
    Show {
        #[arg(add = complete::retained())]
        topic: String,
        #[command(flatten)]
        target: Target,
    },
    /// Remove one
    Delete {
        #[arg(add = complete::retained())]
        topic: String,
        #[command(flatten)]
        sure: Sure,
        #[command(flatten)]
        target: Target,
    },
}

pub async fn run(global: &Global, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::List { target } => {
            let client = connect(global, &target)?;
            let path = "/retainedMessage?maxResults=200";
            let items = client.list(path, "retainedTopics", "nextToken", "nextToken").await?;
            if global.json {
                return output::json(&Value::Array(items));
            }
            let row = |item: &Value| {
                vec![member(item, "topic"), member(item, "payloadSize"), member(item, "qos"), modified(item)]
            };
            output::table(&["topic", "bytes", "qos", "since"], items.iter().map(row).collect())
        }
        Command::Show { topic, target } => {
            let path = format!("/retainedMessage/{}", encode(&topic));
            let found = connect(global, &target)?.get(&path).await?;
            if global.json {
                return output::json(&found);
            }
            let payload = BASE64.decode(member(&found, "payload")).unwrap_or_default();
            output::fields(&[
                ("topic", Some(topic)),
                ("qos", Some(member(&found, "qos"))),
                ("since", Some(modified(&found))),
            ])?;
            output::text(&format!("\n{}\n", String::from_utf8_lossy(&payload)))
        }
        Command::Delete { topic, sure, target } => {
            sure.about(&format!("Remove the message that is retained on {topic}"))?;
            let path = format!("/topics/{}?qos=1&retain=true", encode(&topic));
            connect(global, &target)?.post_bytes(&path, Vec::new()).await?;
            output::done(global, &json!({}), &format!("nothing is retained on {topic} any more"))
        }
    }
}

/// When it was retained: of the data plane, so in milliseconds.
fn modified(message: &Value) -> String {
    let seconds = message.get("lastModifiedTime").and_then(Value::as_f64).unwrap_or_default() / 1000.0;
    time(&json!({ "t": seconds }), "t").unwrap_or_default()
}
