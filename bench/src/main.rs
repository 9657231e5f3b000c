//! One command that runs the same load against jitp, mosquitto, rumqttd and a bare TLS loop, in the same run.
//!
//! `docs/benchmarks.md` says what is measured and how it is kept fair.
mod api;
mod arguments;
mod ceiling;
mod client;
mod comparison;
mod conversation;
mod extent;
mod factory;
mod frames;
mod lab;
mod mqtt;
mod orders;
mod peers;
mod places;
mod plots;
mod priority;
mod process;
mod registry_fill;
mod report;
mod scenarios;
mod seam;
mod statistics;
mod summary;
mod usage;

use anyhow::Context;
use arguments::{Arguments, Command};
use clap::Parser;
use std::process::ExitCode;

/// As in jitp: what sessions cost in this process is what they cost there.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime");
    match runtime.and_then(|runtime| runtime.block_on(run(arguments))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    process::raise_open_files();
    match arguments.command {
        Some(Command::Ceiling { directory }) => ceiling::serve(&directory).await,
        Some(Command::Quiet(quiet)) => scenarios::be_quiet(quiet).await,
        Some(Command::Fill(fill)) => registry_fill::run(fill).await,
        Some(Command::Things(things)) => registry_fill::things(things).await,
        Some(Command::SessionCost(asked)) => seam::cost(asked).await,
        Some(Command::Leave(asked)) => seam::leave(asked).await,
        None => tokio::select! {
            done = scenarios::run(arguments.measure) => done,
            _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
        },
    }
}
