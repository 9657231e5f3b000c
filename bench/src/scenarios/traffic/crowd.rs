//! All connections of one measurement.
use super::participant::{Participant, Times};
use super::publishing::{Publishing, When};
use super::receiving::{Receiving, Watch};
use super::{Flow, Shape, Topics};
use crate::client::Connected;
use crate::factory::Device;
use crate::peers::Peer;
use anyhow::{Context, bail};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// After the clock has stopped, without a further message: what has not come by then is lost.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// After the clock has stopped, with or without further messages.
const END: Duration = Duration::from_secs(10);
/// What every publisher's topic matches.
const FILTER: &str = "bench/+/up";

/// Publishers and receivers at work.
pub struct Crowd {
    /// One that all share, or one for each device that hears itself.
    pub flows: Vec<Arc<Flow>>,
    publishers: JoinSet<anyhow::Result<Times>>,
    receivers: JoinSet<anyhow::Result<Times>>,
}

impl Crowd {
    /// Nobody yet.
    pub fn new(shape: &Shape) -> Self {
        let flows = match shape.topics {
            Topics::Shared { subscribers, .. } => vec![Arc::new(Flow::new(subscribers, shape.ahead()))],
            Topics::Own(devices) => (0..devices).map(|_| Arc::new(Flow::new(1, shape.ahead()))).collect(),
        };
        Self { flows, publishers: JoinSet::new(), receivers: JoinSet::new() }
    }

    /// Connects everybody: those who receive first. `when` says when the publisher of a number publishes; so many of its messages
    /// may be in flight.
    pub async fn gather(
        &mut self,
        peer: &Peer,
        shape: &Shape,
        devices: &[Device],
        in_flight: u16,
        watch: Option<Watch>,
        mut when: impl FnMut(usize) -> When,
    ) -> anyhow::Result<()> {
        let (publishing, rest) =
            devices.split_at_checked(shape.publishers()).context("there are too few devices")?;
        let own = matches!(shape.topics, Topics::Own(_));
        let receiving = if own { publishing } else { rest };
        let mut publisher = |index: usize, device: &Device| {
            Publishing::new(when(index), topic(device), shape.payload, shape.qos, shape.window(in_flight))
        };
        for (index, device) in receiving.iter().take(shape.subscribers()).enumerate() {
            let (flow, number) = if own { (self.flows.get(index), 0) } else { (self.flows.first(), index) };
            let flow = flow.context("a device without a flow")?.clone();
            let mut connected = match shape.persistent {
                true => connect(peer, &device.persistent()).await?,
                false => connect(peer, device).await?,
            };
            let filter = if own { topic(device) } else { FILTER.to_owned() };
            connected.subscribe(&[&filter], shape.qos).await?;
            let receiving = Receiving::new(flow, number, topic(device).len(), shape.payload, watch.clone());
            let participant = Participant {
                stream: connected.stream,
                publishing: own.then(|| publisher(index, device)),
                receiving: Some(receiving),
            };
            self.receivers.spawn(participant.run());
        }
        for (index, device) in publishing.iter().enumerate().filter(|_| !own) {
            let stream = connect(peer, device).await?.stream;
            let publishing = Some(publisher(index, device));
            self.publishers.spawn(Participant { stream, publishing, receiving: None }.run());
        }
        Ok(())
    }

    /// Waits for a measurement, during which nobody may leave.
    pub async fn during<T>(&mut self, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        let done = tokio::select! {
            done = work => return done,
            Some(ended) = self.receivers.join_next() => ended,
            Some(ended) = self.publishers.join_next() => ended,
        };
        match done? {
            Ok(_) => bail!("a connection has ended too early"),
            Err(error) => Err(error.context("a connection has ended too early")),
        }
    }

    /// Stops publishing, and waits for what is on its way.
    pub async fn end(mut self) -> anyhow::Result<Times> {
        let mut times = Times::default();
        for flow in &self.flows {
            flow.stop();
        }
        let ending = async {
            while let Some(ended) = self.publishers.join_next().await {
                times.late.extend(ended??.late);
            }
            for flow in &self.flows {
                flow.drained(PATIENCE).await;
            }
            anyhow::Ok(())
        };
        // Whoever is not through by then has lost messages, which are counted.
        tokio::time::timeout(END, ending).await.unwrap_or(Ok(()))?;
        for flow in &self.flows {
            flow.finish();
        }
        while let Some(ended) = self.receivers.join_next().await {
            let Times { took, late } = ended??;
            times.took.extend(took);
            times.late.extend(late);
        }
        Ok(times)
    }
}

/// The same number of bytes for every device.
fn topic(device: &Device) -> String {
    format!("bench/{}/up", device.name)
}

async fn connect(peer: &Peer, device: &Device) -> anyhow::Result<Connected> {
    peer.target.connect(device, peer.target.full(device)).await
}
