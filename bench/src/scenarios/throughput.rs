//! Messages per second through TLS: 64 bytes, QoS 0 and 1, one to one, one to many, many to one.
//!
//! What is outstanding is bounded by the generator, so that every peer is measured at delivering and none at dropping:
//! publishers wait when the slowest subscriber is too far behind. Losses are counted all the same.
mod flow;
mod publisher;
mod subscriber;

use crate::client::Connected;
use crate::factory::Device;
use crate::lab::Lab;
use crate::peers::{Kind, Peer};
use crate::report::{Case, Report, Round, progress};
use crate::usage::Meter;
use anyhow::{Context, bail, ensure};
use flow::Flow;
use publisher::Publisher;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

const MANY: usize = 50;
const PAYLOAD: [u8; 64] = [b'x'; 64];
/// What every publisher's topic matches.
const FILTER: &str = "bench/+/up";
/// Before the clock starts.
const WARM_UP: Duration = Duration::from_millis(500);
/// After the clock has stopped, without a further message: what has not come by then is lost.
const PATIENCE: Duration = Duration::from_secs(2);

/// A load.
#[derive(Clone, Copy)]
struct Shape {
    publishers: usize,
    subscribers: usize,
    qos: u8,
    /// Messages that a publisher writes at once.
    batch: u64,
}

/// As fast as one publisher can be: many messages per write.
const BATCH: u64 = 32;

/// The last of each QoS is what a fleet does: many devices, each with one message at a time.
const SHAPES: [Shape; 8] = [
    Shape { publishers: 1, subscribers: 1, qos: 0, batch: BATCH },
    Shape { publishers: 1, subscribers: MANY, qos: 0, batch: BATCH },
    Shape { publishers: MANY, subscribers: 1, qos: 0, batch: BATCH },
    Shape { publishers: MANY, subscribers: 1, qos: 0, batch: 1 },
    Shape { publishers: 1, subscribers: 1, qos: 1, batch: BATCH },
    Shape { publishers: 1, subscribers: MANY, qos: 1, batch: BATCH },
    Shape { publishers: MANY, subscribers: 1, qos: 1, batch: BATCH },
    Shape { publishers: MANY, subscribers: 1, qos: 1, batch: 1 },
];

pub async fn run(lab: &Lab, report: &mut Report) -> anyhow::Result<()> {
    let devices = lab.factory.devices("flow", MANY + 1)?;
    let mut peers = Vec::new();
    for kind in &lab.options.peers {
        let kinds: &[Kind] = match kind {
            Kind::Ceiling => &[],
            Kind::Mosquitto => &[Kind::Mosquitto, Kind::MosquittoNagle],
            other => &[*other],
        };
        for kind in kinds {
            peers.push(Peer::start(lab, *kind).await?);
        }
    }
    for shape in SHAPES {
        let Shape { publishers, subscribers, qos, batch } = shape;
        let variant = format!("QoS {qos}, {publishers} to {subscribers}, 64 B, {batch} per write");
        progress(&format!("throughput: {variant}"));
        let mut case = Case::new("throughput", variant, "deliveries/s");
        for round in 0..lab.options.rounds {
            for peer in &peers {
                let window = Duration::from_secs(lab.options.seconds);
                case.rounds.push(measure(peer, round, shape, &devices, window).await?);
            }
        }
        case.compare(Kind::Mosquitto, Some(2.0));
        case.compare(Kind::MosquittoNagle, Some(2.0));
        report.add(case)?;
    }
    Ok(())
}

/// Connects, subscribes, publishes; counts deliveries in a window; stops, and waits for what is still on its way.
async fn measure(
    peer: &Peer,
    round: u32,
    shape: Shape,
    devices: &[Device],
    window: Duration,
) -> anyhow::Result<Round> {
    let flow = Arc::new(Flow::new(shape.subscribers));
    let expected = devices.first().map(topic).unwrap_or_default().len() + PAYLOAD.len();
    let mut tasks = JoinSet::new();
    let (publishing, subscribing) = devices.split_at_checked(shape.publishers).context("too few devices")?;
    for (index, device) in subscribing.iter().take(shape.subscribers).enumerate() {
        let mut connected = connect(peer, device).await?;
        connected.subscribe(&[FILTER], shape.qos).await?;
        tasks.spawn(subscriber::run(connected.stream, flow.clone(), index, expected));
    }
    let mut publishers = JoinSet::new();
    for device in publishing {
        let stream = connect(peer, device).await?.stream;
        let publisher = Publisher { flow: flow.clone(), topic: topic(device), batch: shape.batch };
        publishers.spawn(publisher.run(stream, shape.qos));
    }
    let measured = async {
        tokio::time::sleep(WARM_UP).await;
        let before = flow.delivered();
        let meter = Meter::start(peer.pid())?;
        tokio::time::sleep(window).await;
        let operations = flow.delivered() - before;
        Ok::<_, anyhow::Error>((operations, meter.stop()?))
    };
    let (operations, usage) = tokio::select! {
        measured = measured => measured?,
        ended = tasks.join_next() => bail!("{}: a subscriber has ended: {ended:?}", peer.kind),
        Some(ended) = publishers.join_next() => bail!("{}: a publisher has ended: {ended:?}", peer.kind),
    };
    flow.stop();
    while let Some(ended) = publishers.join_next().await {
        ended??;
    }
    flow.drained(PATIENCE).await;
    flow.finish();
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    let (lost, repeated) = flow.balance();
    ensure!(repeated == 0, "{}: {repeated} deliveries more than there were messages", peer.kind);
    Ok(Round {
        peer: peer.kind,
        round,
        value: operations as f64 / usage.seconds,
        operations,
        usage: Some(usage),
        p50_micros: None,
        p99_micros: None,
        failures: lost,
    })
}

/// The same number of bytes for every device.
fn topic(device: &Device) -> String {
    format!("bench/{}/up", device.name)
}

async fn connect(peer: &Peer, device: &Device) -> anyhow::Result<Connected> {
    peer.target.connect(device, peer.target.full(device)).await
}
