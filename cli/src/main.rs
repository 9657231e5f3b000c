//! The one binary of jitp.
mod args;
mod client;
mod commands;
mod complete;
mod config;
mod confirm;
mod credentials;
mod data_dir;
mod device_http;
mod exit;
mod hooks;
mod http;
mod issuing;
mod json_lines;
mod listeners;
mod log_record;
mod log_view;
mod logging;
mod moment;
mod mqtt_device;
mod open_files;
mod output;
mod pair;
mod pending_rule;
mod progress;

use args::{Cli, Command};
use clap::Parser;
use exit::Exit;
use std::process::ExitCode;

/// Provisioning allocates in one thread and frees in another, which the C library's allocator does slowly.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    complete::answer_shell();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 3 } else { 0 });
        }
    };
    match run(cli) {
        Ok(exit) => exit.into(),
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::error(&error);
            exit::of_error(&error)
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<Exit> {
    let runtime = jitp_broker::runtime::builder().build()?;
    let global = cli.global;
    runtime.block_on(async {
        match cli.command {
            Command::Serve(args) => commands::serve::run(&global, args).await,
            Command::Demo(args) => commands::demo::run(&global, args).await,
            Command::Ca(command) => commands::ca::run(&global, command).await,
            Command::Template(command) => commands::template::run(&global, command).await,
            Command::Thing(command) => commands::thing::run(&global, command).await,
            Command::Group(command) => commands::group::run(&global, command).await,
            Command::Type(command) => commands::thing_type::run(&global, command).await,
            Command::BillingGroup(command) => commands::billing_group::run(&global, command).await,
            Command::Search(args) => commands::search::run(&global, args).await,
            Command::Tag(command) => commands::tag::run(&global, command).await,
            Command::Cert(command) => commands::cert::run(&global, command).await,
            Command::Policy(command) => commands::policy::run(&global, command).await,
            Command::Authorize(args) => commands::authorize::run(&global, args).await,
            Command::Connection(command) => commands::connection::run(&global, command).await,
            Command::Publish(args) => commands::publish::run(&global, args).await,
            Command::Retained(command) => commands::retained::run(&global, command).await,
            Command::Endpoint(args) => commands::endpoint::run(&global, args).await,
            Command::Events(command) => commands::events::run(&global, command).await,
            Command::Indexing(command) => commands::indexing::run(&global, command).await,
            Command::Attempts(args) => commands::attempts::run(&global, args).await,
            Command::Approve(args) => commands::pending::approve(&global, args).await,
            Command::Reject(args) => commands::pending::reject(&global, args).await,
            Command::Replay(args) => commands::replay::run(&global, args).await,
            Command::Bulk(command) => commands::bulk::run(&global, command).await,
            Command::Export(args) => commands::export::run(&global, args).await,
            Command::Import(args) => commands::import::run(&global, args).await,
            Command::Reset(args) => commands::reset::run(&global, args).await,
            Command::Key(command) => commands::key::run(&global, command).await,
            Command::Audit(args) => commands::audit::run(&global, args).await,
            Command::Device(command) => commands::device::run(&global, command).await,
            Command::Simulate(args) => commands::simulate::run(&global, args).await,
            Command::Config => output::text(config::DEFAULT),
            Command::Completions { shell } => commands::generate::completions(shell),
            Command::Man => commands::generate::man(),
        }
    })
}
