//! Everybody who takes part in one measurement, connected and subscribed.
use super::outgoing::Outgoing;
use super::receiving::Receiving;
use super::{Flow, Shape, Topics};
use crate::client::{Connected, Stream};
use crate::factory::Device;
use crate::peers::Peer;
use anyhow::Context;
use std::sync::Arc;

/// What every publisher's topic matches.
const FILTER: &str = "bench/+/up";

/// A device that is connected and, if it receives, has subscribed.
pub struct Member {
    pub stream: Stream,
    /// What it publishes, and whose flow that belongs to.
    pub publishes: Option<(Outgoing, Arc<Flow>)>,
    pub receives: Option<Receiving>,
}

/// One flow that all share, or one for each device that hears itself.
pub fn flows(shape: &Shape) -> Vec<Arc<Flow>> {
    match shape.topics {
        Topics::Shared { subscribers, .. } => vec![Arc::new(Flow::new(subscribers, shape.ahead()))],
        Topics::Own(devices) => (0..devices).map(|_| Arc::new(Flow::new(1, shape.ahead()))).collect(),
    }
}

/// Connects everybody: those who receive first. `in_flight` is how many messages of a publisher may be unacknowledged.
pub async fn gather(
    peer: &Peer,
    shape: &Shape,
    devices: &[Device],
    in_flight: u16,
    flows: &[Arc<Flow>],
) -> anyhow::Result<Vec<Member>> {
    let (publishing, rest) =
        devices.split_at_checked(shape.publishers()).context("there are too few devices")?;
    let own = matches!(shape.topics, Topics::Own(_));
    let receiving = if own { publishing } else { rest };
    let mut members = Vec::new();
    let publishes = |index: usize, device: &Device| {
        let flow = flows.get(if own { index } else { 0 }).context("a device without a flow")?;
        let outgoing = Outgoing::new(topic(device), shape.payload, shape.qos, shape.window(in_flight));
        anyhow::Ok((outgoing, flow.clone()))
    };
    for (index, device) in receiving.iter().take(shape.subscribers()).enumerate() {
        let (flow, number) = if own { (flows.get(index), 0) } else { (flows.first(), index) };
        let flow = flow.context("a device without a flow")?.clone();
        let mut connected = match shape.persistent {
            true => connect(peer, &device.persistent()).await?,
            false => connect(peer, device).await?,
        };
        let filter = if own { topic(device) } else { FILTER.to_owned() };
        connected.subscribe(&[&filter], shape.qos).await?;
        members.push(Member {
            stream: connected.stream,
            publishes: if own { Some(publishes(index, device)?) } else { None },
            receives: Some(Receiving::new(flow, number, topic(device).len(), shape.payload)),
        });
    }
    for (index, device) in publishing.iter().enumerate().filter(|_| !own) {
        let stream = connect(peer, device).await?.stream;
        members.push(Member { stream, publishes: Some(publishes(index, device)?), receives: None });
    }
    Ok(members)
}

/// The same number of bytes for every device.
fn topic(device: &Device) -> String {
    format!("bench/{}/up", device.name)
}

async fn connect(peer: &Peer, device: &Device) -> anyhow::Result<Connected> {
    peer.target.connect(device, peer.target.full(device)).await
}
