//! What a participant receives: counted, and, if messages carry their time, timed.
use super::Flow;
use crate::frames::Packet;
use anyhow::ensure;
use std::sync::Arc;
use std::time::Instant;

/// The receiving half of a participant.
pub struct Receiving {
    flow: Arc<Flow>,
    index: usize,
    /// Bytes of topic and payload of every message.
    expected: usize,
    payload: usize,
    watch: Option<Watch>,
    came: u64,
    wrong: u64,
    micros: Vec<u32>,
}

/// Times messages from when they were due.
#[derive(Debug, Clone, Copy)]
pub struct Watch {
    /// What their times count from.
    pub epoch: Instant,
    /// Those before are not timed: in nanoseconds after the epoch.
    pub from: u64,
}

impl Watch {
    /// From the epoch until now.
    pub fn nanos(&self, now: Instant) -> u64 {
        u64::try_from(now.duration_since(self.epoch).as_nanos()).unwrap_or(u64::MAX)
    }

    /// From a time in nanoseconds after the epoch until now, if that is timed.
    pub fn micros_since(&self, time: u64, now: Instant) -> Option<u32> {
        let micros = self.nanos(now).saturating_sub(time) / 1000;
        (time >= self.from).then(|| u32::try_from(micros).unwrap_or(u32::MAX))
    }
}

impl Receiving {
    /// The subscriber of this number in a flow.
    pub fn new(flow: Arc<Flow>, index: usize, topic: usize, payload: usize) -> Self {
        let (came, wrong, micros) = (0, 0, Vec::new());
        Self { flow, index, expected: topic + payload, payload, watch: None, came, wrong, micros }
    }

    /// Its messages carry their times.
    pub fn timed_by(self, watch: Watch) -> Self {
        Self { watch: Some(watch), ..self }
    }

    /// Takes a PUBLISH.
    pub fn take(&mut self, packet: &Packet<'_>, now: Option<Instant>) {
        let around = if packet.qos() == 0 { 2 } else { 4 };
        self.came += 1;
        self.wrong += u64::from(packet.body.len() != around + self.expected);
        let Some((watch, now)) = self.watch.as_ref().zip(now) else { return };
        let start = packet.body.len().saturating_sub(self.payload);
        let stamp =
            packet.body.get(start..).and_then(<[u8]>::first_chunk).map(|bytes| u64::from_be_bytes(*bytes));
        self.micros.extend(stamp.and_then(|stamp| watch.micros_since(stamp, now)));
    }

    /// Tells the flow what has come since the last time.
    pub fn report(&mut self) -> anyhow::Result<()> {
        ensure!(self.wrong == 0, "{} messages came with a length that nobody published", self.wrong);
        if self.came > 0 {
            self.flow.arrived(self.index, self.came);
            self.came = 0;
        }
        Ok(())
    }

    /// The time now, if anybody asks.
    pub fn clock(&self) -> Option<Instant> {
        self.watch.as_ref().map(|_| Instant::now())
    }

    /// Whose messages these are.
    pub fn flow(&self) -> Arc<Flow> {
        self.flow.clone()
    }

    /// How long each timed message took, in microseconds.
    pub fn into_micros(self) -> Vec<u32> {
        self.micros
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_watch_times_from_when_a_message_was_due_and_not_before_it_shall() {
        let epoch = Instant::now();
        let watch = Watch { epoch, from: 5_000 };
        let now = epoch + Duration::from_micros(20);
        assert_eq!(watch.micros_since(7_000, now), Some(13));
        assert_eq!(watch.micros_since(30_000, now), Some(0));
        assert_eq!(watch.micros_since(4_999, now), None);
    }
}
