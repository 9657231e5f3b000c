//! Everybody at work at once, as fast as they can.
use super::Flow;
use super::members::Member;
use super::participant::Participant;
use super::publishing::Publishing;
use anyhow::bail;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// After the clock has stopped, without a further message: what has not come by then is lost.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// After the clock has stopped, with or without further messages.
pub const END: Duration = Duration::from_secs(10);

/// Publishers and receivers.
pub struct Crowd {
    flows: Vec<Arc<Flow>>,
    publishers: JoinSet<anyhow::Result<()>>,
    receivers: JoinSet<anyhow::Result<()>>,
}

impl Crowd {
    /// Everybody begins; publishers write so many messages at once.
    pub fn begin(members: Vec<Member>, flows: Vec<Arc<Flow>>, batch: u64) -> Self {
        let (mut publishers, mut receivers) = (JoinSet::new(), JoinSet::new());
        for Member { stream, publishes, receives } in members {
            let publishing = publishes.map(|(outgoing, flow)| Publishing::new(flow, batch, outgoing));
            let tasks = if receives.is_some() { &mut receivers } else { &mut publishers };
            tasks.spawn(Participant { stream, publishing, receiving: receives }.run());
        }
        Self { flows, publishers, receivers }
    }

    /// Waits for a measurement, during which nobody may leave.
    pub async fn during<T>(&mut self, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        let done = tokio::select! {
            done = work => return done,
            Some(ended) = self.receivers.join_next() => ended,
            Some(ended) = self.publishers.join_next() => ended,
        };
        match done? {
            Ok(()) => bail!("a connection has ended too early"),
            Err(error) => Err(error.context("a connection has ended too early")),
        }
    }

    /// Stops publishing, and waits for what is on its way.
    pub async fn end(mut self) -> anyhow::Result<()> {
        for flow in &self.flows {
            flow.stop();
        }
        let ending = async {
            while let Some(ended) = self.publishers.join_next().await {
                ended??;
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
            ended??;
        }
        Ok(())
    }
}
