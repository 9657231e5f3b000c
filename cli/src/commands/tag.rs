//! `jitp tag`: what operators note on resources.
use super::connect;
use crate::args::{Global, Target};
use crate::client::encode;
use crate::exit::Exit;
use crate::output::{self, member};
use crate::pair::{pair, tags};
use clap::Subcommand;
use serde_json::{Value, json};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the tags of a resource
    List {
        /// The resource's ARN
        arn: String,
        #[command(flatten)]
        target: Target,
    },
    /// Set tags
    Set {
        /// The resource's ARN
        arn: String,
        #[arg(required = true, value_name = "KEY=VALUE", value_parser = pair)]
        tags: Vec<(String, String)>,
        #[command(flatten)]
        target: Target,
    },
    /// Remove tags
    Remove {
        /// The resource's ARN
        arn: String,
        #[arg(required = true, value_name = "KEY")]
        keys: Vec<String>,
        #[command(flatten)]
        target: Target,
    },
}

pub async fn run(global: &Global, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::List { arn, target } => {
            let path = format!("/tags?resourceArn={}", encode(&arn));
            let mut reply = connect(global, &target)?.get(&path).await?;
            let found = reply.get_mut("tags").map(Value::take).unwrap_or_default();
            if global.json {
                return output::json(&found);
            }
            let row = |tag: &Value| vec![member(tag, "Key"), member(tag, "Value")];
            output::table(&["key", "value"], found.as_array().into_iter().flatten().map(row).collect())
        }
        Command::Set { arn, tags: given, target } => {
            let body = json!({ "resourceArn": arn, "tags": tags(&given) });
            connect(global, &target)?.post("/tags", &body).await?;
            output::done(global, &json!({}), "the tags are set")
        }
        Command::Remove { arn, keys, target } => {
            let body = json!({ "resourceArn": arn, "tagKeys": keys });
            connect(global, &target)?.post("/untag", &body).await?;
            output::done(global, &json!({}), "the tags are removed")
        }
    }
}
