//! Starting over many durable sessions and retained messages, after an orderly end and after a kill.
use super::growth::whole;
use super::round;
use crate::lab::Lab;
use crate::peers::{Jitp, Kind};
use crate::process::{peak_resident_bytes, resident_bytes};
use crate::report::{Case, Report, progress};
use anyhow::{Context, ensure};
use std::path::Path;
use std::process::{Command, Stdio};

pub fn run(lab: &Lab, report: &mut Report) -> anyhow::Result<()> {
    let sessions = lab.options.fleets.iter().copied().max().context("no fleet")?;
    let retained = lab.options.retained;
    let what = format!("{} durable sessions and {} retained messages", whole(sessions), whole(retained));
    for (how, kill) in [("an orderly end", false), ("a kill", true)] {
        progress(&format!("scale: writing {what}"));
        let mut case = Case::new("scale", format!("start with {what} after {how}"), "ms to be ready");
        let (mut resident, mut peak) = (0, 0);
        for number in 0..lab.options.rounds {
            let jitp = Jitp::new(lab)?;
            leave(jitp.data_dir(), sessions, retained, kill)?;
            let (peer, _, took) = jitp.open(lab)?;
            resident = resident_bytes(peer.pid())?;
            peak = peak_resident_bytes(peer.pid())?;
            let operations = u64::from(sessions) + u64::from(retained);
            case.rounds.push(round(Kind::Jitp, number, took.as_secs_f64() * 1000.0, operations));
            drop(peer);
            // It takes room.
            std::fs::remove_dir_all(jitp.data_dir())?;
        }
        case.notes.push(format!(
            "{:.0} MB of memory when ready, at most {:.0} MB until then",
            resident as f64 / 1e6,
            peak as f64 / 1e6
        ));
        report.add(case)?;
    }
    Ok(())
}

/// In a process of its own, because a registry has one owner.
fn leave(data_dir: &Path, sessions: u32, retained: u32, kill: bool) -> anyhow::Result<()> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("leave").arg("--data-dir").arg(data_dir);
    command.arg("--sessions").arg(sessions.to_string()).arg("--retained").arg(retained.to_string());
    if kill {
        command.arg("--kill");
    }
    let status = command.stdin(Stdio::null()).status()?;
    ensure!(status.success(), "the sessions could not be written");
    Ok(())
}
