//! `jitp endpoint`: where devices connect.
use super::connect;
use crate::args::{Global, Target};
use crate::exit::Exit;
use crate::output::{self, member};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub target: Target,
}

pub async fn run(global: &Global, args: Args) -> anyhow::Result<Exit> {
    let reply = connect(global, &args.target)?.get("/endpoint?endpointType=iot:Data-ATS").await?;
    output::done(global, &reply, &member(&reply, "endpointAddress"))
}
