//! A fleet that comes back at once, as after a restart: how fast it is in, and what that does to who is connected already,
//! against what they have alone, and beside a storm on another broker of the same kind, with which they share only the machine.
use super::connecting::introduce;
use super::quiet::Pair;
use crate::client::{Connected, Target};
use crate::factory::Device;
use crate::lab::Lab;
use crate::peers::{Kind, Peer};
use crate::places::Places;
use crate::report::{Case, Report, Round, progress};
use crate::statistics::percentile;
use crate::usage::Meter;
use anyhow::ensure;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// What the project asks of itself: messages between others take at most so many times what they take without a storm.
const TARGET: f64 = 2.0;

/// What is measured.
struct Cases {
    connects: Case,
    same: Case,
    other: Case,
    alone: Case,
}

pub async fn run(lab: &Lab, report: &mut Report) -> anyhow::Result<()> {
    let fleet = Arc::new(lab.factory.devices("fleet", lab.options.fleet())?);
    let case = |variant: &str| Case::new("storm", variant, "p99 ms");
    let mut cases = Cases {
        connects: Case::new("storm", format!("{} connects at once", fleet.len()), "connections/s"),
        same: case("a quiet pair meanwhile"),
        other: case("a quiet pair beside a storm of another broker"),
        alone: case("a quiet pair alone"),
    };
    let places = Places::new(lab.options.shared_processors);
    for kind in lab.options.peers.iter().copied().filter(|kind| *kind != Kind::Ceiling) {
        places.start_servers()?;
        let (peer, other) = (Peer::start(lab, kind).await?, Peer::start(lab, kind).await?);
        places.begin()?;
        for peer in [&peer, &other] {
            progress(&format!("storm: introducing {} devices to {kind}", fleet.len()));
            introduce(peer, &fleet).await?;
        }
        let mut pair = Pair::start(lab, &peer).await?;
        for round in 0..lab.options.rounds {
            progress(&format!("storm: {kind}"));
            cases.round(lab, round, &peer, &other, &mut pair, &fleet).await?;
        }
    }
    for case in [&mut cases.connects, &mut cases.same, &mut cases.other] {
        places.caveat(case);
    }
    let Cases { mut connects, mut same, other, alone } = cases;
    connects.compare(Kind::Mosquitto, None);
    connects.compare(Kind::Rumqttd, None);
    for kind in &lab.options.peers {
        let target = (*kind == Kind::Jitp).then_some(TARGET);
        same.compare_with_itself(*kind, &alone, target);
        same.compare_with_itself(*kind, &other, target);
    }
    same.compare_latency_with_peers();
    report.add(connects)?;
    report.add(alone)?;
    report.add(other)?;
    report.add(same)
}

impl Cases {
    /// The pair alone, then beside a storm of another broker, then in one.
    async fn round(
        &mut self,
        lab: &Lab,
        round: u32,
        peer: &Peer,
        other: &Peer,
        pair: &mut Pair,
        fleet: &Arc<Vec<Device>>,
    ) -> anyhow::Result<()> {
        let meter = Meter::start(peer.pid())?;
        pair.begin().await?;
        tokio::time::sleep(lab.options.window()).await;
        self.alone.rounds.push(pair.end().await?.round(peer.kind, round, meter.stop()?));
        for stormed in [other, peer] {
            let meter = Meter::start(peer.pid())?;
            pair.begin().await?;
            let storm = all_at_once(stormed, fleet).await;
            let usage = meter.stop()?;
            let case = if stormed.pid() == peer.pid() { &mut self.same } else { &mut self.other };
            case.rounds.push(pair.end().await?.round(peer.kind, round, usage));
            pair.caveat(case);
            if stormed.pid() == peer.pid() {
                ensure!(!storm.connected.is_empty(), "{}: nobody connected", peer.kind);
                let failures = (fleet.len() - storm.connected.len()) as u64;
                self.connects.rounds.push(Round {
                    usage: Some(usage),
                    failures,
                    ..storm.round(peer.kind, round)
                });
            }
            for connected in storm.connected {
                connected.disconnect().await;
            }
        }
        Ok(())
    }
}

/// What came of a storm.
struct Storm {
    connected: Vec<Connected>,
    /// Until the last one was in.
    took: Duration,
    /// Until each was.
    micros: Vec<u32>,
}

impl Storm {
    fn round(&self, peer: Kind, round: u32) -> Round {
        let mut micros = self.micros.clone();
        Round {
            peer,
            round,
            value: self.connected.len() as f64 / self.took.as_secs_f64(),
            operations: self.connected.len() as u64,
            usage: None,
            p50_micros: percentile(&mut micros, 0.5),
            p99_micros: percentile(&mut micros, 0.99),
            p999_micros: None,
            failures: 0,
        }
    }
}

/// Everybody connects at the same moment.
async fn all_at_once(peer: &Peer, fleet: &Arc<Vec<Device>>) -> Storm {
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
    Storm { connected, took: last, micros }
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
