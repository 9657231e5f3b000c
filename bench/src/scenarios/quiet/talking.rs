//! The process of a quiet pair. Each line that it reads begins a window or ends it; then it says what it has seen, as JSON.
use super::{AMONG_OTHERS, BEFORE_OTHERS, Latencies};
use crate::arguments::Quiet;
use crate::client::{Stream, Target};
use crate::factory::{Device, Factory, Files};
use crate::frames::Frames;
use crate::mqtt;
use crate::orders::orders;
use crate::priority::go_first;
use crate::statistics::percentile;
use anyhow::{Context, ensure};
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::MissedTickBehavior;

/// From one message to the next.
const PACE: Duration = Duration::from_millis(2);
/// What has not come so long after the last message was sent is lost.
const PATIENCE: Duration = Duration::from_secs(5);

/// Connects two devices, says so, and lets them talk when told to, until its input ends.
pub async fn talk(arguments: Quiet) -> anyhow::Result<()> {
    tokio::task::spawn_blocking(move || {
        // Of this thread, which does all the work.
        let ready = if go_first() { BEFORE_OTHERS } else { AMONG_OTHERS };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut pair = Pair::connect(&arguments).await?;
            let mut orders = orders();
            say(ready)?;
            while orders.recv().await.is_some() {
                say(&serde_json::to_string(&pair.window(&mut orders).await?)?)?;
            }
            Ok(())
        })
    })
    .await?
}

fn say(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

/// Both ends.
struct Pair {
    sender: Stream,
    receiver: Stream,
    topic: String,
    begin: Instant,
}

impl Pair {
    async fn connect(arguments: &Quiet) -> anyhow::Result<Self> {
        let target = Target::new(arguments.address, &arguments.certificate)?;
        let factory = Factory::load(&Files { directory: arguments.factory.clone() })?;
        let devices: Vec<Device> = factory.devices("quiet", 2)?;
        let [sending, receiving] = devices.as_slice() else { anyhow::bail!("two devices are needed") };
        let topic = format!("bench/{}/up", sending.name);
        let mut receiver = target.connect(receiving, target.full(receiving)).await?;
        receiver.subscribe(&[&topic], 0).await?;
        let sender = target.connect(sending, target.full(sending)).await?;
        Ok(Self { sender: sender.stream, receiver: receiver.stream, topic, begin: Instant::now() })
    }

    /// Talks until the next order, and then waits for what is on its way.
    async fn window(&mut self, orders: &mut UnboundedReceiver<String>) -> anyhow::Result<Latencies> {
        let Self { sender, receiver, topic, begin } = self;
        let now = || u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let (since, sent, done) = (now(), AtomicU64::new(0), AtomicBool::new(false));
        let sending = async {
            let mut clock = tokio::time::interval(PACE);
            clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut packet = Vec::new();
            loop {
                tokio::select! {
                    biased;
                    order = orders.recv() => {
                        done.store(true, Ordering::Relaxed);
                        return order.map(drop).context("nobody asks any more");
                    }
                    _ = clock.tick() => {}
                }
                packet.clear();
                mqtt::publish(&mut packet, topic, &now().to_be_bytes(), None);
                sent.fetch_add(1, Ordering::Relaxed);
                sender.write_all(&packet).await?;
                sender.flush().await?;
            }
        };
        let receiving = async {
            let (mut frames, mut buffer, mut micros) = (Frames::default(), vec![0; 4096], Vec::new());
            loop {
                let is_done = done.load(Ordering::Relaxed);
                let all = is_done && micros.len() as u64 == sent.load(Ordering::Relaxed);
                let patience = match is_done {
                    true if all => Duration::ZERO,
                    true => PATIENCE,
                    // All may have come when it ends.
                    false => 10 * PACE,
                };
                let Ok(read) = tokio::time::timeout(patience, receiver.read(&mut buffer)).await else {
                    if is_done {
                        return anyhow::Ok(micros);
                    }
                    continue;
                };
                let read = read?;
                ensure!(read > 0, "the quiet receiver was disconnected");
                let now = now();
                frames.feed(buffer.get(..read).unwrap_or_default(), |packet| {
                    let at = packet.body.last_chunk().filter(|_| packet.kind() == mqtt::PUBLISH);
                    // What came too late for the window before counts there as lost.
                    if let Some(at) = at.map(|at| u64::from_be_bytes(*at)).filter(|at| *at >= since) {
                        micros.push(u32::try_from(now.saturating_sub(at) / 1000).unwrap_or(u32::MAX));
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
}
