//! Two devices that nobody is to disturb: one sends the other a small message now and then, and how long each takes is what
//! a loud neighbour is measured by.
//!
//! They have a thread of their own, so that they wait for the server and for the kernel, and not for the rest of the load
//! generator.
use crate::client::{Stream, Target};
use crate::factory::Device;
use crate::frames::Frames;
use crate::mqtt;
use crate::peers::Kind;
use crate::report::Round;
use crate::statistics::percentile;
use crate::usage::Usage;
use anyhow::{Context, ensure};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

/// From one message to the next.
const PACE: Duration = Duration::from_millis(5);
/// What has not come so long after the last message was sent is lost.
const PATIENCE: Duration = Duration::from_secs(5);

/// Two devices at work.
pub struct Pair {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<Latencies>>,
}

/// How long messages took from write to read.
pub struct Latencies {
    pub messages: u64,
    pub lost: u64,
    pub p50_micros: u32,
    pub p99_micros: u32,
}

impl Latencies {
    /// The round that they are the result of.
    pub fn round(&self, peer: Kind, round: u32, usage: Usage) -> Round {
        Round {
            peer,
            round,
            value: f64::from(self.p99_micros) / 1000.0,
            operations: self.messages,
            usage: Some(usage),
            p50_micros: Some(self.p50_micros),
            p99_micros: Some(self.p99_micros),
            p999_micros: None,
            failures: self.lost,
        }
    }
}

impl Pair {
    /// Connects both and begins. The devices are known to the server.
    pub async fn start(target: Arc<Target>, devices: Arc<Vec<Device>>) -> anyhow::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (ready, begun) = tokio::sync::oneshot::channel();
        let stopped = stop.clone();
        let thread = tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let (sender, receiver, topic) = connect(&target, &devices).await?;
                let _ = ready.send(());
                exchange(sender, receiver, topic, &stopped).await
            })
        });
        // An error shows when the thread is asked for its result.
        let _ = begun.await;
        Ok(Self { stop, thread })
    }

    /// Ends it, and waits for what is on its way.
    pub async fn stop(self) -> anyhow::Result<Latencies> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.await?
    }
}

async fn connect(target: &Target, devices: &[Device]) -> anyhow::Result<(Stream, Stream, String)> {
    let [sending, receiving, ..] = devices else { anyhow::bail!("two devices are needed") };
    let topic = format!("bench/{}/up", sending.name);
    let mut receiver = target.connect(receiving, target.full(receiving)).await?;
    receiver.subscribe(&[&topic], 0).await?;
    let sender = target.connect(sending, target.full(sending)).await?;
    Ok((sender.stream, receiver.stream, topic))
}

async fn exchange(
    mut sender: Stream,
    mut receiver: Stream,
    topic: String,
    stop: &AtomicBool,
) -> anyhow::Result<Latencies> {
    let (begin, sent) = (Instant::now(), AtomicU64::new(0));
    let done = AtomicBool::new(false);
    let sending = async {
        let mut clock = tokio::time::interval(PACE);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut packet = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            clock.tick().await;
            packet.clear();
            mqtt::publish(&mut packet, &topic, &nanos(begin).to_be_bytes(), None);
            sent.fetch_add(1, Ordering::Relaxed);
            sender.write_all(&packet).await?;
            sender.flush().await?;
        }
        done.store(true, Ordering::Relaxed);
        anyhow::Ok(())
    };
    let receiving = async {
        let (mut frames, mut buffer, mut micros) = (Frames::default(), vec![0; 4096], Vec::new());
        loop {
            let all = done.load(Ordering::Relaxed) && micros.len() as u64 == sent.load(Ordering::Relaxed);
            let patience = if all { Duration::ZERO } else { PATIENCE };
            let Ok(read) = tokio::time::timeout(patience, receiver.read(&mut buffer)).await else {
                if done.load(Ordering::Relaxed) {
                    return anyhow::Ok(micros);
                }
                continue;
            };
            let read = read?;
            ensure!(read > 0, "the quiet receiver was disconnected");
            let now = nanos(begin);
            frames.feed(buffer.get(..read).unwrap_or_default(), |packet| {
                if let Some(at) = packet.body.last_chunk().filter(|_| packet.kind() == mqtt::PUBLISH) {
                    let took = now.saturating_sub(u64::from_be_bytes(*at)) / 1000;
                    micros.push(u32::try_from(took).unwrap_or(u32::MAX));
                }
            })?;
        }
    };
    let ((), mut micros) = tokio::try_join!(sending, receiving)?;
    let (messages, sent) = (micros.len() as u64, sent.load(Ordering::Relaxed));
    Ok(Latencies {
        messages,
        lost: sent.saturating_sub(messages),
        p50_micros: percentile(&mut micros, 0.5).context("no message came")?,
        p99_micros: percentile(&mut micros, 0.99).context("no message came")?,
    })
}

fn nanos(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
