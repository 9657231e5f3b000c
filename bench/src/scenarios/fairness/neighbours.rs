//! The loud neighbours.
use super::super::connecting::connect_all;
use crate::client::{Connected, Stream, Target};
use crate::factory::Device;
use crate::mqtt;
use crate::peers::Peer;
use anyhow::{Context, ensure};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Who disturbs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Neighbour {
    /// Publishes as fast as it can what nobody wants.
    Flood,
    /// Reads a little now and then of much that is for it.
    SlowSubscriber,
    /// Never reads what is for it.
    DeafSubscriber,
    /// One message a quarter of a second, for very many.
    FanOut,
}

/// The devices that the noise is made of.
pub struct Neighbours {
    target: Arc<Target>,
    loud: Arc<Vec<Device>>,
    /// Subscribed to the second loud device. They read for as long as this lives.
    _crowd: JoinSet<()>,
}

/// Noise that goes on.
pub struct Noise {
    stop: watch::Sender<bool>,
    task: JoinHandle<anyhow::Result<()>>,
}

const PAYLOAD: [u8; 64] = [b'x'; 64];
const LARGE_PAYLOAD: [u8; 1024] = [b'x'; 1024];
/// Messages of a flood per write.
const BATCH: usize = 32;
/// To the slow and the deaf subscriber: so many a millisecond.
const EACH_MILLISECOND: usize = 4;
const FAN_OUT_EVERY: Duration = Duration::from_millis(250);
/// The slow subscriber: so many bytes, so often.
const SIP: usize = 1024;
const SIP_EVERY: Duration = Duration::from_millis(10);

impl Neighbour {
    pub const ALL: [Self; 4] = [Self::Flood, Self::SlowSubscriber, Self::DeafSubscriber, Self::FanOut];

    /// For tables.
    pub fn name(self, crowd: usize) -> String {
        match self {
            Self::Flood => "beside a publisher that floods".to_owned(),
            Self::SlowSubscriber => "beside a subscriber that is too slow".to_owned(),
            Self::DeafSubscriber => "beside a subscriber that never reads".to_owned(),
            Self::FanOut => format!("beside a message to {crowd} sessions four times a second"),
        }
    }
}

impl Neighbours {
    /// Connects the crowd.
    pub async fn move_in(
        peer: &Peer,
        loud: &Arc<Vec<Device>>,
        crowd: &Arc<Vec<Device>>,
    ) -> anyhow::Result<Self> {
        let topic = topic(loud.get(1).context("too few devices")?);
        let mut reading = JoinSet::new();
        for mut connected in connect_all(peer, crowd).await? {
            connected.subscribe(&[&topic], 0).await?;
            reading.spawn(read_on(connected.stream));
        }
        ensure!(reading.len() == crowd.len(), "only {} of {} are connected", reading.len(), crowd.len());
        Ok(Self { target: peer.target.clone(), loud: loud.clone(), _crowd: reading })
    }

    /// Begins.
    pub fn make_noise(&self, neighbour: Neighbour) -> Noise {
        let (stop, stopped) = watch::channel(false);
        let (target, loud) = (self.target.clone(), self.loud.clone());
        Noise { stop, task: tokio::spawn(async move { disturb(neighbour, &target, &loud, stopped).await }) }
    }
}

impl Noise {
    /// Ends.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.stop.send_replace(true);
        self.task.await?
    }
}

async fn disturb(
    neighbour: Neighbour,
    target: &Target,
    loud: &[Device],
    mut stopped: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let [first, second] = loud else { anyhow::bail!("two devices are needed") };
    let connect = |device| async move { target.connect(device, target.full(device)).await };
    let noise = async {
        match neighbour {
            Neighbour::Flood => flood(connect(first).await?.stream, &topic(first)).await,
            Neighbour::FanOut => {
                let sender = connect(second).await?.stream;
                paced(sender, &topic(second), &PAYLOAD, 1, FAN_OUT_EVERY).await
            }
            Neighbour::SlowSubscriber | Neighbour::DeafSubscriber => {
                let mut receiver = connect(second).await?;
                receiver.subscribe(&[&topic(first)], 0).await?;
                let sender = connect(first).await?.stream;
                let topic = topic(first);
                let sending =
                    paced(sender, &topic, &LARGE_PAYLOAD, EACH_MILLISECOND, Duration::from_millis(1));
                let listening = async {
                    match neighbour {
                        Neighbour::SlowSubscriber => sip(receiver).await,
                        // Held, and not looked at.
                        _ => std::future::pending::<anyhow::Result<()>>().await,
                    }
                };
                tokio::try_join!(sending, listening).map(|_| ())
            }
        }
    };
    tokio::select! {
        ended = noise => ended.context("a neighbour has fallen silent"),
        _ = stopped.wait_for(|stopped| *stopped) => Ok(()),
    }
}

async fn flood(mut sender: Stream, topic: &str) -> anyhow::Result<()> {
    let mut batch = Vec::new();
    for _ in 0..BATCH {
        mqtt::publish(&mut batch, topic, &PAYLOAD, None);
    }
    loop {
        sender.write_all(&batch).await?;
        sender.flush().await?;
    }
}

async fn paced(
    mut sender: Stream,
    topic: &str,
    payload: &[u8],
    at_once: usize,
    every: Duration,
) -> anyhow::Result<()> {
    let mut batch = Vec::new();
    for _ in 0..at_once {
        mqtt::publish(&mut batch, topic, payload, None);
    }
    let mut clock = tokio::time::interval(every);
    loop {
        clock.tick().await;
        sender.write_all(&batch).await?;
        sender.flush().await?;
    }
}

async fn sip(mut receiver: Connected) -> anyhow::Result<()> {
    let mut buffer = [0; SIP];
    let mut clock = tokio::time::interval(SIP_EVERY);
    loop {
        clock.tick().await;
        ensure!(receiver.stream.read(&mut buffer).await? > 0, "the slow subscriber was disconnected");
    }
}

/// Reads until the connection ends.
async fn read_on(mut stream: Stream) {
    let mut buffer = [0; 512];
    while let Ok(1..) = stream.read(&mut buffer).await {}
}

fn topic(device: &Device) -> String {
    format!("bench/{}/up", device.name)
}
