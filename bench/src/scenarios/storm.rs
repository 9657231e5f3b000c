//! A fleet that comes back at once, as after a restart: how fast it is in, and what that does to who is connected already.
use super::connecting::introduce;
use super::quiet::Pair;
use crate::client::{Connected, Target};
use crate::factory::Device;
use crate::lab::Lab;
use crate::peers::{Kind, Peer};
use crate::report::{Case, Report, Round, progress};
use crate::statistics::percentile;
use crate::usage::{Meter, Usage};
use anyhow::ensure;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// How many come at once.
const FLEET: usize = 5000;
/// What the project asks of itself: messages between others take at most so many times what they take without a storm.
const TARGET: f64 = 2.0;

pub async fn run(lab: &Lab, report: &mut Report) -> anyhow::Result<()> {
    let fleet = Arc::new(lab.factory.devices("fleet", FLEET)?);
    let quiet = Arc::new(lab.factory.devices("calm", 2)?);
    let mut peers = Vec::new();
    for kind in lab.options.peers.iter().filter(|kind| **kind != Kind::Ceiling) {
        progress(&format!("storm: introducing {FLEET} devices to {kind}"));
        let peer = Peer::start(lab, *kind).await?;
        introduce(&peer, &fleet).await?;
        introduce(&peer, &quiet).await?;
        peers.push(peer);
    }
    let mut connects = Case::new("storm", format!("{FLEET} connects at once"), "connections/s");
    let mut during = Case::new("storm", "a quiet pair meanwhile", "p99 ms");
    let mut alone = Case::new("storm", "a quiet pair alone", "p99 ms");
    for round in 0..lab.options.rounds {
        for peer in &peers {
            progress(&format!("storm: {}", peer.kind));
            let meter = Meter::start(peer.pid())?;
            let pair = Pair::start(peer.target.clone(), quiet.clone()).await?;
            tokio::time::sleep(Duration::from_secs(lab.options.seconds)).await;
            alone.rounds.push(latency(peer, round, pair, meter.stop()?).await?);

            let meter = Meter::start(peer.pid())?;
            let pair = Pair::start(peer.target.clone(), quiet.clone()).await?;
            let (connected, took, mut micros) = all_at_once(peer, &fleet).await;
            let usage = meter.stop()?;
            during.rounds.push(latency(peer, round, pair, usage).await?);
            ensure!(!micros.is_empty(), "{}: nobody connected", peer.kind);
            connects.rounds.push(Round {
                peer: peer.kind,
                round,
                value: connected.len() as f64 / took.as_secs_f64(),
                operations: connected.len() as u64,
                usage: Some(usage),
                p50_micros: percentile(&mut micros, 0.5),
                p99_micros: percentile(&mut micros, 0.99),
                p999_micros: None,
                failures: (FLEET - connected.len()) as u64,
            });
            for connected in connected {
                connected.disconnect().await;
            }
        }
    }
    connects.compare(Kind::Mosquitto, None);
    for kind in &lab.options.peers {
        let target = (*kind == Kind::Jitp).then_some(TARGET);
        during.compare_with_itself(*kind, &alone, target);
    }
    report.add(connects)?;
    report.add(alone)?;
    report.add(during)
}

/// Everybody connects at the same moment. Returns who is in, how long the last one took, and the time of each.
async fn all_at_once(peer: &Peer, fleet: &Arc<Vec<Device>>) -> (Vec<Connected>, Duration, Vec<u32>) {
    let started = Instant::now();
    let mut under_way = JoinSet::new();
    for index in 0..fleet.len() {
        let (target, fleet) = (peer.target.clone(), fleet.clone());
        under_way.spawn(connect(target, fleet, index, started));
    }
    let (mut connected, mut micros, mut last) = (Vec::new(), Vec::new(), Duration::ZERO);
    while let Some(result) = under_way.join_next().await {
        if let Ok(Some((one, took))) = result {
            connected.push(one);
            micros.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
            last = last.max(took);
        }
    }
    (connected, last, micros)
}

async fn connect(
    target: Arc<Target>,
    fleet: Arc<Vec<Device>>,
    index: usize,
    started: Instant,
) -> Option<(Connected, Duration)> {
    let device = fleet.get(index)?;
    let connected = target.connect(device, target.full(device)).await.ok()?;
    Some((connected, started.elapsed()))
}

async fn latency(peer: &Peer, round: u32, pair: Pair, usage: Usage) -> anyhow::Result<Round> {
    Ok(pair.stop().await?.round(peer.kind, round, usage))
}
