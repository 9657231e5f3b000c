//! One measurement of one peer: connect, subscribe, publish; count in a window; stop, and wait for what is on its way.
use super::crowd::Crowd;
use super::members::{flows, gather};
use super::{Flow, Shape};
use crate::arguments::Measure;
use crate::factory::Device;
use crate::peers::Peer;
use crate::report::Round;
use crate::usage::{Meter, Usage};
use anyhow::ensure;
use std::sync::Arc;
use std::time::{Duration, Instant};

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
    let flows = flows(shape);
    let members = gather(peer, shape, devices, options.in_flight, &flows).await?;
    let mut crowd = Crowd::begin(members, flows.clone(), shape.batch);
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

fn delivered(flows: &[Arc<Flow>]) -> u64 {
    flows.iter().map(|flow| flow.delivered()).sum()
}

/// Messages that have not come. That one came twice is an error.
pub fn lost(flows: &[Arc<Flow>]) -> anyhow::Result<u64> {
    let balances = flows.iter().map(|flow| flow.balance());
    let (lost, repeated) = balances.fold((0, 0), |sums, balance| (sums.0 + balance.0, sums.1 + balance.1));
    ensure!(repeated == 0, "{repeated} deliveries more than there were messages");
    Ok(lost)
}

/// Ends sessions that would outlive the measurement: with a clean one.
pub async fn forget(peer: &Peer, shape: &Shape, devices: &[Device]) -> anyhow::Result<()> {
    if shape.persistent {
        for device in devices.iter().take(shape.devices()) {
            peer.target.connect(device, peer.target.full(device)).await?.disconnect().await;
        }
    }
    Ok(())
}

/// A round without times.
pub fn round_of(peer: &Peer, round: u32, value: f64, operations: u64, usage: Usage, failures: u64) -> Round {
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
