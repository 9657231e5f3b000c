//! What one session costs among a thousand, and among as many as asked for: in the process, without sockets.
use super::growth::Growth;
use super::round;
use crate::lab::Lab;
use crate::peers::Kind;
use crate::report::{Report, progress};
use crate::seam::Costs;
use anyhow::{Context, ensure};
use std::process::{Command, Stdio};

pub fn run(lab: &Lab, report: &mut Report) -> anyhow::Result<()> {
    let fleets = &lab.options.fleets;
    for (kind, durable) in [("clean sessions", false), ("durable sessions", true)] {
        let mut growth = Growth::new("scale", kind, fleets.clone());
        for number in 0..lab.options.rounds {
            for sessions in fleets {
                progress(&format!("scale: {sessions} {kind}"));
                let costs = costs(lab, *sessions, durable)?;
                let mut add = |step: &str, unit, value| {
                    growth.add(*sessions, step, unit, round(Kind::Jitp, number, value, u64::from(*sessions)));
                };
                for (step, micros) in &costs.micros {
                    add(step, "processor µs", *micros);
                }
                add("memory, connected", "bytes", costs.bytes_connected);
                if let Some(bytes) = costs.bytes_away {
                    add("memory, away", "bytes", bytes);
                }
            }
        }
        growth.report(report)?;
    }
    Ok(())
}

fn costs(lab: &Lab, sessions: u32, durable: bool) -> anyhow::Result<Costs> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("session-cost").arg("--sessions").arg(sessions.to_string());
    if durable {
        command.arg("--data-dir").arg(lab.fresh_path("sessions"));
    }
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "what {sessions} sessions cost could not be measured");
    serde_json::from_slice(&output.stdout).context("no costs")
}
