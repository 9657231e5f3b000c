//! What loud neighbours do to a quiet pair: its latency with each of them, against its latency without.
mod neighbours;

use super::connecting::introduce;
use super::quiet::Pair;
use crate::factory::Device;
use crate::lab::Lab;
use crate::peers::{Kind, Peer};
use crate::report::{Case, Report, Round, progress};
use crate::usage::Meter;
use neighbours::{Neighbour, Neighbours};
use std::sync::Arc;
use std::time::Duration;

/// Before the clock starts.
const WARM_UP: Duration = Duration::from_millis(500);
/// What the project asks of itself: the slowest messages take at most so many times what they take without neighbours.
const TARGET: f64 = 2.0;

pub async fn run(lab: &Lab, report: &mut Report) -> anyhow::Result<()> {
    let quiet = Arc::new(lab.factory.devices("quiet", 2)?);
    let crowd = Arc::new(lab.factory.devices("crowd", usize::try_from(lab.options.sessions)?)?);
    let loud = Arc::new(lab.factory.devices("loud", 2)?);
    let mut peers = Vec::new();
    for kind in lab.options.peers.iter().filter(|kind| **kind != Kind::Ceiling) {
        progress(&format!("fairness: {} sessions on {kind}", crowd.len()));
        let peer = Peer::start(lab, *kind).await?;
        for devices in [&quiet, &loud] {
            introduce(&peer, devices).await?;
        }
        let neighbours = Neighbours::move_in(&peer, &loud, &crowd).await?;
        peers.push((peer, neighbours));
    }
    let mut cases: Vec<(Option<Neighbour>, Case)> = std::iter::once(None)
        .chain(Neighbour::ALL.map(Some))
        .map(|neighbour| {
            let name = neighbour.map_or("alone".to_owned(), |neighbour| neighbour.name(crowd.len()));
            (neighbour, Case::new("fairness", name, "p99 ms"))
        })
        .collect();
    for round in 0..lab.options.rounds {
        for (neighbour, case) in &mut cases {
            progress(&format!("fairness: {}", case.variant));
            for (peer, neighbours) in &peers {
                let window = Duration::from_secs(lab.options.seconds);
                let noise = neighbour.map(|neighbour| neighbours.make_noise(neighbour));
                case.rounds.push(measure(peer, round, &quiet, window).await?);
                if let Some(noise) = noise {
                    noise.stop().await?;
                }
            }
        }
    }
    let mut cases = cases.into_iter().map(|(_, case)| case);
    let Some(alone) = cases.next() else { return Ok(()) };
    for mut case in cases {
        for kind in &lab.options.peers {
            let target = (*kind == Kind::Jitp).then_some(TARGET);
            case.compare_with_itself(*kind, &alone, target);
        }
        report.add(case)?;
    }
    report.add(alone)
}

/// The pair's latency in a window.
async fn measure(
    peer: &Peer,
    round: u32,
    devices: &Arc<Vec<Device>>,
    window: Duration,
) -> anyhow::Result<Round> {
    tokio::time::sleep(WARM_UP).await;
    let pair = Pair::start(peer.target.clone(), devices.clone()).await?;
    let meter = Meter::start(peer.pid())?;
    tokio::time::sleep(window).await;
    let usage = meter.stop()?;
    Ok(pair.stop().await?.round(peer.kind, round, usage))
}
