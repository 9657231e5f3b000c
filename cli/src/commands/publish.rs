//! `jitp publish`: a message to devices, as the broker's own.
use super::connect;
use crate::args::{Global, Target};
use crate::client::encode;
use crate::exit::{Exit, InvalidInput};
use crate::output;
use serde_json::json;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub struct Args {
    pub topic: String,
    /// The payload; without it and --file it is empty
    #[arg(conflicts_with = "file")]
    pub payload: Option<String>,
    /// Take the payload from a file
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=1))]
    pub qos: u8,
    /// Keep it for who subscribes later; an empty payload removes what is kept
    #[arg(long)]
    pub retain: bool,
    #[command(flatten)]
    pub target: Target,
}

pub async fn run(global: &Global, args: Args) -> anyhow::Result<Exit> {
    let payload = match (args.payload, &args.file) {
        (Some(text), _) => text.into_bytes(),
        (None, Some(file)) => std::fs::read(file)
            .map_err(|error| InvalidInput(format!("cannot read {}: {error}", file.display())))?,
        (None, None) => Vec::new(),
    };
    let path = format!("/topics/{}?qos={}&retain={}", encode(&args.topic), args.qos, args.retain);
    connect(global, &args.target)?.post_bytes(&path, payload).await?;
    output::done(global, &json!({}), &format!("published to {}", args.topic))
}
