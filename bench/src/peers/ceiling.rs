//! The bare TLS loop: this very binary as another process.
use super::{Kind, Peer};
use crate::client::Target;
use crate::lab::Lab;
use crate::process::Process;
use anyhow::Context;
use std::process::Command;
use std::sync::Arc;

pub fn start(lab: &Lab) -> anyhow::Result<Peer> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("ceiling").arg(&lab.files.directory);
    let (process, line, _) = Process::spawn_until_ready("the ceiling", &mut command)?;
    let address = line.strip_prefix("ready ").with_context(|| format!("not a ready line: {line:?}"))?;
    let target = Arc::new(Target::new(address.parse()?, &lab.files.server())?);
    Ok(Peer { kind: Kind::Ceiling, process, target })
}
