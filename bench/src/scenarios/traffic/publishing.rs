//! What a participant publishes, and when.
use super::Flow;
use super::receiving::Watch;
use crate::mqtt;
use std::iter::Cycle;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::mpsc::UnboundedReceiver;

/// The publishing half of a participant.
pub struct Publishing {
    when: When,
    topic: String,
    payload: Vec<u8>,
    qos: u8,
    window: u64,
    unacknowledged: u64,
    ids: Cycle<RangeInclusive<u16>>,
    encoded: Vec<u8>,
    open: bool,
    late: Vec<u32>,
}

/// When the next messages are due.
pub enum When {
    /// So many at once, as soon as the slowest subscriber is near enough.
    Flow(Arc<Flow>, u64),
    /// Each at its time, in nanoseconds, which it carries. How late it is written is watched.
    Schedule(UnboundedReceiver<u64>, Watch),
}

/// Messages to be written now.
pub enum Due {
    Batch(u64),
    At(u64),
}

impl Publishing {
    /// `payload`: bytes. `window`: messages above QoS 0 that may be unacknowledged.
    pub fn new(when: When, topic: String, payload: usize, qos: u8, window: u64) -> Self {
        Self {
            when,
            topic,
            payload: vec![b'x'; payload],
            qos,
            window,
            unacknowledged: 0,
            ids: (1..=u16::MAX).cycle(),
            encoded: Vec::new(),
            open: true,
            late: Vec::new(),
        }
    }

    /// There may be more to publish, and room for it.
    pub fn may_publish(&self) -> bool {
        let batch = if let When::Flow(_, batch) = &self.when { *batch } else { 1 };
        self.open && (self.qos == 0 || self.unacknowledged + batch <= self.window.max(batch))
    }

    /// Nothing more to publish, and all of it acknowledged.
    pub fn has_ended(&self) -> bool {
        !self.open && self.unacknowledged == 0
    }

    /// Waits until messages are due; `None` once it is over. Nothing is lost when this is dropped before it is ready.
    pub async fn next(&mut self) -> Option<Due> {
        let due = match &mut self.when {
            When::Flow(flow, batch) => flow.take(*batch).await.then_some(Due::Batch(*batch)),
            When::Schedule(times, _) => times.recv().await.map(Due::At),
        };
        self.open = due.is_some();
        due
    }

    /// The messages as packets.
    pub fn encode(&mut self, due: &Due) -> &[u8] {
        let count = match due {
            Due::Batch(_) if self.qos == 0 && !self.encoded.is_empty() => return &self.encoded,
            Due::Batch(count) => *count,
            Due::At(time) => {
                if let When::Schedule(_, watch) = &self.when {
                    self.late.extend(watch.micros_since(*time, Instant::now()));
                }
                if let Some(start) = self.payload.first_chunk_mut() {
                    *start = time.to_be_bytes();
                }
                1
            }
        };
        self.encoded.clear();
        for _ in 0..count {
            let assured = if self.qos == 0 { None } else { self.ids.next().map(|id| (self.qos, id)) };
            mqtt::publish(&mut self.encoded, &self.topic, &self.payload, assured);
        }
        if self.qos > 0 {
            self.unacknowledged += count;
        }
        &self.encoded
    }

    /// How late the timed messages were written, in microseconds.
    pub fn into_late(self) -> Vec<u32> {
        self.late
    }

    /// So many are acknowledged (QoS 1) or completed (QoS 2).
    pub fn settle(&mut self, count: u64) -> anyhow::Result<()> {
        anyhow::ensure!(count <= self.unacknowledged, "more acknowledgements than messages");
        self.unacknowledged -= count;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_publisher_waits_for_acknowledgements_and_has_ended_when_all_have_come() {
        let flow = Arc::new(Flow::new(1, 100));
        let mut publishing = Publishing::new(When::Flow(flow.clone(), 2), "t".into(), 8, 1, 4);
        for _ in 0..2 {
            assert!(publishing.may_publish());
            let due = publishing.next().await.unwrap();
            assert_eq!(publishing.encode(&due).len(), 2 * (2 + 3 + 2 + 8));
        }
        assert!(!publishing.may_publish());
        publishing.settle(2).unwrap();
        assert!(publishing.may_publish());
        flow.stop();
        assert!(publishing.next().await.is_none());
        assert!(!publishing.has_ended());
        publishing.settle(2).unwrap();
        assert!(publishing.has_ended());
        assert!(publishing.settle(1).is_err());
    }

    #[tokio::test]
    async fn a_scheduled_message_carries_its_time_and_how_late_it_is_written_is_known() {
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
        let epoch = Instant::now() - std::time::Duration::from_secs(1);
        let watch = Watch { epoch: Arc::new(epoch.into()), from: 0 };
        let mut publishing = Publishing::new(When::Schedule(receiver, watch), "t".into(), 16, 0, 1);
        sender.send(0x0102).unwrap();
        drop(sender);
        let due = publishing.next().await.unwrap();
        let packet = publishing.encode(&due).to_vec();
        assert_eq!(packet[5..13], [0, 0, 0, 0, 0, 0, 1, 2]);
        assert!(publishing.next().await.is_none());
        assert!(publishing.has_ended());
        let late = publishing.into_late();
        assert!(late.len() == 1 && late[0] >= 999_999, "{late:?}");
    }
}
