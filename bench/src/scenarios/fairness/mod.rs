//! What loud neighbours do to a quiet pair: its latency with each of them, against its latency alone, and against that while the same
//! neighbour is as loud on another broker of the same kind beside it, with which they share only the machine.
mod neighbours;

use super::connecting::introduce;
use super::quiet::Pair;
use crate::lab::Lab;
use crate::peers::{Kind, Peer};
use crate::places::Places;
use crate::report::{Case, Report, Round, progress};
use crate::usage::Meter;
use neighbours::{Neighbour, Neighbours};
use std::sync::Arc;

/// What the project asks of itself: the slowest messages take at most so many times what they take alone.
const TARGET: f64 = 2.0;

/// A kind of noise, and what is measured of it.
struct Beside {
    neighbour: Neighbour,
    same: Case,
    other: Case,
}

pub async fn run(lab: &Lab, report: &mut Report) -> anyhow::Result<()> {
    let crowd = Arc::new(lab.factory.devices("crowd", usize::try_from(lab.options.sessions)?)?);
    let loud = Arc::new(lab.factory.devices("loud", 2)?);
    let mut alone = Case::new("fairness", "alone", "p99 ms");
    let mut all = Neighbour::ALL.map(|neighbour| Beside::new(neighbour, crowd.len()));
    let places = Places::new(lab.options.shared_processors);
    for kind in lab.options.peers.iter().copied().filter(|kind| *kind != Kind::Ceiling) {
        progress(&format!("fairness: {} sessions on {kind}, and on another {kind}", crowd.len()));
        places.start_servers()?;
        let (peer, other) = (Peer::start(lab, kind).await?, Peer::start(lab, kind).await?);
        places.begin()?;
        let mut neighbours = Vec::new();
        for peer in [&peer, &other] {
            introduce(peer, &loud).await?;
            neighbours.push(Neighbours::move_in(peer, &loud, &crowd).await?);
        }
        let [same, other] = neighbours.as_slice() else { continue };
        let mut pair = Pair::start(lab, &peer).await?;
        for round in 0..lab.options.rounds {
            alone.rounds.push(measure(lab, &peer, round, &mut pair).await?);
            for Beside { neighbour, same: case, other: case_of_other } in &mut all {
                progress(&format!("fairness: {kind}, {}", case.variant));
                for (neighbours, case) in [(other, case_of_other), (same, case)] {
                    let noise = neighbours.make_noise(*neighbour);
                    case.rounds.push(measure(lab, &peer, round, &mut pair).await?);
                    pair.caveat(case);
                    places.caveat(case);
                    noise.stop().await?;
                }
            }
        }
    }
    for Beside { mut same, other, .. } in all {
        for kind in &lab.options.peers {
            let target = (*kind == Kind::Jitp).then_some(TARGET);
            same.compare_with_itself(*kind, &alone, target);
            same.compare_with_itself(*kind, &other, target);
        }
        same.compare_latency_with_peers();
        report.add(other)?;
        report.add(same)?;
    }
    report.add(alone)
}

impl Beside {
    fn new(neighbour: Neighbour, crowd: usize) -> Self {
        let name = neighbour.name(crowd);
        let other = Case::new("fairness", format!("{name}, of another broker"), "p99 ms");
        Self { neighbour, same: Case::new("fairness", name, "p99 ms"), other }
    }
}

/// The pair's latency in a window.
async fn measure(lab: &Lab, peer: &Peer, round: u32, pair: &mut Pair) -> anyhow::Result<Round> {
    tokio::time::sleep(lab.options.warm_up()).await;
    let meter = Meter::start(peer.pid())?;
    pair.begin().await?;
    tokio::time::sleep(lab.options.window()).await;
    let latencies = pair.end().await?;
    Ok(latencies.round(peer.kind, round, meter.stop()?))
}
