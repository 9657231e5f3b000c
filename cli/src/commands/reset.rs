//! `jitp reset`: a broker for tests begins anew.
use super::connect;
use crate::args::{Global, Target};
use crate::confirm::Sure;
use crate::exit::{Exit, InvalidInput};
use crate::output;
use serde_json::{Value, json};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub sure: Sure,
    #[command(flatten)]
    pub target: Target,
}

pub async fn run(global: &Global, args: Args) -> anyhow::Result<Exit> {
    let Args { sure, target } = args;
    sure.about(&format!("Return the registry of {} to its seed, and end all sessions", target.url))?;
    let answered = connect(global, &target)?.post("/jitp/v1/reset", &Value::Null).await;
    answered.map_err(|error| match error.to_string().starts_with("UnknownOperationException") {
        true => InvalidInput("this broker cannot be reset: start it with `jitp serve --allow-reset`".into())
            .into(),
        false => error,
    })?;
    output::done(global, &json!({}), "the registry is what it began with")
}
