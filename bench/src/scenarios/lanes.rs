//! Doing something many times, some at a time, while the clock runs.
use crate::peers::Peer;
use crate::report::Round;
use crate::statistics::percentile;
use crate::usage::Meter;
use anyhow::{Context, ensure};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// How many are under way at the same time.
pub const AT_A_TIME: usize = 64;

/// More failures than this share of all, and the measurement means nothing.
const FAILURES_ACCEPTED: f64 = 0.01;

/// What is done many times.
pub trait Work: Send + Sync + 'static {
    /// Does the piece of this number and says how long it took; `None`: there are no more. What is done after the time
    /// has been taken, to say goodbye, does not count.
    fn piece(&self, number: usize) -> impl Future<Output = Option<anyhow::Result<Duration>>> + Send;
}

/// Does piece after piece, [`AT_A_TIME`], until there are no more or the time is over.
pub async fn measure(peer: &Peer, round: u32, work: Arc<impl Work>, time: Duration) -> anyhow::Result<Round> {
    let next = Arc::new(AtomicUsize::new(0));
    let meter = Meter::start(peer.pid())?;
    let until = Instant::now() + time;
    let mut lanes = JoinSet::new();
    for _ in 0..AT_A_TIME {
        lanes.spawn(lane(work.clone(), next.clone(), until));
    }
    let mut all = Lane::default();
    while let Some(lane) = lanes.join_next().await {
        all.join(lane?);
    }
    let usage = meter.stop()?;
    let (done, failed) = (all.micros.len(), all.failures);
    if failed as f64 > FAILURES_ACCEPTED * (done + failed) as f64 {
        let error = all.error.context("something failed")?;
        return Err(error.context(format!("{}: {failed} of {} failed", peer.kind, done + failed)));
    }
    ensure!(done > 0, "{}: nothing was done", peer.kind);
    Ok(Round {
        peer: peer.kind,
        round,
        value: done as f64 / usage.seconds,
        operations: done as u64,
        usage: Some(usage),
        p50_micros: percentile(&mut all.micros, 0.5),
        p99_micros: percentile(&mut all.micros, 0.99),
        p999_micros: percentile(&mut all.micros, 0.999),
        failures: failed as u64,
    })
}

#[derive(Default)]
struct Lane {
    micros: Vec<u32>,
    failures: usize,
    error: Option<anyhow::Error>,
}

impl Lane {
    fn join(&mut self, other: Self) {
        self.micros.extend(other.micros);
        self.failures += other.failures;
        self.error = self.error.take().or(other.error);
    }
}

async fn lane(work: Arc<impl Work>, next: Arc<AtomicUsize>, until: Instant) -> Lane {
    let mut lane = Lane::default();
    while Instant::now() < until {
        match work.piece(next.fetch_add(1, Ordering::Relaxed)).await {
            Some(Ok(took)) => lane.micros.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX)),
            Some(Err(error)) => {
                lane.failures += 1;
                lane.error.get_or_insert(error);
            }
            None => break,
        }
    }
    lane
}
