//! Messages at a fixed rate, whoever is behind (an open loop): each is due at a time that is known before, so that a server
//! that holds up one message does not delay the next one's clock.
//!
//! The generator must not be what messages wait for. One thread that goes before others has all connections; it writes what is due
//! and reads what has come, and nothing wakes a task for a message.
mod line;
mod pacer;
mod pacing;
mod turns;
mod wire;

use super::crowd::{END, PATIENCE};
use super::load::{forget, lost, round_of};
use super::members::{flows, gather};
use super::receiving::Watch;
use super::{Flow, Shape};
use crate::arguments::Measure;
use crate::factory::Device;
use crate::peers::{Kind, Peer};
use crate::report::Round;
use crate::statistics::percentile;
use crate::usage::Meter;
use anyhow::Context;
use pacer::Found;
use pacing::{Outcome, Pacing};
use std::sync::Arc;
use std::time::Instant;
use turns::Turns;

/// What an open loop has found.
pub struct Paced {
    /// Its value is the 99th percentile, in milliseconds, of the time from when a message was due to when it was read.
    pub round: Round,
    pub late: Lateness,
}

/// What of the times is the generator's own.
#[derive(Debug, Clone, Copy)]
pub struct Lateness {
    pub peer: Kind,
    /// It came to 99 % of the messages within so many microseconds of their time.
    pub p99_micros: u32,
    /// Its thread went before others. Otherwise its own wait for a processor is in the figures.
    pub first: bool,
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
    let flows = flows(shape);
    let members = gather(peer, shape, devices, options.in_flight, &flows).await?;
    let (warm_up, length) = (options.warm_up(), options.warm_up() + options.window());
    let turns = Turns::new(rate, length, shape.publishers());
    for number in 0..turns.count() {
        flow(&flows, turns.whose(number)).announce();
    }
    let epoch = Instant::now();
    let watch = Watch { epoch, from: u64::try_from(warm_up.as_nanos())? };
    let mut pacing = Pacing::begin(members, turns, watch)?;
    let usage = pacing
        .during(async {
            tokio::time::sleep_until((epoch + warm_up).into()).await;
            let meter = Meter::start(peer.pid())?;
            tokio::time::sleep_until((epoch + length).into()).await;
            let usage = meter.stop()?;
            let drained = async {
                for flow in &flows {
                    flow.drained(PATIENCE).await;
                }
            };
            // What has not come by then is lost, which is counted.
            let _ = tokio::time::timeout(END, drained).await;
            Ok(usage)
        })
        .await?;
    let Outcome { found: Found { took: mut micros, mut late }, first } = pacing.end().await?;
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
    let p99_micros = percentile(&mut late, 0.99).unwrap_or_default();
    Ok(Paced { round, late: Lateness { peer: peer.kind, p99_micros, first } })
}

/// One that all share, or each publisher's own.
fn flow(flows: &[Arc<Flow>], publisher: usize) -> Arc<Flow> {
    flows.iter().cycle().nth(publisher).cloned().unwrap_or_else(|| Arc::new(Flow::new(0, 0)))
}
