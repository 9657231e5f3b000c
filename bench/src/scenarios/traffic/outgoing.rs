//! The messages of one publisher as packets, and how many of them are unacknowledged.
use crate::mqtt;
use anyhow::ensure;
use std::iter::Cycle;
use std::ops::RangeInclusive;

/// A publisher's messages: all alike but for a time that they may carry.
pub struct Outgoing {
    topic: String,
    payload: Vec<u8>,
    qos: u8,
    window: u64,
    unacknowledged: u64,
    ids: Cycle<RangeInclusive<u16>>,
    encoded: Vec<u8>,
}

impl Outgoing {
    /// `payload`: bytes. `window`: messages above QoS 0 that may be unacknowledged.
    pub fn new(topic: String, payload: usize, qos: u8, window: u64) -> Self {
        Self {
            topic,
            payload: vec![b'x'; payload],
            qos,
            window,
            unacknowledged: 0,
            ids: (1..=u16::MAX).cycle(),
            encoded: Vec::new(),
        }
    }

    /// So many more may be published without waiting for an acknowledgement.
    pub fn has_room(&self, count: u64) -> bool {
        self.qos == 0 || self.unacknowledged + count <= self.window.max(count)
    }

    /// So many messages.
    pub fn messages(&mut self, count: u64) -> &[u8] {
        if self.qos == 0 && !self.encoded.is_empty() {
            return &self.encoded;
        }
        self.encode(count)
    }

    /// A message that says when it was due: in nanoseconds, at the begin of its payload.
    pub fn message_due_at(&mut self, nanos: u64) -> &[u8] {
        if let Some(start) = self.payload.first_chunk_mut() {
            *start = nanos.to_be_bytes();
        }
        self.encode(1)
    }

    fn encode(&mut self, count: u64) -> &[u8] {
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

    /// So many are acknowledged (QoS 1) or completed (QoS 2).
    pub fn settle(&mut self, count: u64) -> anyhow::Result<()> {
        ensure!(count <= self.unacknowledged, "more acknowledgements than messages");
        self.unacknowledged -= count;
        Ok(())
    }

    /// All of them are acknowledged.
    pub fn is_settled(&self) -> bool {
        self.unacknowledged == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_until_the_window_is_full_and_again_when_messages_are_settled() {
        let mut outgoing = Outgoing::new("t".into(), 8, 1, 4);
        for _ in 0..2 {
            assert!(outgoing.has_room(2));
            assert_eq!(outgoing.messages(2).len(), 2 * (2 + 3 + 2 + 8));
        }
        assert!(!outgoing.has_room(2));
        outgoing.settle(2).unwrap();
        assert!(outgoing.has_room(2) && !outgoing.is_settled());
        outgoing.settle(2).unwrap();
        assert!(outgoing.is_settled());
        assert!(outgoing.settle(1).is_err());
    }

    #[test]
    fn a_message_carries_its_time() {
        let mut outgoing = Outgoing::new("t".into(), 16, 0, 1);
        assert_eq!(outgoing.message_due_at(0x0102)[5..13], [0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(outgoing.message_due_at(0x0103)[5..13], [0, 0, 0, 0, 0, 0, 1, 3]);
    }
}
