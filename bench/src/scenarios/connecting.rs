//! Many devices connecting, some at a time: from TCP connect to CONNACK, then DISCONNECT.
use crate::client::Target;
use crate::factory::Device;
use crate::peers::Peer;
use crate::report::Round;
use crate::statistics::percentile;
use crate::usage::Meter;
use anyhow::{Context, ensure};
use rustls::ClientConfig;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// How many connect at the same time.
pub const AT_A_TIME: usize = 64;

/// More failures than this share of all connections, and the measurement means nothing.
const FAILURES_ACCEPTED: f64 = 0.01;

/// Who connects, in which order, with which settings.
pub trait Visitors: Send + Sync + 'static {
    /// The visitor of this number; `None`: there are no more.
    fn visitor(&self, number: usize, target: &Target) -> Option<(&Device, Arc<ClientConfig>)>;
}

/// Each device once, with full handshakes.
pub struct Once(pub Arc<Vec<Device>>);

/// What came of it.
pub struct Connections {
    pub round: Round,
    /// How many handshakes were abbreviated.
    pub resumed: u64,
}

impl Visitors for Once {
    fn visitor(&self, number: usize, target: &Target) -> Option<(&Device, Arc<ClientConfig>)> {
        self.0.get(number).map(|device| (device, target.full(device)))
    }
}

/// Lets visitors connect, [`AT_A_TIME`], until there are no more or the time is over.
pub async fn measure(
    peer: &Peer,
    round: u32,
    visitors: Arc<impl Visitors>,
    time: Duration,
) -> anyhow::Result<Connections> {
    let next = Arc::new(AtomicUsize::new(0));
    let meter = Meter::start(peer.pid())?;
    let until = Instant::now() + time;
    let mut lanes = JoinSet::new();
    for _ in 0..AT_A_TIME {
        lanes.spawn(lane(peer.target.clone(), visitors.clone(), next.clone(), until));
    }
    let mut all = Lane::default();
    while let Some(lane) = lanes.join_next().await {
        all.join(lane?);
    }
    let usage = meter.stop()?;
    let (done, failed) = (all.micros.len(), all.failures);
    if failed as f64 > FAILURES_ACCEPTED * (done + failed) as f64 {
        let error = all.error.context("a connection failed")?;
        return Err(error.context(format!(
            "{}: {failed} of {} connections failed",
            peer.kind,
            done + failed
        )));
    }
    ensure!(done > 0, "{}: nobody connected", peer.kind);
    let round = Round {
        peer: peer.kind,
        round,
        value: done as f64 / usage.seconds,
        operations: done as u64,
        usage: Some(usage),
        p50_micros: percentile(&mut all.micros, 0.5),
        p99_micros: percentile(&mut all.micros, 0.99),
        failures: failed as u64,
    };
    Ok(Connections { round, resumed: all.resumed })
}

/// Connects every device once and says goodbye: for a server to know them.
pub async fn introduce(peer: &Peer, devices: &Arc<Vec<Device>>) -> anyhow::Result<()> {
    let ample = Duration::from_secs(600);
    measure(peer, 0, Arc::new(Once(devices.clone())), ample).await.map(|_| ())
}

#[derive(Default)]
struct Lane {
    micros: Vec<u32>,
    resumed: u64,
    failures: usize,
    error: Option<anyhow::Error>,
}

impl Lane {
    fn join(&mut self, other: Self) {
        self.micros.extend(other.micros);
        self.resumed += other.resumed;
        self.failures += other.failures;
        self.error = self.error.take().or(other.error);
    }
}

async fn lane(
    target: Arc<Target>,
    visitors: Arc<impl Visitors>,
    next: Arc<AtomicUsize>,
    until: Instant,
) -> Lane {
    let mut lane = Lane::default();
    while Instant::now() < until {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let Some((device, config)) = visitors.visitor(number, &target) else { break };
        let started = Instant::now();
        match target.connect(device, config).await {
            Ok(connected) => {
                lane.micros.push(u32::try_from(started.elapsed().as_micros()).unwrap_or(u32::MAX));
                lane.resumed += u64::from(connected.resumed);
                connected.disconnect().await;
            }
            Err(error) => {
                lane.failures += 1;
                lane.error.get_or_insert(error);
            }
        }
    }
    lane
}
