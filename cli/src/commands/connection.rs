//! `jitp connection`: who is connected is devices' own business; ending it is the operator's.
use super::connect;
use crate::args::{Global, Target};
use crate::client::encode;
use crate::confirm::Sure;
use crate::exit::Exit;
use crate::output;
use clap::Subcommand;
use serde_json::json;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// End the connection of a client; it may come back
    Delete {
        client_id: String,
        /// Its session goes, too, also when it is away
        #[arg(long)]
        clean_session: bool,
        /// Its will is not published
        #[arg(long)]
        no_will: bool,
        #[command(flatten)]
        sure: Sure,
        #[command(flatten)]
        target: Target,
    },
}

pub async fn run(global: &Global, command: Command) -> anyhow::Result<Exit> {
    let Command::Delete { client_id, clean_session, no_will, sure, target } = command;
    sure.about(&format!("End the connection of {client_id}"))?;
    let path = format!(
        "/connections/{}?cleanSession={clean_session}&preventWillMessage={no_will}",
        encode(&client_id)
    );
    connect(global, &target)?.delete(&path).await?;
    output::done(global, &json!({}), &format!("the connection of {client_id} is ended"))
}
