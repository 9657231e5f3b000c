//! From a thousand sessions to as many as a machine may have to carry: what each costs, and what happens when all of them go
//! and come at once.
mod comeback;
mod fleet;
mod growth;
mod sessions;
mod start;

use crate::lab::Lab;
use crate::peers::Kind;
use crate::report::{Report, Round};

pub async fn run(lab: &Lab, report: &mut Report) -> anyhow::Result<()> {
    if lab.options.peers.contains(&Kind::Jitp) {
        sessions::run(lab, report)?;
    }
    comeback::run(lab, report).await?;
    if lab.options.peers.contains(&Kind::Jitp) {
        start::run(lab, report)?;
    }
    Ok(())
}

/// A round of which nothing is known but its result.
fn round(peer: Kind, round: u32, value: f64, operations: u64) -> Round {
    Round {
        peer,
        round,
        value,
        operations,
        usage: None,
        p50_micros: None,
        p99_micros: None,
        p999_micros: None,
        failures: 0,
    }
}
