//! Who publishes what to whom.

/// Messages that may be on their way to a subscriber: well below every queue's bound.
const AHEAD: u64 = 4000;
/// The same in bytes of payload, for large ones: less than sockets hold.
const AHEAD_BYTES: u64 = 1 << 20;
/// The same for a device that is both publisher and subscriber: it must not wait for itself.
const AHEAD_OF_ITSELF: u64 = 64;
/// As fast as one publisher can be: many messages per write.
pub const BATCH: u64 = 32;
/// Bytes of payload in one write, at most.
const BATCH_BYTES: usize = 64 * 1024;

/// A load.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub topics: Topics,
    pub qos: u8,
    /// Bytes.
    pub payload: usize,
    /// Messages that a publisher writes at once.
    pub batch: u64,
    /// A publisher of QoS 1 or 2 waits until what it wrote is acknowledged.
    pub waits: bool,
    /// The sessions of subscribers outlive their connections.
    pub persistent: bool,
}

/// Who hears whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topics {
    /// Every subscriber hears every publisher.
    Shared { publishers: usize, subscribers: usize },
    /// So many devices; each hears itself.
    Own(usize),
}

impl Shape {
    /// 64 bytes, many messages per write.
    pub fn bulk(topics: Topics, qos: u8) -> Self {
        Self { topics, qos, payload: 64, batch: BATCH, waits: false, persistent: false }
    }

    /// 64 bytes, as devices send them: one per write, and the next after its acknowledgement.
    pub fn one_by_one(topics: Topics, qos: u8) -> Self {
        Self { batch: 1, waits: true, ..Self::bulk(topics, qos) }
    }

    /// One per write, without waiting for acknowledgements.
    pub fn streamed(topics: Topics, qos: u8) -> Self {
        Self { batch: 1, ..Self::bulk(topics, qos) }
    }

    /// The same with a payload of so many bytes; writes stay below 64 KiB or are one message each.
    pub fn with_payload(self, payload: usize) -> Self {
        let fitting = (BATCH_BYTES / payload.max(1)).max(1);
        Self { payload, batch: self.batch.min(u64::try_from(fitting).unwrap_or(u64::MAX)), ..self }
    }

    /// The same to sessions that outlive their connections.
    pub fn persistent(self) -> Self {
        Self { persistent: true, ..self }
    }

    pub fn publishers(&self) -> usize {
        match self.topics {
            Topics::Shared { publishers, .. } => publishers,
            Topics::Own(devices) => devices,
        }
    }

    pub fn subscribers(&self) -> usize {
        match self.topics {
            Topics::Shared { subscribers, .. } => subscribers,
            Topics::Own(devices) => devices,
        }
    }

    /// Devices that take part.
    pub fn devices(&self) -> usize {
        match self.topics {
            Topics::Shared { publishers, subscribers } => publishers + subscribers,
            Topics::Own(devices) => devices,
        }
    }

    /// Messages of QoS 1 or 2 that a publisher may have unacknowledged where so many are allowed: whole batches.
    pub fn window(&self, in_flight: u16) -> u64 {
        let batches = if self.waits { 1 } else { (u64::from(in_flight) / self.batch.max(1)).max(1) };
        batches * self.batch
    }

    /// Messages that may be on their way to a subscriber.
    pub fn ahead(&self) -> u64 {
        let payload = u64::try_from(self.payload).unwrap_or(u64::MAX).max(1);
        let by_bytes = (AHEAD_BYTES / payload).max(self.batch);
        let bound = if matches!(self.topics, Topics::Own(_)) { AHEAD_OF_ITSELF } else { AHEAD };
        bound.min(by_bytes)
    }

    /// In words, for a table.
    pub fn name(&self) -> String {
        let Self { qos, payload, batch, .. } = self;
        let who = match self.topics {
            Topics::Shared { publishers, subscribers } => format!("{publishers} to {subscribers}"),
            Topics::Own(devices) => format!("{devices} to themselves"),
        };
        let how = match (qos, self.waits) {
            (1.., true) => "one at a time".to_owned(),
            _ => format!("{batch} per write"),
        };
        format!("QoS {qos}, {who}, {payload} B, {how}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_payloads_are_written_in_smaller_batches_and_fewer_are_on_their_way() {
        let topics = Topics::Shared { publishers: 1, subscribers: 1 };
        let small = Shape::bulk(topics, 0).with_payload(16);
        assert_eq!((small.batch, small.ahead()), (32, 4000));
        let large = Shape::bulk(topics, 1).with_payload(64 * 1024);
        assert_eq!((large.batch, large.ahead()), (1, 16));
        assert_eq!(large.name(), "QoS 1, 1 to 1, 65536 B, 1 per write");
    }

    #[test]
    fn a_publisher_fills_its_window_with_whole_batches_or_waits_for_each() {
        let topics = Topics::Shared { publishers: 1, subscribers: 1 };
        assert_eq!(Shape::bulk(topics, 1).window(100), 96);
        assert_eq!(Shape::bulk(topics, 1).window(20), 32);
        assert_eq!(Shape::streamed(topics, 1).window(100), 100);
        assert_eq!(Shape::one_by_one(topics, 1).window(100), 1);
    }

    #[test]
    fn a_device_that_hears_itself_is_counted_once() {
        let own = Shape::one_by_one(Topics::Own(50), 1);
        assert_eq!((own.devices(), own.publishers(), own.subscribers()), (50, 50, 50));
        assert_eq!(own.name(), "QoS 1, 50 to themselves, 64 B, one at a time");
    }
}
