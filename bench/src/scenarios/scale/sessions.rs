//! What one session costs among a thousand, and among as many as asked for: in the process, without sockets.
//!
//! The fleets are all there before anything is measured, and do so in turns of some milliseconds: however fast the machine is, it is
//! for all of them.
use super::fleet::Fleet;
use super::growth::Growth;
use super::round;
use crate::lab::Lab;
use crate::peers::Kind;
use crate::report::{Report, progress};
use crate::seam::Steps;
use crate::statistics::median;

/// In a round, of each fleet; the median counts.
const PASSES: usize = 15;

pub fn run(lab: &Lab, report: &mut Report) -> anyhow::Result<()> {
    for (kind, durable) in [("clean sessions", false), ("durable sessions", true)] {
        let mut growth = Growth::new("scale", kind, lab.options.fleets.clone());
        let mut fleets = arrive(lab, kind, durable, &mut growth)?;
        for number in 0..lab.options.rounds {
            progress(&format!("scale: {kind}, round {}", number + 1));
            measure(&mut fleets, number, &mut growth)?;
        }
        for (sessions, mut fleet) in fleets {
            if let Some(bytes) = fleet.leave()? {
                let round = round(Kind::Jitp, 0, bytes, u64::from(sessions));
                growth.add(sessions, "memory, away", "bytes", round);
            }
        }
        growth.report(report)?;
    }
    Ok(())
}

/// All fleets, one after another.
fn arrive(lab: &Lab, kind: &str, durable: bool, growth: &mut Growth) -> anyhow::Result<Vec<(u32, Fleet)>> {
    let mut fleets = Vec::new();
    for &sessions in &lab.options.fleets {
        progress(&format!("scale: {sessions} {kind}"));
        let data_dir = durable.then(|| lab.fresh_path("sessions"));
        let mut fleet = Fleet::start(sessions, data_dir.as_deref())?;
        let arrived = fleet.arrived()?;
        let once = |value| round(Kind::Jitp, 0, value, u64::from(sessions));
        growth.mention(sessions, "all arrive, one after another", "processor µs", once(arrived.micros));
        growth.add(sessions, "memory, connected", "bytes", once(arrived.bytes));
        fleets.push((sessions, fleet));
    }
    Ok(fleets)
}

/// One round: all fleets in turns, from the smallest to the largest and back.
fn measure(fleets: &mut [(u32, Fleet)], number: u32, growth: &mut Growth) -> anyhow::Result<()> {
    let mut seen: Vec<Vec<Steps>> = fleets.iter().map(|_| Vec::new()).collect();
    for pass in 0..PASSES {
        let mut turns: Vec<_> = fleets.iter_mut().zip(&mut seen).collect();
        if pass % 2 == 1 {
            turns.reverse();
        }
        for ((_, fleet), seen) in turns {
            seen.push(fleet.pass()?);
        }
    }
    for ((sessions, _), seen) in fleets.iter().zip(&seen) {
        for (step, micros) in medians(seen) {
            let round = round(Kind::Jitp, number, micros, u64::from(*sessions));
            growth.add(*sessions, step, "processor µs", round);
        }
    }
    Ok(())
}

/// Of each step, in order.
fn medians(passes: &[Steps]) -> impl Iterator<Item = (&str, f64)> {
    passes.first().into_iter().flatten().filter_map(|(step, _)| {
        let all = passes.iter().flatten().filter(|(other, _)| other == step).map(|(_, micros)| *micros);
        Some((step.as_str(), median(&all.collect::<Vec<_>>())?))
    })
}
