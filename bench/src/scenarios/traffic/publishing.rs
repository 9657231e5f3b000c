//! What a participant publishes: as much as the slowest subscriber can take.
use super::Flow;
use super::outgoing::Outgoing;
use std::sync::Arc;

/// The publishing half of a participant.
pub struct Publishing {
    flow: Arc<Flow>,
    batch: u64,
    outgoing: Outgoing,
    open: bool,
}

impl Publishing {
    /// `batch`: messages that are written at once.
    pub fn new(flow: Arc<Flow>, batch: u64, outgoing: Outgoing) -> Self {
        Self { flow, batch, outgoing, open: true }
    }

    /// There may be more to publish, and room for it.
    pub fn may_publish(&self) -> bool {
        self.open && self.outgoing.has_room(self.batch)
    }

    /// Nothing more to publish, and all of it acknowledged.
    pub fn has_ended(&self) -> bool {
        !self.open && self.outgoing.is_settled()
    }

    /// Waits until the slowest subscriber is near enough. False: it is over. Nothing is lost when this is dropped before it is ready.
    pub async fn wait(&mut self) -> bool {
        self.open = self.flow.take(self.batch).await;
        self.open
    }

    /// The messages that were waited for, as packets.
    pub fn messages(&mut self) -> &[u8] {
        self.outgoing.messages(self.batch)
    }

    /// So many are acknowledged (QoS 1) or completed (QoS 2).
    pub fn settle(&mut self, count: u64) -> anyhow::Result<()> {
        self.outgoing.settle(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_publisher_has_ended_when_it_is_over_and_all_is_acknowledged() {
        let flow = Arc::new(Flow::new(1, 100));
        let mut publishing = Publishing::new(flow.clone(), 2, Outgoing::new("t".into(), 8, 1, 2));
        assert!(publishing.may_publish() && publishing.wait().await);
        assert!(!publishing.messages().is_empty());
        assert!(!publishing.may_publish());
        flow.stop();
        assert!(!publishing.wait().await);
        assert!(!publishing.has_ended());
        publishing.settle(2).unwrap();
        assert!(publishing.has_ended());
    }
}
