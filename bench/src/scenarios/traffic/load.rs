//! One measurement of one peer: connect, subscribe, publish; count in a window; stop, and wait for what is on its way.
use super::crowd::{Crowd, PATIENCE};
use super::participant::Times;
use super::publishing::When;
use super::receiving::Watch;
use super::schedule::Schedule;
use super::{Flow, Shape};
use crate::arguments::Measure;
use crate::factory::Device;
use crate::peers::Peer;
use crate::report::Round;
use crate::statistics::percentile;
use crate::usage::{Meter, Usage};
use anyhow::{Context, ensure};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::unbounded_channel;

/// A window without a delivery is made longer, up to this: machines can be very busy.
const STILL: Duration = Duration::from_secs(30);

/// As many messages as the peer delivers: the rate in deliveries per second.
pub async fn at_full_speed(
    peer: &Peer,
    round: u32,
    shape: &Shape,
    devices: &[Device],
    options: &Measure,
) -> anyhow::Result<Round> {
    let mut crowd = Crowd::new(shape);
    let flows = crowd.flows.clone();
    let when = |index: usize| When::Flow(flow(&flows, index), shape.batch);
    crowd.gather(peer, shape, devices, options.in_flight, None, when).await?;
    let (operations, usage) = crowd
        .during(async {
            tokio::time::sleep(options.warm_up()).await;
            let before = delivered(&flows);
            let meter = Meter::start(peer.pid())?;
            tokio::time::sleep(options.window()).await;
            let started = Instant::now();
            while delivered(&flows) == before && started.elapsed() < STILL {
                tokio::time::sleep(options.window()).await;
            }
            Ok((delivered(&flows) - before, meter.stop()?))
        })
        .await?;
    crowd.end().await?;
    forget(peer, shape, devices).await?;
    ensure!(operations > 0, "nothing was delivered");
    Ok(round_of(peer, round, operations as f64 / usage.seconds, operations, usage, lost(&flows)?))
}

/// What an open loop has found.
pub struct Paced {
    /// Its value is the 99th percentile, in milliseconds, of the time from when a message was due to when it was read.
    pub round: Round,
    /// 99 % of the messages were written within so many microseconds of their time.
    pub late_micros: u32,
}

/// So many messages per second, due one by one. A message that does not come counts with the time that it was waited for.
pub async fn at_rate(
    peer: &Peer,
    round: u32,
    shape: &Shape,
    devices: &[Device],
    options: &Measure,
    rate: f64,
) -> anyhow::Result<Paced> {
    let mut crowd = Crowd::new(shape);
    let flows = crowd.flows.clone();
    let (epoch, warm_up) = (Arc::new(OnceLock::new()), options.warm_up());
    let watch = Watch { epoch: epoch.clone(), from: u64::try_from(warm_up.as_nanos())? };
    let mut publishers = Vec::new();
    let when = |index: usize| {
        let (sender, receiver) = unbounded_channel();
        publishers.push((sender, flow(&flows, index)));
        When::Schedule(receiver, watch.clone())
    };
    crowd.gather(peer, shape, devices, options.in_flight, Some(watch.clone()), when).await?;
    let epoch = *epoch.get_or_init(Instant::now);
    // A publisher leaves when its turns are over; nobody may before the clock has stopped.
    let held: Vec<_> = publishers.iter().map(|(sender, _)| sender.clone()).collect();
    let schedule = Schedule { epoch, rate, length: warm_up + options.window(), publishers };
    let usage = crowd
        .during(async {
            let pace = tokio::task::spawn_blocking(|| schedule.run());
            tokio::time::sleep(warm_up).await;
            let meter = Meter::start(peer.pid())?;
            pace.await?;
            meter.stop()
        })
        .await?;
    drop(held);
    let Times { took: mut micros, mut late } = crowd.end().await?;
    forget(peer, shape, devices).await?;
    let failures = lost(&flows)?;
    let waited = u32::try_from((epoch.elapsed() - warm_up).max(PATIENCE).as_micros()).unwrap_or(u32::MAX);
    micros.extend(std::iter::repeat_n(waited, usize::try_from(failures)?));
    let operations = micros.len() as u64;
    let p99_micros = percentile(&mut micros, 0.99).context("no message came")?;
    let round = Round {
        p50_micros: percentile(&mut micros, 0.5),
        p99_micros: Some(p99_micros),
        p999_micros: percentile(&mut micros, 0.999),
        ..round_of(peer, round, f64::from(p99_micros) / 1000.0, operations, usage, failures)
    };
    Ok(Paced { round, late_micros: percentile(&mut late, 0.99).unwrap_or_default() })
}

/// One that all share, or each publisher's own.
fn flow(flows: &[Arc<Flow>], publisher: usize) -> Arc<Flow> {
    flows.iter().cycle().nth(publisher).cloned().unwrap_or_else(|| Arc::new(Flow::new(0, 0)))
}

fn delivered(flows: &[Arc<Flow>]) -> u64 {
    flows.iter().map(|flow| flow.delivered()).sum()
}

fn lost(flows: &[Arc<Flow>]) -> anyhow::Result<u64> {
    let balances = flows.iter().map(|flow| flow.balance());
    let (lost, repeated) = balances.fold((0, 0), |sums, balance| (sums.0 + balance.0, sums.1 + balance.1));
    ensure!(repeated == 0, "{repeated} deliveries more than there were messages");
    Ok(lost)
}

/// Ends sessions that would outlive the measurement: with a clean one.
async fn forget(peer: &Peer, shape: &Shape, devices: &[Device]) -> anyhow::Result<()> {
    if shape.persistent {
        for device in devices.iter().take(shape.devices()) {
            peer.target.connect(device, peer.target.full(device)).await?.disconnect().await;
        }
    }
    Ok(())
}

fn round_of(peer: &Peer, round: u32, value: f64, operations: u64, usage: Usage, failures: u64) -> Round {
    Round {
        peer: peer.kind,
        round,
        value,
        operations,
        usage: Some(usage),
        p50_micros: None,
        p99_micros: None,
        p999_micros: None,
        failures,
    }
}
